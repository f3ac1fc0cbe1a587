//! What deliveries that share a commit will load, loaded at once.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Envelope, IntegrationEvent};
use crate::port::Store;
use crate::{BoxFuture, Error, Persist, UnitOfWork};

/// Which aggregate a type of event leads to, with the types erased.
pub(crate) trait Preload<S: Store>: Send + Sync {
    fn preload<'a>(
        &'a self,
        envelopes: &'a [&'a Arc<Envelope>],
        uow: &'a mut UnitOfWork<S>,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

pub(crate) struct Preloading<E, A, F>(F, PhantomData<fn(E, A)>);

impl<E, A, F> Preloading<E, A, F> {
    pub(crate) fn new(id: F) -> Self {
        Self(id, PhantomData)
    }
}

impl<S, E, A, F> Preload<S> for Preloading<E, A, F>
where
    S: Store,
    E: IntegrationEvent,
    A: Persist<S>,
    F: Fn(&E) -> A::Id + Send + Sync,
{
    fn preload<'a>(
        &'a self,
        envelopes: &'a [&'a Arc<Envelope>],
        uow: &'a mut UnitOfWork<S>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let of_type = envelopes.iter().filter(|envelope| envelope.r#type == E::TYPE);
        // What does not decode is its subscriber's to report.
        let events = of_type.filter_map(|envelope| serde_json::from_slice::<E>(&envelope.data).ok());
        let ids: Vec<A::Id> = events.map(|event| (self.0)(&event)).collect();
        Box::pin(async move { uow.preload::<A>(ids).await })
    }
}
