//! Who reacts to integration events of other services.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use super::{Envelope, IntegrationEvent};
use crate::call::AsyncCall;
use crate::port::Store;
use crate::{BoxFuture, Outcome, UnitOfWork};

/// An integration event as it arrives: decoded, with its envelope's attributes.
#[derive(Clone, Debug)]
pub struct Received<E> {
    /// What happened.
    pub event: E,
    /// Under which attributes it was told.
    pub envelope: Arc<Envelope>,
}

impl<E: IntegrationEvent> Received<E> {
    /// Decodes an envelope.
    ///
    /// # Errors
    /// The data is not the JSON of an `E`.
    pub(crate) fn open(envelope: &Arc<Envelope>) -> Result<Self, serde_json::Error> {
        Ok(Self { event: serde_json::from_slice(&envelope.data)?, envelope: Arc::clone(envelope) })
    }
}

impl<E> Deref for Received<E> {
    type Target = E;
    fn deref(&self) -> &E {
        &self.event
    }
}

/// Reacts to one type of integration event within a subscription, in a unit of work of its own.
///
/// Implemented for every `async fn(&Received<E>, &mut UnitOfWork<S>) -> Outcome`; implement it on a struct to carry
/// state. Its effects in this database happen exactly once, because the inbox row commits with them; a call to the
/// outside would be at least once, and does not belong here.
///
/// It is no [`Handler`](crate::Handler): what has left its transaction cannot take part in it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not subscribe to `{E}`",
    note = "a subscriber is `async fn(&Received<{E}>, &mut UnitOfWork<S>) -> Outcome`, or a struct that implements `Subscriber<{E}, S>`"
)]
pub trait Subscriber<E: IntegrationEvent, S: Store>: Send + Sync + 'static {
    /// Reacts. `Err` rolls back, and the delivery comes again.
    fn receive(
        &self,
        received: &Received<E>,
        uow: &mut UnitOfWork<S>,
    ) -> impl Future<Output = Outcome> + Send;
}

impl<E: IntegrationEvent, S: Store, F> Subscriber<E, S> for F
where
    F: for<'a> AsyncCall<'a, Received<E>, S> + Send + Sync + 'static,
{
    async fn receive(&self, received: &Received<E>, uow: &mut UnitOfWork<S>) -> Outcome {
        self(received, uow).await
    }
}

/// A subscriber or a projection with its event type and future erased.
pub(crate) trait ErasedSubscriber<S: Store>: Send + Sync {
    fn receive<'a>(
        &'a self,
        envelope: &'a Arc<Envelope>,
        uow: &'a mut UnitOfWork<S>,
    ) -> BoxFuture<'a, Outcome>;
}

pub(crate) struct Erased<E, R>(R, PhantomData<fn(E)>);

impl<E, R> Erased<E, R> {
    pub(crate) fn new(subscriber: R) -> Self {
        Self(subscriber, PhantomData)
    }
}

impl<E: IntegrationEvent, S: Store, R: Subscriber<E, S>> ErasedSubscriber<S> for Erased<E, R> {
    fn receive<'a>(
        &'a self,
        envelope: &'a Arc<Envelope>,
        uow: &'a mut UnitOfWork<S>,
    ) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { self.0.receive(&Received::open(envelope)?, uow).await })
    }
}
