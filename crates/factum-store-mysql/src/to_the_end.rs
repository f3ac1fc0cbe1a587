//! A future that runs to its end, whoever stops waiting for it. Only one that is dropped is spawned, because spawning
//! every commit would cost each of them two thread wake-ups.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// See [`to_the_end`].
pub(crate) struct ToTheEnd<T: Send + 'static> {
    rest: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    runtime: Option<Handle>,
}

/// Runs `work` where it is awaited; if that is dropped, on the runtime that it was made on. Without a runtime `work` is
/// dropped, and whatever it owns cleans up.
pub(crate) fn to_the_end<T: Send>(work: impl Future<Output = T> + Send + 'static) -> ToTheEnd<T> {
    ToTheEnd { rest: Some(Box::pin(work)), runtime: Handle::try_current().ok() }
}

impl<T: Send> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(rest) = &mut self.rest else { return Poll::Pending };
        let polled = rest.as_mut().poll(cx);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<T: Send> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let (Some(rest), Some(runtime)) = (self.rest.take(), &self.runtime) {
            runtime.spawn(rest);
        }
    }
}
