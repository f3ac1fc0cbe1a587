//! What the four services have in common: a name, units of work on a store of its own, and one subscription.

use std::time::Duration;

use factum::integration::{Inspect, Interest};
use factum::memory::MemoryBus;
use factum::port::{InboxStore, OutboxStore};
use factum::{BoxError, Dispatcher, Documents, EventBus, Subscription, Work};
use factum_runtime::Running;

/// A store that a service of the shop can live on.
pub trait ServiceStore: Documents + OutboxStore + InboxStore + Inspect {}

impl<S: Documents + OutboxStore + InboxStore + Inspect> ServiceStore for S {}

/// How long a process that was killed keeps the next one from relaying. Nobody shares these databases, so it is shorter
/// than by default; a busy writer lets a renewal wait, so it is not much shorter: a lease that runs out has envelopes
/// published again.
const LEASE: Duration = Duration::from_secs(5);
const RENEW: Duration = Duration::from_secs(1);

/// Deliveries that share a commit at most: more than by default, because everything here waits for one disk.
const DELIVERIES_A_COMMIT: usize = 256;

/// A service of the shop, on a store of its own.
pub struct Service<S: Documents> {
    /// Its name: of its database, of its subscription and in its source.
    pub name: &'static str,
    /// Opens its units of work.
    pub work: Work<S>,
    subscription: Subscription<S>,
}

impl<S: Documents> Service<S> {
    /// Puts a service together. It announces as `https://shop.example.com/<name>`.
    pub fn new(
        name: &'static str,
        store: S,
        dispatcher: Dispatcher<S>,
        subscription: Subscription<S>,
    ) -> Self {
        let source = format!("https://shop.example.com/{name}");
        Self { name, work: Work::new(source, store, dispatcher), subscription }
    }

    /// Lets the bus know of the subscription. Until all services have done so no relay may run: the bus confirms
    /// what it has delivered to those that it knows.
    ///
    /// # Errors
    ///
    /// The bus.
    pub async fn subscribe(&self, bus: &MemoryBus) -> Result<(), BoxError> {
        let types = self.subscription.types().into_iter().map(str::to_owned).collect();
        let subscription = self.subscription.name().to_owned();
        // The consumer is dropped; the subscription stays.
        bus.subscribe(Interest { subscription, types, prefetch: 1 }).await.map(drop)
    }
}

impl<S: ServiceStore> Service<S> {
    /// Starts to relay what it announces, and to receive what others tell it.
    ///
    /// # Errors
    ///
    /// The bus.
    pub async fn start(self, bus: &MemoryBus) -> Result<Running<S>, factum::Error> {
        factum_runtime::Service::new(self.work)
            .subscription(self.subscription)
            .relay(|options| {
                options.lease = LEASE;
                options.renew = RENEW;
            })
            .receive(|options| {
                options.lanes.batch_max = DELIVERIES_A_COMMIT;
                options.lanes.prefetch = 2 * DELIVERIES_A_COMMIT;
            })
            .start(bus)
            .await
    }
}
