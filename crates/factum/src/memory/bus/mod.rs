//! An event bus in this process's memory: for a quick start, for tests, and for services that share one program.
//!
//! It keeps nothing on disk and still loses nothing: an envelope is confirmed only when every subscription that was
//! registered for its type has handled it, so until then it is in the publisher's outbox. It refuses to be a queue
//! without end (publishing waits for room), to confirm what nobody takes, and to need a runtime.

mod deliver;
mod publish;
mod queue;
mod quiet;
mod state;
mod tap;
#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use self::deliver::MemoryDeliveries;
use self::publish::Publish;
use self::quiet::Quiet;
use self::state::Shared;
pub use self::tap::Tap;
use crate::integration::{Capabilities, Deliveries, Durability, Interest, Publication};
use crate::port::Timer;
use crate::{BoxError, BoxFuture, Envelope, EventBus};

/// What a [`MemoryBus`] is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryBusOptions {
    /// How many envelopes a subscription has queued or unacknowledged at most, before publishing to it waits. At
    /// least 1; 4,096 by default.
    pub queue_bound: usize,
    /// The largest `data` that it takes, in bytes; 16 MiB by default.
    pub data_bytes_max: usize,
}

impl MemoryBusOptions {
    /// Other bound of each subscription's queue, in envelopes.
    #[must_use]
    pub fn queue_bound(self, queue_bound: usize) -> Self {
        Self { queue_bound, ..self }
    }

    /// Other largest `data`, in bytes.
    #[must_use]
    pub fn data_bytes_max(self, data_bytes_max: usize) -> Self {
        Self { data_bytes_max, ..self }
    }
}

impl Default for MemoryBusOptions {
    fn default() -> Self {
        Self { queue_bound: 4_096, data_bytes_max: Envelope::DATA_BYTES_MAX }
    }
}

/// An event bus in memory. Clones are handles of the same bus.
///
/// - A subscription exists from its first [`subscribe`](EventBus::subscribe) until the bus ends, even when all its
///   consumers are gone. Who subscribes again under its name with other types adds those.
/// - An envelope goes to every subscription registered for its type when the bus takes it, and is confirmed when all
///   of them have acknowledged or rejected it. Where there is none, it is
///   [`Unroutable`](crate::integration::Answer::Unroutable).
/// - In a batch, what comes behind a refused or unroutable envelope of its key is not delivered before it: behind a
///   refused one the answer is `Unknown`, behind an unroutable one it is `Unroutable`.
/// - An envelope that is published again while its earlier copy is still here is delivered again, behind it, and each
///   copy is confirmed for itself; the inbox recognises the repeat.
/// - Dropping a consumer hands back what it holds; acknowledging that afterwards is an error, as on a broker.
#[derive(Clone)]
pub struct MemoryBus {
    shared: Arc<Shared>,
}

impl MemoryBus {
    /// A bus without subscriptions. Delays come from `timer`, awaited by whoever waits for a delivery.
    pub fn new(timer: impl Timer + 'static) -> Self {
        Self::with(timer, MemoryBusOptions::default())
    }

    /// The same with other limits.
    pub fn with(timer: impl Timer + 'static, options: MemoryBusOptions) -> Self {
        Self { shared: Arc::new(Shared::new(Box::new(timer), options)) }
    }

    /// How much is on its way: queued or unacknowledged, counted per subscription, and the calls of
    /// [`publish`](EventBus::publish) that wait for room.
    pub fn in_flight(&self) -> usize {
        self.shared.lock().in_flight()
    }

    /// Ends at a moment when nothing is on its way and every answer has been given.
    pub fn quiet(&self) -> impl Future<Output = ()> + Send + use<> {
        Quiet::new(Arc::clone(&self.shared))
    }

    /// Records what is published from now on; see [`Tap`].
    pub fn tap(&self) -> Tap {
        self.shared.lock().taps.open()
    }
}

impl std::fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBus").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// Why a call on a bus that is closing or closed failed.
#[derive(Debug, thiserror::Error)]
#[error("the bus is closed: publish to or subscribe on another one")]
struct Closed;

impl EventBus for MemoryBus {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Handled,
            ordered: true,
            fail_stop: true,
            data_bytes_max: self.shared.options.data_bytes_max,
            persistent: true,
            counts_attempts: true,
        }
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(Publish::new(Arc::clone(&self.shared), batch))
    }

    fn subscribe<'a>(&'a self, interest: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async move {
            let consumer = MemoryDeliveries::open(Arc::clone(&self.shared), interest)?;
            Ok(Box::new(consumer) as Box<dyn Deliveries>)
        })
    }

    fn close<'a>(&'a self, deadline: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.shared.change(|state, effects| state.refuse_publishing(effects));
            let until = self.shared.timer.now().saturating_add(deadline);
            let mut late = self.shared.timer.sleep_until(until);
            let mut quiet = pin!(self.quiet());
            poll_fn(|cx| match quiet.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => late.as_mut().poll(cx),
            })
            .await;
            self.shared.change(|state, effects| state.end(effects));
        })
    }
}
