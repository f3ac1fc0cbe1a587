//! What leases are judged by: the system's clock or one that was given, and what a test has put it forward by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::port::Timer;

#[derive(Default)]
pub(super) struct Clock {
    timer: Option<Arc<dyn Timer>>,
    began: OnceLock<Instant>,
    /// Nanoseconds.
    advanced: AtomicU64,
}

impl Clock {
    pub(super) fn of(timer: Arc<dyn Timer>) -> Self {
        Self { timer: Some(timer), ..Self::default() }
    }

    pub(super) fn now(&self) -> Duration {
        let now = match &self.timer {
            Some(timer) => timer.now(),
            None => self.began.get_or_init(Instant::now).elapsed(),
        };
        now + Duration::from_nanos(self.advanced.load(Ordering::SeqCst))
    }

    pub(super) fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.advanced.fetch_add(nanos, Ordering::SeqCst);
    }
}
