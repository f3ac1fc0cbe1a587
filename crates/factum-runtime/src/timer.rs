//! Tokio's clock, which a test can pause.

use std::time::Duration;

use factum::BoxFuture;
use factum::port::Timer;
use tokio::time::Instant;

/// Tokio's clock. Needs a runtime whose time driver is enabled.
#[derive(Clone, Copy, Debug)]
pub struct TokioTimer(Instant);

impl TokioTimer {
    /// Starts to count.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for TokioTimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Timer for TokioTimer {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep_until(&self, until: Duration) -> BoxFuture<'static, ()> {
        match self.0.checked_add(until) {
            Some(until) => Box::pin(tokio::time::sleep_until(until)),
            None => Box::pin(std::future::pending()),
        }
    }
}
