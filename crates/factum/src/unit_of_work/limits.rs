//! What a unit of work may use up.

use std::time::Duration;

/// What a unit of work may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Waves of one save; 32.
    pub depth: usize,
    /// Domain events dispatched in one save; 10,000.
    pub events: usize,
    /// Times [`Work::run`](crate::Work::run) tries before it gives up; 10.
    pub attempts: u32,
    /// The longest pause before the second attempt; it doubles with each further one, up to 1,024 times; 5 ms.
    pub backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 32, events: 10_000, attempts: 10, backoff: Duration::from_millis(5) }
    }
}
