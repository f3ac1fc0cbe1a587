//! Where waiting comes from: the runtime that the application chose, or a virtual clock.

use std::time::Duration;

use crate::BoxFuture;

/// A monotonic clock that one can wait on.
pub trait Timer: Send + Sync {
    /// Time since a start of the timer's own choosing; never goes back.
    fn now(&self) -> Duration;
    /// Ends when [`now`](Self::now) has reached `until`.
    fn sleep_until(&self, until: Duration) -> BoxFuture<'static, ()>;
}
