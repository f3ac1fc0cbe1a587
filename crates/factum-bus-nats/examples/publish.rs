//! How fast the bus publishes, beside a bare loop of the client (no headers, one shared inbox, every answer counted), and
//! how fast one consumer reads it back.
//!
//! `cargo run --release -p factum-bus-nats --example publish -- [events] [bytes of data] [rounds]`, with the server in
//! `FACTUM_NATS`. Each round measures one, then the other, and prints a line.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use factum::integration::{Answer, Confirm, Deliveries, Interest, Publication};
use factum::{Envelope, EventBus as _, Timestamp};
use factum_bus_nats::Nats;
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

const BATCH: u64 = 1_000;
const WINDOW: usize = 4_096;
const KIND: &str = "com.example.shop.ordering.order-placed.v1";

type Outcome<T> = Result<T, factum::BoxError>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|number| number.parse::<u64>().ok());
    let events = numbers.next().unwrap_or(200_000);
    let bytes = numbers.next().unwrap_or(200) as usize;
    let rounds = numbers.next().unwrap_or(3);
    let url = std::env::var("FACTUM_NATS").unwrap_or_else(|_| "nats://127.0.0.1:4222".into());
    for round in 1..=rounds {
        let ours = ours(&url, events, bytes).await?;
        let bare = bare(&url, events, bytes).await?;
        let (ours, read) = ours;
        println!(
            "round {round}: bus {ours:.0}/s, bare {bare:.0}/s, ratio {:.2}; read {read:.0}/s",
            ours / bare
        );
    }
    Ok(())
}

fn envelope(n: u64, data: &Arc<[u8]>) -> Envelope {
    let id = format!("0198b2e4-7c1a-7000-8000-{n:012x}");
    Envelope {
        time: Timestamp::from_micros(1_764_095_490_123_456),
        partitionkey: Some(format!("order-{}", n % 10_000).into()),
        sequence: Some(format!("0000000001-{n:020}").into()),
        correlationid: Some("0198b2e4-7c1a-7000-8000-000000000000".into()),
        ..Envelope::new(id, "https://shop.example/ordering", KIND, Arc::clone(data))
    }
}

/// Through the bus, a window of envelopes in flight: first while nobody subscribes, then for one who reads it back.
async fn ours(url: &str, events: u64, bytes: usize) -> Outcome<(f64, f64)> {
    let namespace = format!("bench-{}", std::process::id());
    let bus = Nats::options(url).namespace(&namespace).connect().await?;
    let data: Arc<[u8]> = vec![b'x'; bytes].into();
    let rate = publish(&bus, 0..events, &data).await?;
    let interest = Interest { subscription: "s".into(), types: vec![KIND.into()], prefetch: 1_000 };
    let consumer = bus.subscribe(interest).await?;
    publish(&bus, events..events * 2, &data).await?;
    let read = read(consumer, events).await?;
    bus.close(std::time::Duration::from_secs(1)).await;
    Nats::options(url).namespace(&namespace).clean_up().await?;
    Ok((rate, read))
}

/// All of them, and how many a second.
async fn publish(bus: &Nats, numbers: Range<u64>, data: &Arc<[u8]>) -> Outcome<f64> {
    let events = numbers.end - numbers.start;
    let window = Arc::new(Semaphore::new(WINDOW));
    let confirmed = Arc::new(AtomicU64::new(0));
    let (back, count) = (Arc::clone(&window), Arc::clone(&confirmed));
    let answered: Arc<dyn Fn(u64, Answer) + Send + Sync> = Arc::new(move |_, answer| {
        assert_eq!(answer, Answer::Confirmed);
        count.fetch_add(1, Ordering::Relaxed);
        back.add_permits(1);
    });
    let all: Vec<Envelope> = numbers.map(|n| envelope(n, data)).collect();
    let begun = Instant::now();
    let mut all = all.into_iter();
    let mut ticket = 0;
    while ticket < events {
        let size = BATCH.min(events - ticket) as u32;
        window.acquire_many(size).await?.forget();
        let batch = all.by_ref().take(size as usize).map(|envelope| {
            ticket += 1;
            let source = envelope.source.clone();
            let confirm = Confirm::new(ticket, Arc::clone(&answered));
            Publication { envelope: factum::port::read_back(envelope, source), confirm }
        });
        bus.publish(batch.collect()).await?;
    }
    window.acquire_many(WINDOW as u32).await?.forget();
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    assert_eq!(confirmed.load(Ordering::Relaxed), events);
    Ok(rate)
}

/// One consumer that acknowledges everything, and does nothing else.
async fn read(mut consumer: Box<dyn Deliveries>, events: u64) -> Outcome<f64> {
    let (begun, mut count) = (Instant::now(), 0);
    while count < events {
        for delivery in consumer.next(1_000).await? {
            delivery.settle.ack().await?;
            count += 1;
        }
    }
    Ok(events as f64 / begun.elapsed().as_secs_f64())
}

/// Without factum: the payload alone.
async fn bare(url: &str, events: u64, bytes: usize) -> Outcome<f64> {
    let client = async_nats::connect(url).await?;
    let (jetstream, name) =
        (async_nats::jetstream::new(client.clone()), format!("bare-{}", std::process::id()));
    let config = async_nats::jetstream::stream::Config { name: name.clone(), ..Default::default() };
    jetstream.create_stream(config).await?;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(format!("{inbox}.*")).await?;
    let window = Arc::new(Semaphore::new(WINDOW));
    let back = Arc::clone(&window);
    let reader = tokio::spawn(async move {
        for _ in 0..events {
            assert!(replies.next().await.is_some_and(|reply| reply.payload.starts_with(b"{\"stream\"")));
            back.add_permits(1);
        }
    });
    let payload = bytes::Bytes::from(vec![b'x'; bytes]);
    let begun = Instant::now();
    for n in 0..events {
        window.acquire().await?.forget();
        client.publish_with_reply(name.clone(), format!("{inbox}.{n}"), payload.clone()).await?;
    }
    reader.await?;
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    jetstream.delete_stream(name).await?;
    Ok(rate)
}
