//! What the four services have in common: a name, units of work on a store of its own, and one subscription.

use std::sync::Arc;
use std::time::Duration;

use factum::integration::Inspect;
use factum::port::{InboxStore, OutboxStore};
use factum::{Dispatcher, Documents, EventBus, Subscription, Work};
use factum_runtime::{RelayOptions, Running};

use crate::Failure;

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
}

impl<S: ServiceStore> Service<S> {
    /// Ready to be started. It relays what it announces, unless the relays run elsewhere.
    pub fn assemble(self, relays: bool) -> Assembled<S> {
        let runtime = factum_runtime::Service::new(self.work.clone())
            .subscription(self.subscription)
            .relay(relay_options)
            .receive(|options| {
                options.lanes.batch_max = DELIVERIES_A_COMMIT;
                options.lanes.prefetch = 2 * DELIVERIES_A_COMMIT;
            });
        let runtime = if relays { runtime } else { runtime.without_relay() };
        Assembled { name: self.name, work: self.work, runtime }
    }
}

/// How the relays of the shop work, wherever they run.
pub fn relay_options(options: &mut RelayOptions) {
    options.lease = LEASE;
    options.renew = RENEW;
}

/// A service that is ready to be started.
pub struct Assembled<S: ServiceStore> {
    name: &'static str,
    work: Work<S>,
    runtime: factum_runtime::Service<S>,
}

impl<S: ServiceStore> Assembled<S> {
    /// Lets the bus know of the subscription. Until all services have done so none may announce anything: a bus
    /// delivers to those that it knows.
    ///
    /// # Errors
    ///
    /// The bus.
    pub async fn open(&self, bus: &Arc<dyn EventBus>) -> Result<(), Failure> {
        self.runtime.open(bus).await.map_err(Failure::of(self.name))
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// The bus.
    pub async fn start(self, bus: &Arc<dyn EventBus>) -> Result<AtWork<S>, Failure> {
        let Self { name, work, runtime } = self;
        let running = runtime.start(bus).await.map_err(Failure::of(name))?;
        Ok(AtWork { name, work, running })
    }
}

/// A service at work.
pub struct AtWork<S: ServiceStore> {
    /// Its name.
    pub name: &'static str,
    /// Opens its units of work.
    pub work: Work<S>,
    /// What is at work.
    pub running: Running<S>,
}
