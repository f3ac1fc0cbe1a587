//! Services in memory, on one bus.

use std::fmt::Debug;
use std::sync::Arc;

use factum::integration::{Answer, EventBus as _, EventBusExt as _, Inspect as _, Interest};
use factum::memory::{MemoryBus, MemoryStore};
use factum::{Dispatcher, IntegrationEvent, Subscription, Work};
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
    #[must_use]
    pub fn shuffled(mut self, seed: u64) -> Self {
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
            self.declare(&subscription).await;
            service = service.subscription(subscription);
        }
        self.services.push((store, service.start(&OpenEnded(self.bus.clone()))));
        work
    }

    /// From here on the bus keeps its deliveries, whether or not its consumer runs already.
    async fn declare(&self, subscription: &Subscription<MemoryStore>) {
        if let Err(error) = subscription.check() {
            panic!("{error}");
        }
        let types = subscription.types().into_iter().map(str::to_owned).collect();
        let interest = Interest { subscription: subscription.name().into(), types, prefetch: 1 };
        if let Err(error) = self.bus.subscribe(interest).await {
            panic!("subscription {}: {error}", subscription.name());
        }
    }

    /// The bus that they are on.
    pub fn bus(&self) -> &MemoryBus {
        &self.bus
    }

    /// Publishes an event in the name of `source`, as a service outside of this world would, and waits until every
    /// subscription has handled it.
    ///
    /// # Panics
    /// If the bus refuses it, or nobody subscribes to it.
    pub async fn publish<E: IntegrationEvent>(&self, source: &str, event: &E) {
        let outside = Work::new(source, MemoryStore::new(), Dispatcher::new());
        let proof = match outside.run(async |_| Ok(())).await {
            Ok(proof) => proof,
            Err(error) => panic!("an empty unit of work in memory failed: {error}"),
        };
        match proof.vouch(event) {
            Ok(envelope) => match self.bus.publish_now(envelope).await {
                Answer::Confirmed => {}
                answer => panic!("{} was not taken: {answer:?}\n{}", E::TYPE, self.story()),
            },
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until nothing waits in an outbox and nothing is on its way. What is parked stays parked.
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
        self.journal.story()
    }

    /// Asserts which domain events were dispatched and committed, by name and in order.
    ///
    /// # Panics
    /// If it is not so; the message lists what did happen.
    #[track_caller]
    pub fn assert_dispatched(&self, names: &[&str]) {
        let story = self.story();
        assert!(
            story.dispatched() == names,
            "expected {names:?} to be dispatched, but this happened:\n{story}"
        );
    }

    /// Asserts which integration events of a type were announced, in order.
    ///
    /// # Panics
    /// If it is not so; the message lists what did happen.
    #[track_caller]
    pub fn assert_announced<E: IntegrationEvent + PartialEq + Debug>(&self, events: &[E]) {
        let story = self.story();
        let announced = story.announced::<E>();
        assert!(announced == events, "expected {events:?}, found {announced:?}; this happened:\n{story}");
    }

    /// Asserts how many events a subscription has handled, repeats not counted.
    ///
    /// # Panics
    /// If it is not so; the message lists what did happen.
    #[track_caller]
    pub fn assert_handled(&self, subscription: &str, times: usize) {
        let story = self.story();
        let handled = story.handled(subscription);
        assert!(
            handled == times,
            "{subscription} handled {handled} events, not {times}; this happened:\n{story}"
        );
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
