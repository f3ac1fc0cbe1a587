//! Consumers that run beside a case, and what has arrived at them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum::Envelope;
use factum::integration::{Deliveries, Delivery};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::stage::Seeded;

/// What was handled, in the order of handling, repeats included.
#[derive(Clone, Default)]
pub(super) struct Arrivals(Arc<Arrived>);

#[derive(Default)]
struct Arrived {
    envelopes: Mutex<Vec<Arc<Envelope>>>,
    changed: Notify,
}

impl Arrivals {
    pub(super) fn note(&self, envelope: &Arc<Envelope>) {
        self.0.envelopes.lock().unwrap().push(Arc::clone(envelope));
        self.0.changed.notify_waiters();
    }

    pub(super) fn ids(&self) -> BTreeSet<String> {
        self.0.envelopes.lock().unwrap().iter().map(|envelope| envelope.id.to_string()).collect()
    }

    /// Of each key, the ids in the order of their first handling.
    pub(super) fn by_key(&self) -> BTreeMap<String, Vec<String>> {
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for envelope in self.0.envelopes.lock().unwrap().iter() {
            let (ids, id) =
                (by_key.entry(envelope.ordering_key().into()).or_default(), envelope.id.to_string());
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        by_key
    }

    /// Waits until so many different events have arrived.
    pub(super) async fn distinct(&self, count: usize) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.ids().len() >= count {
                return;
            }
            changed.await;
        }
    }
}

/// Tasks that consume until they are dropped.
#[derive(Default)]
pub(super) struct Readers {
    pub(super) arrivals: Arrivals,
    tasks: JoinSet<()>,
}

impl Readers {
    /// All consumers die with what they hold; what has arrived stays known.
    pub(super) fn die(&mut self) {
        self.tasks = JoinSet::new();
    }

    /// Adds a consumer that acknowledges everything.
    pub(super) fn add(&mut self, mut consumer: Box<dyn Deliveries>) {
        let arrivals = self.arrivals.clone();
        self.tasks.spawn(async move {
            loop {
                let deliveries = consumer.next(10).await.unwrap();
                assert!(!deliveries.is_empty(), "the consumer ended while the bus was open");
                for delivery in deliveries {
                    arrivals.note(&delivery.envelope);
                    delivery.settle.ack().await.unwrap();
                }
            }
        });
    }

    /// Adds a consumer that handles one delivery in three, at random, and hands the others back in every way there is.
    pub(super) fn add_fickle(&mut self, mut consumer: Box<dyn Deliveries>, mut random: Seeded) {
        let arrivals = self.arrivals.clone();
        self.tasks.spawn(async move {
            loop {
                let deliveries = consumer.next(4).await.unwrap();
                assert!(!deliveries.is_empty(), "the consumer ended while the bus was open");
                for Delivery { envelope, settle, .. } in deliveries {
                    match random.below(6) {
                        0 => drop(settle),
                        1 => settle.nack(Duration::ZERO).await.unwrap(),
                        2 => settle.nack(Duration::from_millis(1)).await.unwrap(),
                        3 => tokio::task::yield_now().await,
                        _ => {
                            arrivals.note(&envelope);
                            settle.ack().await.unwrap();
                        }
                    }
                }
            }
        });
    }
}
