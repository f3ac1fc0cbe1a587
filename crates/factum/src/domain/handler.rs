//! Phase two: what reacts to a domain event, inside the transaction that made it true.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;

use super::{DomainEvent, short_name};
use crate::call::AsyncCall;
use crate::{BoxFuture, Outcome, UnitOfWork, port::Store};

/// Reacts to one type of domain event, inside the unit of work that dispatches it.
///
/// Implemented for every `async fn(&E, &mut UnitOfWork<S>) -> Outcome`; implement it on a struct to carry state. It
/// runs once per commit, but may run several times, because a unit of work that lost a race is run again: it touches
/// nothing but the unit of work, and does not rely on the order of handlers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{E}`",
    note = "a handler is `async fn(&{E}, &mut UnitOfWork<S>) -> Outcome`, or a struct that implements `Handler<{E}, S>`",
    note = "an async closure that captures state is not a handler: put the state in a struct"
)]
pub trait Handler<E: DomainEvent, S: Store>: Send + Sync + 'static {
    /// Reacts. `Err` rolls everything back: rows, outbox, what other handlers did.
    fn handle(&self, event: &E, uow: &mut UnitOfWork<S>) -> impl Future<Output = Outcome> + Send;

    /// What errors and listings call it.
    fn name(&self) -> &'static str {
        short_name::<Self>()
    }

    /// [`handle`](Self::handle), boxed: a function's future needs no other around it.
    #[doc(hidden)]
    fn boxed<'a>(&'a self, event: &'a E, uow: &'a mut UnitOfWork<S>) -> BoxFuture<'a, Outcome> {
        Box::pin(self.handle(event, uow))
    }
}

impl<E: DomainEvent, S: Store, F> Handler<E, S> for F
where
    F: for<'a> AsyncCall<'a, E, S> + Send + Sync + 'static,
{
    async fn handle(&self, event: &E, uow: &mut UnitOfWork<S>) -> Outcome {
        self(event, uow).await
    }

    fn boxed<'a>(&'a self, event: &'a E, uow: &'a mut UnitOfWork<S>) -> BoxFuture<'a, Outcome> {
        Box::pin(self(event, uow))
    }
}

/// [`Handler`] with its event type and future erased, so that a registry can hold it.
pub(crate) trait ErasedHandler<S: Store>: Send + Sync {
    fn handle<'a>(&'a self, event: &'a dyn DomainEvent, uow: &'a mut UnitOfWork<S>)
    -> BoxFuture<'a, Outcome>;
    fn name(&self) -> &'static str;
}

pub(super) struct Erased<E, H>(H, PhantomData<fn(E)>);

impl<E, H> Erased<E, H> {
    pub(super) fn new(handler: H) -> Self {
        Self(handler, PhantomData)
    }
}

impl<E: DomainEvent, S: Store, H: Handler<E, S>> ErasedHandler<S> for Erased<E, H> {
    fn handle<'a>(
        &'a self,
        event: &'a dyn DomainEvent,
        uow: &'a mut UnitOfWork<S>,
    ) -> BoxFuture<'a, Outcome> {
        match (event as &dyn Any).downcast_ref::<E>() {
            Some(event) => self.0.boxed(event, uow),
            // The registry is keyed by event type.
            None => Box::pin(async { Err("an event was dispatched to a handler of another type".into()) }),
        }
    }

    fn name(&self) -> &'static str {
        self.0.name()
    }
}
