//! What a test of cancellation needs first: a future that is dropped half-way, at a poll that can be chosen.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Polls a future so often at most, and then drops it.
#[must_use = "a future that nobody polls is dropped before it has begun"]
pub struct DropAfter<F> {
    future: Option<Pin<Box<F>>>,
    polls: usize,
}

impl<F: Future> DropAfter<F> {
    /// After 0 polls it is dropped before it has begun.
    pub fn polls(polls: usize, future: F) -> Self {
        Self { future: Some(Box::pin(future)), polls }
    }
}

/// `None`: it was dropped.
impl<F: Future> Future for DropAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(future) = &mut this.future
            && this.polls > 0
        {
            this.polls -= 1;
            match future.as_mut().poll(context) {
                Poll::Ready(done) => return Poll::Ready(Some(done)),
                Poll::Pending if this.polls > 0 => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        this.future = None;
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_is_dropped_at_the_poll_that_was_chosen_and_not_before() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        for polls in 0..3 {
            let held = Arc::new(());
            let holding = Arc::clone(&held);
            let mut dropped = std::pin::pin!(DropAfter::polls(polls, async move {
                let _held = holding;
                std::future::pending::<()>().await
            }));
            for _ in 1..polls {
                assert!(dropped.as_mut().poll(&mut context).is_pending());
                assert_eq!(Arc::strong_count(&held), 2);
            }
            assert_eq!(dropped.as_mut().poll(&mut context), Poll::Ready(None), "{polls}");
            assert_eq!(Arc::strong_count(&held), 1, "it was not dropped");
        }
        let mut done = std::pin::pin!(DropAfter::polls(1, async { 7 }));
        assert_eq!(done.as_mut().poll(&mut context), Poll::Ready(Some(7)));
    }
}
