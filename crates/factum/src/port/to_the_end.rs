//! A future that runs to its end, whoever stops waiting for it: what [`Store::commit`](super::Store::commit) promises.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::BoxFuture;

/// See [`to_the_end`].
#[must_use = "futures do nothing unless polled"]
pub struct ToTheEnd<T, F: FnOnce(BoxFuture<'static, T>)> {
    rest: Option<BoxFuture<'static, T>>,
    go_on: Option<F>,
}

/// Runs `work` where it is awaited; if that is dropped, `go_on` gets what is left of it, and has it run elsewhere. Only
/// what is dropped goes there: to spawn every commit would cost each of them two thread wake-ups.
pub fn to_the_end<T, F>(work: impl Future<Output = T> + Send + 'static, go_on: F) -> ToTheEnd<T, F>
where
    F: FnOnce(BoxFuture<'static, T>),
{
    ToTheEnd { rest: Some(Box::pin(work)), go_on: Some(go_on) }
}

impl<T, F: FnOnce(BoxFuture<'static, T>) + Unpin> Future for ToTheEnd<T, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(rest) = &mut self.rest else { return Poll::Pending };
        let polled = rest.as_mut().poll(context);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<T, F: FnOnce(BoxFuture<'static, T>)> Drop for ToTheEnd<T, F> {
    fn drop(&mut self) {
        if let (Some(rest), Some(go_on)) = (self.rest.take(), self.go_on.take()) {
            go_on(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Pending once, then done.
    async fn twice() -> u8 {
        let mut polls = 0;
        std::future::poll_fn(|_| {
            polls += 1;
            if polls == 2 { Poll::Ready(7) } else { Poll::Pending }
        })
        .await
    }

    #[test]
    fn what_is_dropped_half_way_goes_on_where_it_was_left() {
        let mut context = Context::from_waker(Waker::noop());
        let mut left = None;
        {
            let mut work = to_the_end(twice(), |rest| left = Some(rest));
            assert!(Pin::new(&mut work).poll(&mut context).is_pending());
        }
        assert_eq!(left.expect("it was handed on").as_mut().poll(&mut context), Poll::Ready(7));
    }

    #[test]
    fn what_has_ended_goes_on_nowhere() {
        let mut context = Context::from_waker(Waker::noop());
        let mut left = None;
        {
            let mut work = to_the_end(twice(), |rest| left = Some(rest));
            assert!(Pin::new(&mut work).poll(&mut context).is_pending());
            assert_eq!(Pin::new(&mut work).poll(&mut context), Poll::Ready(7));
        }
        assert!(left.is_none());
    }
}
