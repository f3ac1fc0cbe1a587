//! How fast envelopes are published and confirmed, beside lapin's own loop on the same broker, in turn.
//!
//! `FACTUM_RABBITMQ=… cargo bench -p factum-bus-rabbitmq -- [count] [rounds]` prints envelopes a second. The loop
//! publishes bare payloads to one quorum queue by the default exchange, on one channel, and never has more than 1,024
//! or 4,096 unconfirmed. The bus publishes whole envelopes to one subscription of eight partitions.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use factum::integration::{Answer, Confirm, EventBus, Interest, Publication};
use factum::{Envelope, Timestamp};
use factum_bus_rabbitmq::RabbitMq;
use factum_conformance::service;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Connection, ConnectionProperties};

const PAYLOAD: [u8; 200] = [b'x'; 200];
const TYPE: &str = "com.example.shop.ordering.order-placed.v1";
const KEYS: usize = 10_000;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (count, rounds) = (numbers.first().copied().unwrap_or(100_000), numbers.get(1).copied().unwrap_or(3));
    let Some(url) = service::RABBITMQ.url_or_skip("publish") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..rounds {
            let (small, large) = (raw(&url, count, 1_024).await, raw(&url, count, 4_096).await);
            let ours = bus(&url, count).await;
            let ratio = ours / small.max(large);
            println!("raw w1024 {small:.0}/s, raw w4096 {large:.0}/s, bus {ours:.0}/s, ratio {ratio:.2}");
        }
    });
}

async fn raw(url: &str, count: usize, window: usize) -> f64 {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let queue = ShortString::from(format!("bench-{:016x}", RandomState::new().hash_one(0u8)));
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.clone(), durable, arguments).await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let (begun, mut unconfirmed) = (Instant::now(), VecDeque::with_capacity(window));
    for _ in 0..count {
        if unconfirmed.len() == window {
            let oldest: lapin::PublisherConfirm = unconfirmed.pop_front().unwrap();
            assert!(oldest.await.unwrap().is_ack());
        }
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = channel.basic_publish("".into(), queue.clone(), options, &PAYLOAD, properties);
        unconfirmed.push_back(sent.await.unwrap());
    }
    for confirm in unconfirmed {
        assert!(confirm.await.unwrap().is_ack());
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    channel.queue_delete(queue, QueueDeleteOptions::default()).await.unwrap();
    rate
}

async fn bus(url: &str, count: usize) -> f64 {
    let namespace = format!("bench-{:016x}", RandomState::new().hash_one(0u8));
    let options = RabbitMq::options(url).namespace(namespace);
    let bus = options.clone().connect().await.unwrap();
    let interest = Interest { subscription: "bench".into(), types: vec![TYPE.into()], prefetch: 1 };
    drop(bus.subscribe(interest).await.unwrap());
    let envelopes: Vec<_> = (0..count).map(envelope).collect();
    let confirmed = Arc::new(AtomicUsize::new(0));
    let (done, mut all) = tokio::sync::mpsc::channel(1);
    let told = Arc::clone(&confirmed);
    let answered = Arc::new(move |_, answer| {
        assert_eq!(answer, Answer::Confirmed);
        if told.fetch_add(1, Ordering::Relaxed) + 1 == count {
            done.try_send(()).unwrap();
        }
    });
    let mut publications = envelopes.into_iter().map(|envelope| {
        let source = envelope.source.clone();
        let confirm = Confirm::new(0, Arc::clone(&answered) as Arc<dyn Fn(u64, Answer) + Send + Sync>);
        Publication { envelope: factum::port::read_back(envelope, source), confirm }
    });
    let begun = Instant::now();
    loop {
        let batch: Vec<_> = publications.by_ref().take(1_000).collect();
        if batch.is_empty() {
            break;
        }
        bus.publish(batch).await.unwrap();
    }
    all.recv().await.unwrap();
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    bus.close(std::time::Duration::from_secs(5)).await;
    options.clean_up().await.unwrap();
    rate
}

fn envelope(n: usize) -> Envelope {
    let id = format!("0190f9f2-0000-7000-8000-{n:012x}");
    let key: Arc<str> = format!("order-{}", n % KEYS).into();
    Envelope {
        partitionkey: Some(Arc::clone(&key)),
        subject: Some(key),
        time: Timestamp::from_micros(1_764_095_490_123_456),
        sequence: Some(format!("0000000001-{n:020}").into()),
        ..Envelope::new(&*id, "https://shop.example/ordering", TYPE, PAYLOAD)
    }
}
