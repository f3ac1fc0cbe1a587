//! The four services at work, and how far what they do has come.
//!
//! What has to be certain is read from the databases, for a bus may be anywhere, and its relays too. What this process has
//! counted says when it is worth looking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use factum::integration::Backlog;
use factum::{EventBus, Work};
use factum_runtime::Counts;

use crate::ordering::domain::Order;
use crate::patience::{Patience, outlast};
use crate::service::{AtWork, Service, ServiceStore};
use crate::{Failure, insight, tally};

/// The four services at work. Every order begins in ordering, and ends in inventory and in insight.
pub struct Pipeline<S: ServiceStore> {
    ordering: AtWork<S>,
    inventory: AtWork<S>,
    payment: AtWork<S>,
    insight: AtWork<S>,
    closed_before: u64,
    /// Orders that were closed since, and that this process has not counted: a commit's answer was lost on its way.
    uncounted: AtomicU64,
}

/// What the subscriptions have done in this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Deliveries whose effects were committed.
    pub handled: u64,
    /// Redeliveries that an inbox absorbed.
    pub absorbed: u64,
    /// Domain events that were dispatched.
    pub dispatched: u64,
    /// Deliveries that were given up or put behind one that was.
    pub stuck: u64,
}

impl<S: ServiceStore> Pipeline<S> {
    /// Lets the bus know of all subscriptions, then starts the services: ordering, inventory, payment, insight.
    ///
    /// # Errors
    ///
    /// A store, or the bus.
    pub(crate) async fn start(
        services: [Service<S>; 4],
        bus: &Arc<dyn EventBus>,
        relays: bool,
    ) -> Result<Self, Failure> {
        let closed_before = backlog(insight::NAME, &services[3].work).await?.inbox;
        let services = services.map(|service| service.assemble(relays));
        for service in &services {
            service.open(bus).await?;
        }
        let [ordering, inventory, payment, insight] = services.map(|service| service.start(bus));
        Ok(Self {
            ordering: ordering.await?,
            inventory: inventory.await?,
            payment: payment.await?,
            insight: insight.await?,
            closed_before,
            uncounted: AtomicU64::new(0),
        })
    }

    fn members(&self) -> [&AtWork<S>; 4] {
        [&self.ordering, &self.inventory, &self.payment, &self.insight]
    }

    /// Orders that are closed: all end in insight, whose inbox has a row for each.
    pub fn closed(&self) -> u64 {
        self.closed_before + self.closed_now()
    }

    /// Orders that were closed in this run.
    pub fn closed_now(&self) -> u64 {
        self.insight.counts().handled + self.uncounted.load(Relaxed)
    }

    /// What the subscriptions have done in this run.
    pub fn done(&self) -> Done {
        let mut done = Done::default();
        for counts in self.members().map(AtWork::counts) {
            done.handled += counts.handled;
            done.absorbed += counts.duplicates;
            done.dispatched += counts.dispatched;
            done.stuck += counts.dead_letters + counts.parked;
        }
        done
    }

    /// Asks insight's inbox how many orders are closed.
    ///
    /// # Errors
    ///
    /// A store.
    pub async fn recount(&self) -> Result<(), Failure> {
        let counted = self.insight.counts().handled;
        let found = self.insight.backlog().await?.inbox;
        self.uncounted.store(found.saturating_sub(self.closed_before + counted), Relaxed);
        Ok(())
    }

    /// Waits until nothing is on its way, as the databases have it. `look` is called now and then.
    ///
    /// # Errors
    ///
    /// A store.
    pub async fn quiet(&self, mut look: impl FnMut()) -> Result<(), Failure> {
        let orders = self.orders().await?;
        let (mut patience, mut last) = (Patience::default(), None);
        loop {
            let now = self.done();
            if last != Some(now) {
                patience.renew();
            } else if self.is_quiet(orders).await? {
                return Ok(());
            }
            last = Some(now);
            look();
            patience.wait().await;
        }
    }

    /// Whether all is told that these orders give rise to: each was told to inventory when it was placed, and to inventory
    /// and insight when it was closed, and nothing but what is parked waits in an outbox. An order with a dead letter
    /// goes no further.
    ///
    /// Inboxes are read before outboxes: what an inbox has made known is not missed there.
    async fn is_quiet(&self, orders: u64) -> Result<bool, Failure> {
        let insight = self.insight.backlog().await?;
        let inventory = self.inventory.backlog().await?;
        let all = [insight, inventory, self.ordering.backlog().await?, self.payment.backlog().await?];
        let stuck: u64 = all.iter().map(|backlog| backlog.dead_letters + backlog.parked).sum();
        Ok(insight.inbox + stuck >= orders
            && inventory.inbox + 2 * stuck >= 2 * orders
            && all.iter().all(|backlog| backlog.outbox <= backlog.outbox_parked))
    }

    /// How many orders there are, those of earlier runs included.
    async fn orders(&self) -> Result<u64, Failure> {
        let AtWork { name, work, .. } = &self.ordering;
        let counted = outlast(work.store(), name, || async {
            let mut uow = work.read().await?;
            let mut orders = 0;
            tally::each::<Order, S>(&mut uow, |_| orders += 1).await?;
            uow.roll_back().await;
            Ok::<_, factum::Error>(orders)
        });
        counted.await.map_err(Failure::of(name))
    }

    /// Finishes what is in hand, and ends.
    ///
    /// # Errors
    ///
    /// What ended one of the services before.
    pub async fn stop(self) -> Result<(), Failure> {
        for AtWork { name, running, .. } in [self.ordering, self.inventory, self.payment, self.insight] {
            running.stop().await.map_err(Failure::of(name))?;
        }
        Ok(())
    }
}

impl<S: ServiceStore> AtWork<S> {
    fn counts(&self) -> Counts {
        self.running.counters().read()
    }

    async fn backlog(&self) -> Result<Backlog, Failure> {
        backlog(self.name, &self.work).await
    }
}

async fn backlog<S: ServiceStore>(name: &'static str, work: &Work<S>) -> Result<Backlog, Failure> {
    let ask = || work.store().backlog();
    outlast(work.store(), name, ask).await.map_err(Failure::of(name))
}
