//! Work that is carried out, whoever stops waiting for it, on the runtime that it was begun on.

use factum::port;
use tokio::runtime::Handle;

/// Without a runtime what is left of `work` is dropped, and whatever it owns cleans up.
pub(crate) fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Send {
    let runtime = Handle::try_current();
    port::to_the_end(work, |rest| drop(runtime.map(|runtime| runtime.spawn(rest))))
}
