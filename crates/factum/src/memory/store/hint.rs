//! Wakes relays of this process when a commit has put something in the outbox.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

#[derive(Default)]
pub(super) struct Hint(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Ascends with every commit that appended.
    appended: u64,
    /// The number of the last one that somebody was told of.
    told: u64,
    wakers: Vec<Waker>,
}

impl Hint {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn appended(&self) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.appended += 1;
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends at once if something was appended that nobody was told of; of several that wait, all are told.
    pub(super) async fn wait(&self) {
        let mut began_at = None;
        poll_fn(|context| {
            let mut waiting = self.lock();
            let seen = *began_at.get_or_insert(waiting.told);
            if waiting.appended > seen {
                waiting.told = waiting.appended;
                return Poll::Ready(());
            }
            if !waiting.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
