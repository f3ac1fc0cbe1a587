//! Lets a subscription receive from a bus: tries what [`Lanes`](factum::protocol::subscription::Lanes) wants tried, and
//! settles what it wants settled.
//!
//! It acknowledges nothing that is not committed, and no failure of a subscriber, a store or a bus ends it.

mod attempt;
mod counters;
mod drive;
mod hand;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use factum::port::InboxStore;
use factum::protocol::subscription::LanesOptions;
use factum::{Error, EventBus, Store, Subscription, Work};

pub use counters::{Counters, Counts};

use drive::Drive;

/// How a [`Receiver`] receives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// Batches, attempts, backoff. What depends on the subscription's policy or on the bus is filled in.
    pub lanes: LanesOptions,
    /// How long a unit of work may take, whether it handles one delivery or a batch: then it is rolled back, and a batch
    /// is taken apart; 30 s.
    pub deadline: Duration,
    /// How often the bus is told that what is in hand is not lost; less than half of any time-out of the bus; 10 s.
    pub progress: Duration,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            lanes: LanesOptions::default(),
            deadline: Duration::from_secs(30),
            progress: Duration::from_secs(10),
        }
    }
}

/// Receives from a bus for one subscription, and handles each delivery in a unit of work. Several of one name, here or
/// in other processes, compete.
pub struct Receiver<S: Store> {
    work: Work<S>,
    subscription: Subscription<S>,
    bus: Arc<dyn EventBus>,
    options: ReceiverOptions,
    counters: Arc<Counters>,
}

impl<S: Store + InboxStore> Receiver<S> {
    /// Nothing is received before [`run`](Self::run).
    pub fn new(work: Work<S>, subscription: Subscription<S>, bus: Arc<dyn EventBus>) -> Self {
        Self { work, subscription, bus, options: ReceiverOptions::default(), counters: Arc::default() }
    }

    /// Changes how it receives.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(&mut ReceiverOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Counts into these.
    #[must_use]
    pub fn counters(mut self, counters: Arc<Counters>) -> Self {
        self.counters = counters;
        self
    }

    /// Receives until `shutdown` ends or the bus closes; then it takes nothing more, waits at most
    /// [`grace`](LanesOptions::grace) for what is running, and hands the rest back. While store or bus are away it waits
    /// for them. Dropping the future at any moment loses nothing.
    ///
    /// # Errors
    /// [`Error::Misconfigured`]: the subscription or the options cannot work. Nothing was received.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let what = || format!("subscription `{}`", self.subscription.name());
        self.check().map_err(|why| Error::Misconfigured { what: what(), why })?;
        Drive::new(self).run(shutdown).await;
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.subscription.check()?;
        self.options.lanes.check()?;
        for (name, duration) in [("deadline", self.options.deadline), ("progress", self.options.progress)] {
            if duration.is_zero() {
                return Err(format!("`{name}` is 0: nothing could end in time; it is above 0"));
            }
        }
        Ok(())
    }
}

impl<S: Store> std::fmt::Debug for Receiver<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("subscription", &self.subscription)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
