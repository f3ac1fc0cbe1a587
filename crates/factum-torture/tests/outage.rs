//! A broker that stops under load and comes back: nothing is lost, commits go on, memory stays bounded. The figures are
//! printed and judged by people; how long it is away is in `FACTUM_OUTAGE_SECONDS`, 3 unless it is set.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use factum::EventBus;
use factum::integration::{Deliveries, Interest};
use factum_bus_nats::Nats;
use factum_launcher::or_skip;
use factum_runtime::{Relay, RelayOptions};
use factum_torture::{Arrival, Database, History, Kind, TYPE, Torn, Written};
use tokio::sync::oneshot;

const NAME: &str = "f_57_a_broker_that_was_away_gets_all_that_was_committed_meanwhile";

fn seconds() -> u64 {
    std::env::var("FACTUM_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

const WRITERS: u64 = 8;
const KEYS_OF_EACH: u64 = 100;

/// Eight writers commit one event after the other, each on 100 keys in turn, until they are told to end.
struct Load {
    committed: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    writers: tokio::task::JoinSet<(u64, u64)>,
}

impl Load {
    fn begin(store: &Torn) -> Self {
        let (committed, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let (store, committed, ends) = (store.clone(), Arc::clone(&committed), Arc::clone(&ends));
            writers.spawn(async move {
                let mut n = 0;
                while !ends.load(Ordering::SeqCst) {
                    let key = writer + WRITERS * (n % KEYS_OF_EACH);
                    store.write_one(key, n / KEYS_OF_EACH).await.expect("it is committed");
                    committed.fetch_add(1, Ordering::SeqCst);
                    n += 1;
                }
                (writer, n)
            });
        }
        Self { committed, ends, writers }
    }

    /// Commits a second, over this time.
    async fn rate(&self, over: Duration) -> f64 {
        let (before, began) = (self.committed.load(Ordering::SeqCst), Instant::now());
        let mut watch = tokio::time::interval_at(tokio::time::Instant::now() + over, over);
        watch.tick().await;
        (self.committed.load(Ordering::SeqCst) - before) as f64 / began.elapsed().as_secs_f64()
    }

    async fn end(mut self) -> Written {
        self.ends.store(true, Ordering::SeqCst);
        let mut written = HashMap::new();
        while let Some(writer) = self.writers.join_next().await {
            let (writer, n) = writer.expect("a writer");
            for nth in 0..KEYS_OF_EACH.min(n) {
                let of_key = (n - nth).div_ceil(KEYS_OF_EACH);
                written.insert(format!("key {}", writer + WRITERS * nth), of_key);
            }
        }
        written
    }
}

/// Takes deliveries until so many have arrived that had not before.
async fn take(mut deliveries: Box<dyn Deliveries>, history: &mut History, all: usize) {
    while history.distinct() < all {
        for delivery in deliveries.next(256).await.expect("deliveries") {
            let n =
                std::str::from_utf8(&delivery.envelope.data).expect("a number").parse().expect("a number");
            let key = delivery.envelope.ordering_key().to_owned();
            history.note(Arrival { connection: 0, key, n });
            delivery.settle.ack().await.expect("an acknowledgement");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f_57_a_broker_that_was_away_gets_all_that_was_committed_meanwhile() {
    let Some(database) = Database::fresh(Kind::Postgres, NAME).await.expect("a database") else { return };
    let Some(mut broker) = or_skip(NAME, factum_launcher::Nats::start().await) else { return };
    let store = database.open().await.expect("a store");
    let bus = Nats::options(broker.url()).namespace("outage").connect().await.expect("a bus");
    let interest = Interest { subscription: "all".into(), types: vec![TYPE.into()], prefetch: 256 };
    let deliveries = bus.subscribe(interest).await.expect("a subscription");
    let relay = Relay::new(store.outbox(), Arc::new(bus.clone()));
    let (stats, (end, ended)) = (relay.stats(), oneshot::channel::<()>());
    let relaying = tokio::spawn(relay.run(async { _ = ended.await }));
    let away = Duration::from_secs(seconds());

    let load = Load::begin(&store);
    let before = load.rate(away.min(Duration::from_secs(10))).await;
    broker.stop().await.expect("it stops");
    let meanwhile = load.rate(away).await;
    let kept = stats.now().kept;
    let waiting = store.inspect().backlog().await.expect("a backlog").outbox;
    let written = load.end().await;
    broker.start_again().await.expect("it starts");
    let began = Instant::now();
    store.settled().await.expect("it is settled");
    let drained = waiting as f64 / began.elapsed().as_secs_f64();

    let all = usize::try_from(written.values().sum::<u64>()).expect("it fits");
    let mut history = History::default();
    let taken = tokio::time::timeout(Duration::from_secs(120), take(deliveries, &mut history, all)).await;
    taken.expect("all of it arrives in time");
    history.check(&written);
    println!(
        "{{\"bench\":\"outage\",\"away_s\":{},\"commits_per_s_before\":{before:.0},\"commits_per_s_meanwhile\":{meanwhile:.0},\"ratio\":{:.3},\"backlog\":{waiting},\"drained_per_s\":{drained:.0},\"kept\":{kept},\"repeats\":{}}}",
        away.as_secs(),
        meanwhile / before,
        history.repeats()
    );
    assert!(waiting > 0, "nothing was committed while the broker was away");
    assert!(kept <= RelayOptions::default().waiting.rows as u64, "{kept} envelopes in memory");
    drop(end);
    relaying.await.expect("the relay").expect("it ends");
    bus.close(Duration::from_secs(5)).await;
    drop(store);
    database.remove().await.expect("it is removed");
}
