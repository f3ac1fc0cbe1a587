//! The shape that handlers and subscribers share: an `async fn` of an event and a unit of work.

use std::future::Future;

use crate::port::Store;
use crate::{Outcome, UnitOfWork};

/// Spells `async fn(&'a E, &'a mut UnitOfWork<S>)`, a handler or a subscriber, as a bound whose future is known to be
/// `Send`.
pub trait AsyncCall<'a, E: 'a, S: Store>: Fn(&'a E, &'a mut UnitOfWork<S>) -> Self::Running {
    /// Its future.
    type Running: Future<Output = Outcome> + Send + 'a;
}

impl<'a, E: 'a, S: Store, F, R> AsyncCall<'a, E, S> for F
where
    F: Fn(&'a E, &'a mut UnitOfWork<S>) -> R,
    R: Future<Output = Outcome> + Send + 'a,
{
    type Running = R;
}
