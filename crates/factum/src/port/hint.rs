//! How whoever commits tells the relays of this process that there is something: it needs no runtime, for a store is to
//! choose that.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Counts commits that put something in the outbox, and wakes who waits for the next.
#[derive(Debug, Default)]
pub struct Hint(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    times: u64,
    waiting: Vec<Waker>,
}

/// What somebody has been told. A store keeps one in each clone, so that each is told for itself.
#[derive(Debug, Default)]
pub struct Seen(AtomicU64);

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::SeqCst)))
    }
}

impl Hint {
    fn lock(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is in the outbox.
    pub fn give(&self) {
        let waiting = {
            let mut given = self.lock();
            given.times += 1;
            std::mem::take(&mut given.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until one was given that `seen` has not seen; of several that wait, all are told.
    pub async fn wait(&self, seen: &Seen) {
        let mut told = None;
        poll_fn(|context| {
            let mut given = self.lock();
            let told = *told.get_or_insert_with(|| seen.0.load(Ordering::SeqCst));
            if given.times > told {
                seen.0.store(given.times, Ordering::SeqCst);
                return Poll::Ready(());
            }
            if !given.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                given.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_waits_is_woken_once_and_every_clone_is_told_for_itself() {
        let (hint, woken) = (Hint::default(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let one = Seen::default();
        let other = one.clone();
        let mut waits = [Box::pin(hint.wait(&one)), Box::pin(hint.wait(&one)), Box::pin(hint.wait(&other))];
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut context).is_pending());
        }
        hint.give();
        hint.give();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "one task waits, however often");
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut context).is_ready());
        }
        assert!(pin!(hint.wait(&one)).poll(&mut context).is_pending());
    }

    #[test]
    fn what_was_given_while_nobody_waited_is_told_to_the_next() {
        let (hint, seen) = (Hint::default(), Seen::default());
        let mut context = Context::from_waker(Waker::noop());
        hint.give();
        let later = seen.clone();
        assert!(pin!(hint.wait(&seen)).poll(&mut context).is_ready());
        assert!(pin!(hint.wait(&seen)).poll(&mut context).is_pending());
        assert!(pin!(hint.wait(&later)).poll(&mut context).is_ready());
    }
}
