//! A bus that keeps what it is given, and confirms it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factum::integration::Inspect as _;
use factum::integration::{Answer, Capabilities, Deliveries, Interest, Publication};
use factum::port::OutboxStore;
use factum::{BoxError, BoxFuture, Envelope, EventBus};
use factum_runtime::Relay;
use factum_store_mysql::MySql;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

#[derive(Clone)]
pub(crate) struct Collector {
    seen: Arc<Mutex<Vec<Envelope>>>,
    count: watch::Sender<usize>,
}

impl Collector {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default(), count: watch::Sender::new(0) }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<Envelope>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it was given so many.
    pub(crate) async fn until(&self, count: usize) {
        let mut counted = self.count.subscribe();
        let enough = tokio::time::timeout(Duration::from_secs(60), counted.wait_for(|n| *n >= count)).await;
        assert!(enough.is_ok(), "{} of {count} were published within a minute", self.seen().len());
    }

    /// What was published of each key, in order: the numbers at the end of the ids.
    pub(crate) fn by_key(&self) -> BTreeMap<String, Vec<usize>> {
        let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for envelope in self.seen().iter() {
            let number = envelope.id.as_str().rsplit('/').next().and_then(|n| n.parse().ok());
            by_key.entry(envelope.ordering_key().into()).or_default().push(number.expect("a number"));
        }
        by_key
    }
}

impl EventBus for Collector {
    fn capabilities(&self) -> Capabilities {
        let mut able = Capabilities::none();
        able.fail_stop = true;
        able.ordered = true;
        able
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            for Publication { envelope, confirm } in batch {
                self.seen().push(Envelope::clone(&envelope));
                confirm.answer(Answer::Confirmed);
            }
            self.count.send_replace(self.seen().len());
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, _: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async { Err("it only takes".into()) })
    }

    fn close<'a>(&'a self, _: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// A relay at work.
pub(crate) struct Running {
    task: JoinHandle<()>,
    shutdown: oneshot::Sender<()>,
}

impl Running {
    pub(crate) fn start(store: impl OutboxStore + 'static, bus: &Collector) -> Self {
        let relay = Relay::new(Arc::new(store), Arc::new(bus.clone()));
        let (shutdown, ends) = oneshot::channel::<()>();
        let run = async move {
            let ended = async {
                let _ = ends.await;
            };
            relay.run(ended).await.expect("it is well configured");
        };
        Self { task: tokio::spawn(run), shutdown }
    }

    pub(crate) async fn shut_down(self) {
        let _ = self.shutdown.send(());
        self.task.await.expect("no panic");
    }
}

/// Every event once, in order per key.
pub(crate) async fn assert_drained(store: &MySql, bus: &Collector, keys: usize, each: usize) {
    assert_eq!(bus.seen().len(), keys * each, "duplicates");
    let by_key = bus.by_key();
    assert_eq!(by_key.len(), keys);
    for (key, numbers) in by_key {
        assert_eq!(numbers, (0..each).collect::<Vec<_>>(), "key {key}");
    }
    assert_eq!(store.backlog().await.unwrap().outbox, 0);
}
