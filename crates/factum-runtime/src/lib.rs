//! Carries out on tokio what [`factum::protocol`] decides: relays, subscriptions, projections.
//!
//! It decides nothing itself, and no event passes through it that a state machine did not ask for.

mod relay;
mod service;
mod subscription;
mod timer;

pub use relay::{AnsweredBatch, PublishedBatch, Relay, RelayCounts, RelayMetrics, RelayOptions, RelayStats};
pub use service::{Running, Service};
pub use subscription::{Counters, Counts, Receiver, ReceiverOptions};
pub use timer::TokioTimer;

/// A bus in memory, on tokio's clock: for several services in one process, for a quick start, for tests.
pub fn memory_bus() -> factum::memory::MemoryBus {
    factum::memory::MemoryBus::new(TokioTimer::new())
}
