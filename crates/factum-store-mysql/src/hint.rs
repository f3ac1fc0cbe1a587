//! Wakes the relays of this process after a commit that put something in the outbox.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts commits, and wakes who waits for the next.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    given: AtomicU64,
    notify: Notify,
}

/// How many a clone of the store has seen; each clone is woken for itself.
#[derive(Debug, Default)]
pub(crate) struct Seen(AtomicU64);

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::SeqCst)))
    }
}

impl Hint {
    pub(crate) fn give(&self) {
        self.given.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Waits until one was given that `seen` has not seen.
    pub(crate) async fn wait(&self, seen: &Seen) {
        let mut next = std::pin::pin!(self.notify.notified());
        // Registered before the count is read, so that none is missed in between.
        next.as_mut().enable();
        if self.given.load(Ordering::SeqCst) == seen.0.load(Ordering::SeqCst) {
            next.await;
        }
        seen.0.store(self.given.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}
