//! Carries out on tokio what [`factum::protocol`] decides: relays, subscriptions, projections.
//!
//! It decides nothing itself, and no event passes through it that a state machine did not ask for.

mod relay;
mod subscription;
mod timer;

pub use relay::{Relay, RelayOptions};
pub use subscription::{Counters, Counts, Receiver, ReceiverOptions};
pub use timer::TokioTimer;
