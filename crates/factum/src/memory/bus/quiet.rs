//! Waiting until nothing is on its way, by counting.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::state::Shared;

/// Ends when nothing is on its way.
pub(super) struct Quiet {
    shared: Arc<Shared>,
    id: u64,
}

impl Quiet {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let id = shared.lock().next_id();
        Self { shared, id }
    }
}

impl Future for Quiet {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if self.shared.is_quiet(&state) {
            return Poll::Ready(());
        }
        state.wait_for_quiet(self.id, cx.waker());
        Poll::Pending
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.shared.lock().forget_quiet(self.id);
    }
}
