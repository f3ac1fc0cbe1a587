//! What a relay and a subscription decide, as state machines without IO: input in, outputs out.
//!
//! Nothing here reads a clock, draws a random number or awaits: time and seeds come in. The production driver, a
//! simulator and tests run the same code.

mod backoff;
pub mod relay;
pub mod subscription;

pub use backoff::{Backoff, Jitter};
