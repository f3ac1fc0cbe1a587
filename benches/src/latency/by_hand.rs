//! The other side: the same SQL by hand, a wake-up in the process, a read of what is there, publish, and delete when it
//! is acknowledged; a consumer of the broker's client.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use factum::Persist;
use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::{Stamps, WRITERS, pace::pace};
use crate::notes::{Note, NoteWrittenV1, Notes};
use crate::place::{Bus, unique};
use crate::raw::{Headers, PAGE, RawBus, RawStore};
use crate::{Outcome, raw};

/// Rows commit out of order: each read begins so far below the highest `seq` that was seen.
const TRAIL: i64 = 2_000;
/// A loop that missed a wake-up looks by itself.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run<S: Notes, R: RawStore>(
    url: &str,
    bus: &Bus,
    rate: u64,
    stamps: &Arc<Stamps>,
) -> Outcome<()>
where
    Note: Persist<S>,
{
    let name = unique("bench_raw");
    match bus {
        Bus::Nats(at) => {
            raw::nats::create(at, &name).await?;
            let consumer = consume_nats(at, &name, Arc::clone(stamps)).await?;
            let bus = raw::nats::Nats::open(at, &name, Headers::None).await?;
            let ended = relayed::<S, R, _>(url, bus, rate, stamps).await;
            consumer.abort();
            raw::nats::remove(at, &name).await?;
            ended
        }
        Bus::RabbitMq(at) => {
            raw::rabbitmq::create(at, &name, 1).await?;
            let consumer = consume_rabbitmq(at, &name, Arc::clone(stamps)).await?;
            let bus = raw::rabbitmq::RabbitMq::open(at, &name, 1, Headers::None).await?;
            let ended = relayed::<S, R, _>(url, bus, rate, stamps).await;
            consumer.abort();
            raw::rabbitmq::remove(at, &name, 1).await?;
            ended
        }
    }
}

async fn relayed<S: Notes, R: RawStore, B: RawBus>(
    url: &str,
    bus: B,
    rate: u64,
    stamps: &Arc<Stamps>,
) -> Outcome<()> {
    let wake = Arc::new(Notify::new());
    let (reader, deleter) = (R::open(url, Headers::None).await?, R::open(url, Headers::None).await?);
    // With the page that is being sent and the one that is waited for: fewer than can be told apart.
    let (sent, in_flight) = mpsc::channel(raw::nats::SLOTS / 2);
    let (acknowledged, deletable) = mpsc::unbounded_channel();
    let mut relay = JoinSet::new();
    relay.spawn(publish(reader, bus, Arc::clone(&wake), sent));
    relay.spawn(wait::<B>(in_flight, acknowledged));
    relay.spawn(delete(deleter, deletable));
    let pool = S::pool(url, WRITERS).await?;
    let numbers = Arc::new(Mutex::new(pace(rate, stamps.committed.len() as u64)));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (pool, numbers) = (pool.clone(), Arc::clone(&numbers));
        let (wake, stamps) = (Arc::clone(&wake), Arc::clone(stamps));
        writers.spawn(async move {
            loop {
                let Some(event) = numbers.lock().await.recv().await else { return Outcome::Ok(()) };
                S::raw_by_hand(&pool, event).await?;
                stamps.commit(event);
                wake.notify_one();
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    tokio::select! {
        arrived = stamps.all_arrived() => arrived,
        Some(ended) = relay.join_next() => ended?,
    }
}

type InFlight<B> = (Vec<i64>, <B as RawBus>::Sent);

async fn publish<R: RawStore, B: RawBus>(
    mut store: R,
    mut bus: B,
    wake: Arc<Notify>,
    sent: mpsc::Sender<InFlight<B>>,
) -> Outcome<()> {
    let (mut seen, mut highest) = (HashSet::new(), 0);
    loop {
        let _ = tokio::time::timeout(LOOK, wake.notified()).await;
        loop {
            let mut rows = store.read(highest - TRAIL).await?;
            let full = rows.len() == PAGE;
            rows.retain(|row| seen.insert(row.seq));
            let Some(last) = rows.last() else { break };
            highest = highest.max(last.seq);
            let page = bus.send(&rows).await?;
            if sent.send((rows.iter().map(|row| row.seq).collect(), page)).await.is_err() {
                return Err("nobody deletes any more".into());
            }
            if !full {
                break;
            }
        }
        if seen.len() > 8 * PAGE {
            seen.retain(|seq| *seq >= highest - TRAIL);
        }
    }
}

async fn wait<B: RawBus>(
    mut in_flight: mpsc::Receiver<InFlight<B>>,
    acknowledged: mpsc::UnboundedSender<Vec<i64>>,
) -> Outcome<()> {
    while let Some((seqs, page)) = in_flight.recv().await {
        B::acknowledged(page).await?;
        acknowledged.send(seqs)?;
    }
    Ok(())
}

async fn delete<R: RawStore>(mut store: R, mut deletable: mpsc::UnboundedReceiver<Vec<i64>>) -> Outcome<()> {
    while let Some(mut seqs) = deletable.recv().await {
        while let Ok(more) = deletable.try_recv() {
            seqs.extend(more);
        }
        store.delete(seqs).await?;
    }
    Ok(())
}

fn note(payload: &[u8], stamps: &Stamps) {
    let event = serde_json::from_slice::<NoteWrittenV1>(payload).ok().and_then(|note| note.id.parse().ok());
    if let Some(event) = event {
        stamps.receive(event);
    }
}

/// A push consumer with explicit acknowledgements.
async fn consume_nats(url: &str, stream: &str, stamps: Arc<Stamps>) -> Outcome<JoinHandle<()>> {
    use async_nats::jetstream::consumer::push::Config;
    let client = async_nats::connect(url).await?;
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await?;
    let stream = async_nats::jetstream::new(client.clone()).get_stream(stream).await?;
    let config = Config { deliver_subject: inbox, max_ack_pending: 4_096, ..Config::default() };
    stream.create_consumer(config).await?;
    Ok(tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            note(&message.payload, &stamps);
            if let Some(reply) = message.reply {
                let _ = client.publish(reply, "+ACK".into()).await;
            }
        }
    }))
}

async fn consume_rabbitmq(url: &str, name: &str, stamps: Arc<Stamps>) -> Outcome<JoinHandle<()>> {
    let connection = raw::rabbitmq::connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(4_096, BasicQosOptions::default()).await?;
    let (queue, options) = (raw::rabbitmq::queue_name(name, 0), BasicConsumeOptions::default());
    let mut consumer = channel.basic_consume(queue, "reader".into(), options, FieldTable::default()).await?;
    Ok(tokio::spawn(async move {
        let _connection = connection;
        while let Some(Ok(delivery)) = consumer.next().await {
            note(&delivery.data, &stamps);
            let _ = delivery.ack(BasicAckOptions::default()).await;
        }
    }))
}
