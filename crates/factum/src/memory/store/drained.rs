//! Waiting until a relay has emptied the outbox, by counting.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use super::MemoryStore;

/// Who waits for the outbox to become empty.
#[derive(Default)]
pub(super) struct Drain(Mutex<Vec<Waker>>);

impl Drain {
    /// Something left the outbox, or was held.
    pub(super) fn changed(&self) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }

    fn wait(&self, waker: &Waker) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

impl MemoryStore {
    /// Ends when the outbox holds nothing that a relay could publish: no row, or only rows behind a dead letter.
    pub async fn drained(&self) {
        poll_fn(|context| {
            self.0.drain.wait(context.waker());
            match self.0.state().publishable() {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
    }
}
