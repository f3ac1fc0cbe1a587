//! What the tests of this bus share: a namespace of their own on a server, a publisher that does as the relay does, and
//! consumers that note what came.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use factum::integration::{Answer, Confirm, Deliveries, Interest, Publication};
use factum::{Envelope, EventBus};
use factum_bus_nats::{Nats, Options};
use tokio::sync::{Notify, mpsc};

pub(crate) const SOURCE: &str = "https://shop.example/ordering";
pub(crate) const TYPE: &str = "com.example.shop.ordering.order-placed.v1";
/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A name that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", RandomState::new().hash_one(0u8))
}

/// A namespace on a server; removed when this is dropped.
pub(crate) struct Namespace {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn on(url: &str) -> Self {
        Self { url: url.to_owned(), name: unique("test") }
    }

    pub(crate) fn options(&self) -> Options {
        Nats::options(&self.url).namespace(&self.name)
    }

    pub(crate) async fn bus(&self) -> Nats {
        self.options().connect().await.unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let options = self.options().request_deadline(Duration::from_secs(2));
        // On a thread of its own: the runtime of the test may be on its way out.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            if let Err(error) = runtime.block_on(options.clean_up()) {
                eprintln!("could not clean up: {error}");
            }
        });
        let _ = cleaning.join();
    }
}

/// Fails where something takes too long.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

pub(crate) fn envelope(id: &str, key: &str) -> Envelope {
    let envelope = Envelope::new(id, SOURCE, TYPE, *b"{}");
    Envelope { partitionkey: Some(key.into()), ..envelope }
}

/// In turn of `keys` keys; within a key the ids ascend as text.
pub(crate) fn numbered(count: usize, keys: usize) -> Vec<Envelope> {
    (0..count).map(|n| envelope(&format!("{n:06}"), &format!("key {}", n % keys))).collect()
}

pub(crate) fn interest(prefetch: usize) -> Interest {
    Interest { subscription: "s".into(), types: vec![TYPE.into()], prefetch }
}

/// Of each key, the ids in their order.
pub(crate) fn by_key(envelopes: &[Envelope]) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for envelope in envelopes {
        by_key.entry(envelope.ordering_key().into()).or_default().push(envelope.id.to_string());
    }
    by_key
}

/// The answers to a batch, by its order. What `publish` itself returned is in them: unknown.
pub(crate) async fn answers(bus: &dyn EventBus, envelopes: Vec<Envelope>) -> Vec<Answer> {
    let count = envelopes.len();
    let (told, mut answers) = mpsc::unbounded_channel();
    let answered: Arc<dyn Fn(u64, Answer) + Send + Sync> =
        Arc::new(move |ticket, answer| drop(told.send((ticket, answer))));
    let batch = envelopes.into_iter().zip(0..).map(|(envelope, ticket)| {
        let source = envelope.source.clone();
        let confirm = Confirm::new(ticket, Arc::clone(&answered));
        Publication { envelope: factum::port::read_back(envelope, source), confirm }
    });
    let _ = bus.publish(batch.collect()).await;
    drop(answered);
    let mut all = vec![None; count];
    for _ in 0..count {
        let (ticket, answer) = answers.recv().await.expect("every publication is answered");
        assert!(all[ticket as usize].replace(answer).is_none(), "it was answered twice");
    }
    all.into_iter().flatten().collect()
}

/// As the relay does: one of a key at a time, and again what is unknown, until all is confirmed.
pub(crate) async fn publish(bus: &dyn EventBus, mut left: Vec<Envelope>) {
    while !left.is_empty() {
        let mut keys = HashSet::new();
        let fits = |envelope: &Envelope| keys.insert(envelope.ordering_key().to_owned());
        let (round, later): (Vec<_>, Vec<_>) = left.into_iter().partition(fits);
        let given = answers(bus, round.clone()).await;
        let again: Vec<_> = round
            .into_iter()
            .zip(given)
            .filter(|(_, it)| *it != Answer::Confirmed)
            .map(|(it, _)| it)
            .collect();
        if !again.is_empty() {
            // tidy: allow(sleep): the pace of tries while a server is away, not a wait for an event
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        left = again.into_iter().chain(later).collect();
    }
}

/// What came, in the order of handling, and by whom.
#[derive(Clone, Default)]
pub(crate) struct Arrivals(Arc<Arrived>);

#[derive(Default)]
struct Arrived {
    handled: Mutex<Vec<(String, Arc<Envelope>)>>,
    times: Mutex<Vec<SystemTime>>,
    changed: Notify,
}

impl Arrivals {
    pub(crate) fn note(&self, by: &str, envelope: &Arc<Envelope>) {
        self.note_at(SystemTime::now(), by, envelope);
    }

    /// What another process handled, and told later.
    pub(crate) fn note_at(&self, time: SystemTime, by: &str, envelope: &Arc<Envelope>) {
        let mut handled = self.0.handled.lock().unwrap();
        handled.push((by.to_owned(), Arc::clone(envelope)));
        self.0.times.lock().unwrap().push(time);
        drop(handled);
        self.0.changed.notify_waiters();
    }

    /// All of it, in the order of time.
    pub(crate) fn in_time(&self) -> Vec<(String, Arc<Envelope>)> {
        let handled = self.0.handled.lock().unwrap();
        let times = self.0.times.lock().unwrap().clone();
        let mut all: Vec<_> = times.into_iter().zip(handled.iter().cloned()).collect();
        all.sort_by_key(|(time, _)| *time);
        all.into_iter().map(|(_, it)| it).collect()
    }

    pub(crate) fn all(&self) -> Vec<(String, Arc<Envelope>)> {
        self.0.handled.lock().unwrap().clone()
    }

    /// Of each key, the ids in the order of their first handling.
    pub(crate) fn by_key(&self) -> BTreeMap<String, Vec<String>> {
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, envelope) in self.all() {
            let (ids, id) =
                (by_key.entry(envelope.ordering_key().into()).or_default(), envelope.id.to_string());
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        by_key
    }

    /// Waits until it is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&[(String, Arc<Envelope>)]) -> bool) {
        let wait = async {
            loop {
                let mut changed = std::pin::pin!(self.0.changed.notified());
                changed.as_mut().enable();
                if is(&self.0.handled.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        within(what, wait).await;
    }

    /// Waits for so many different events.
    pub(crate) async fn distinct(&self, count: usize) {
        let distinct = |all: &[(String, Arc<Envelope>)]| {
            all.iter().map(|(_, envelope)| &envelope.id).collect::<HashSet<_>>().len()
        };
        self.until(&format!("the arrival of {count} events"), |all| distinct(all) >= count).await;
    }

    /// Acknowledges everything until the consumer ends.
    pub(crate) async fn read(self, by: String, mut consumer: Box<dyn Deliveries>) {
        loop {
            let deliveries = consumer.next(10).await.unwrap();
            if deliveries.is_empty() {
                return;
            }
            for delivery in deliveries {
                self.note(&by, &delivery.envelope);
                let _ = delivery.settle.ack().await;
            }
        }
    }
}
