//! Services in memory, on one bus.

use std::sync::Arc;

use factum::integration::{Answer, EventBusExt as _, Inspect as _};
use factum::memory::{MemoryBus, MemoryStore};
use factum::{Committed, Dispatcher, Envelope, IntegrationEvent, Subscription, Work};
use factum_runtime::{Running, Service, memory_bus};

use crate::Story;
use crate::journal::Journal;
use crate::open_ended::OpenEnded;

/// Services in memory, on one bus, watched. Dropping it ends them.
pub struct World {
    bus: MemoryBus,
    journal: Arc<Journal>,
    services: Vec<(MemoryStore, Running<MemoryStore>)>,
    shuffle: Option<u64>,
}

impl World {
    /// A world without services. Needs a tokio runtime.
    pub fn new() -> Self {
        Self { bus: memory_bus(), journal: Arc::default(), services: Vec::new(), shuffle: None }
    }

    /// Lets the handlers of each event run in another order, which follows from `seed`: no handler may rely on the order.
    /// Failing assertions print the seed.
    ///
    /// # Panics
    /// If a service was started already: its handlers would keep their order.
    #[must_use]
    pub fn shuffled(mut self, seed: u64) -> Self {
        assert!(
            self.services.is_empty(),
            "`World::shuffled` comes before the first service, which keeps its order"
        );
        self.shuffle = Some(seed);
        self
    }

    /// Starts a service on a store of its own, and answers what opens its units of work.
    ///
    /// # Panics
    /// If a subscription is refused, for a bad name or because it takes no type.
    pub async fn service(
        &mut self,
        source: &str,
        dispatcher: Dispatcher<MemoryStore>,
        subscriptions: impl IntoIterator<Item = Subscription<MemoryStore>>,
    ) -> Work<MemoryStore> {
        let dispatcher = match self.shuffle {
            Some(seed) => dispatcher.shuffled(seed),
            None => dispatcher,
        };
        let store = MemoryStore::new();
        let work = Work::new(source, store.clone(), dispatcher).observed_by(self.journal.clone());
        let mut service = Service::new(work.clone());
        for subscription in subscriptions {
            service = service.subscription(subscription);
        }
        match service.start(&OpenEnded(self.bus.clone())).await {
            Ok(running) => self.services.push((store, running)),
            Err(error) => panic!("{error}"),
        }
        work
    }

    /// The bus that they are on.
    pub fn bus(&self) -> &MemoryBus {
        &self.bus
    }

    /// Publishes an event in the name of `source`, as a service outside of this world would, and waits until every
    /// subscription has handled it, or has given it up. Answers the envelope, for [`publish_again`](Self::publish_again).
    ///
    /// # Panics
    /// If the event cannot be encoded, the bus refuses it, or nobody subscribes to it; the message lists what did happen.
    pub async fn publish<E: IntegrationEvent>(&self, source: &str, event: &E) -> Committed<Envelope> {
        let outside = Work::new(source, MemoryStore::new(), Dispatcher::new());
        let proof = match outside.run(async |_| Ok(())).await {
            Ok(proof) => proof,
            Err(error) => panic!("an empty unit of work in memory failed: {error}"),
        };
        let envelope = match proof.vouch(event) {
            Ok(envelope) => envelope,
            Err(error) => panic!("{error}"),
        };
        self.publish_again(&envelope).await;
        envelope
    }

    /// Publishes an envelope once more, as a relay does that did not hear the bus's answer, and waits as
    /// [`publish`](Self::publish) does. What has handled it before absorbs it.
    ///
    /// # Panics
    /// As for [`publish`](Self::publish).
    pub async fn publish_again(&self, envelope: &Committed<Envelope>) {
        let why = match self.bus.publish_now(envelope.clone()).await {
            Answer::Confirmed => return,
            Answer::Unroutable => "no subscription in this world takes it".to_owned(),
            answer => format!("{answer:?}"),
        };
        panic!("{} was not taken: {why}; this happened:\n{}", envelope.r#type, self.story());
    }

    /// Waits until nothing waits in an outbox and nothing is on its way, backoffs included. What is parked stays parked.
    ///
    /// A test with failures in it runs under `#[tokio::test(start_paused = true)]`, where a backoff takes no time. Where
    /// a subscription halts on a dead letter, what is behind it stays on its way: there is no quiet before a person acts.
    pub async fn quiet(&self) {
        loop {
            let ended = self.journal.len();
            for (store, _) in &self.services {
                store.drained().await;
            }
            self.bus.quiet().await;
            if self.is_quiet().await && self.journal.len() == ended {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn is_quiet(&self) -> bool {
        for (store, _) in &self.services {
            if !matches!(store.backlog().await, Ok(backlog) if backlog.outbox <= backlog.outbox_parked) {
                return false;
            }
        }
        self.bus.in_flight() == 0
    }

    /// What has happened so far.
    pub fn story(&self) -> Story {
        Story::new(self.journal.entries(), self.shuffle)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
