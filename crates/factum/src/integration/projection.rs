//! The read side: what keeps a read database in step with the events of others.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use super::subscriber::ErasedSubscriber;
use super::{Envelope, IntegrationEvent, Received};
use crate::port::Store;
use crate::{BoxFuture, Outcome, UnitOfWork, View};

/// Folds one type of integration event into a read model.
///
/// It gets a [`View`], which can neither announce nor record: a replay cannot send mail. How far it is stands in a
/// checkpoint that commits with what it wrote.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not project `{E}`",
    note = "a projection is a struct that implements `Projection<{E}, S>`"
)]
pub trait Projection<E: IntegrationEvent, S: Store>: Send + Sync + 'static {
    /// Folds one event in. `Err` rolls back, and the event comes again.
    fn project(&self, received: &Received<E>, view: &mut View<'_, S>)
    -> impl Future<Output = Outcome> + Send;
}

pub(crate) struct Erased<E, P>(P, PhantomData<fn(E)>);

impl<E, P> Erased<E, P> {
    pub(crate) fn new(projection: P) -> Self {
        Self(projection, PhantomData)
    }
}

impl<E: IntegrationEvent, S: Store, P: Projection<E, S>> ErasedSubscriber<S> for Erased<E, P> {
    fn receive<'a>(
        &'a self,
        envelope: &'a Arc<Envelope>,
        uow: &'a mut UnitOfWork<S>,
    ) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { self.0.project(&Received::open(envelope)?, &mut View::of(uow)).await })
    }
}
