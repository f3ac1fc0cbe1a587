//! Where the halves meet: what is announced in a unit of work leaves if, and only if, it commits.

use std::marker::PhantomData;
use std::sync::Arc;

use uuid::Uuid;

use super::UnitOfWork;
use crate::domain::short_name;
use crate::port::{Access, Store};
use crate::{BoxError, DomainEvent, Envelope, Error, EventId, IntegrationEvent};

/// The delivery that a unit of work runs for: what it announces gets ids derived from it, so that a repeat of the
/// delivery announces under the same ids.
pub(super) struct Cause {
    namespace: Uuid,
    /// How many were announced of each type and key.
    counts: Vec<(&'static str, Option<Arc<str>>, usize)>,
}

impl Cause {
    pub(super) fn new(own_source: &str, subscription: &str, envelope: &Envelope) -> Self {
        let namespace = EventId::cause(own_source, subscription, &envelope.source, envelope.id.as_str());
        Self { namespace, counts: Vec::new() }
    }

    fn next_id(&mut self, event_type: &'static str, key: Option<&Arc<str>>) -> EventId {
        let known = self.counts.iter_mut().find(|(of, with, _)| *of == event_type && with.as_ref() == key);
        let n = match known {
            Some((.., count)) => {
                *count += 1;
                *count
            }
            None => {
                self.counts.push((event_type, key.cloned(), 0));
                0
            }
        };
        EventId::derived(&self.namespace, event_type, key.map(|key| &**key), n)
    }
}

impl<S: Store> UnitOfWork<S> {
    /// Puts an integration event in the outbox: it leaves if, and only if, this unit of work commits.
    ///
    /// A domain event stays in its transaction:
    ///
    /// ```compile_fail,E0277
    /// # use factum::{DomainEvent, Store, UnitOfWork};
    /// #[derive(Debug)]
    /// struct OrderPlaced;
    /// impl DomainEvent for OrderPlaced {}
    /// fn domain_events_stay<S: Store>(uow: &mut UnitOfWork<S>) {
    ///     uow.announce(&OrderPlaced);
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`] if it cannot be encoded or is over a limit; [`Error::ReadOnly`].
    pub fn announce<E: IntegrationEvent>(&mut self, event: &E) -> Result<EventId, Error> {
        if self.access == Access::Read {
            return Err(Error::ReadOnly { what: "`announce`" });
        }
        let (minted, time) = self.ids.mint();
        let mut envelope = Envelope::seal(event, minted, self.context.source.clone(), time)?;
        if let Some(cause) = &mut self.cause {
            envelope.id = cause.next_id(E::TYPE, envelope.partitionkey.as_ref());
        }
        self.context.stamp(&mut envelope);
        let envelope = envelope.checked::<E>()?;
        let id = envelope.id.clone();
        self.outbox.push(envelope);
        Ok(id)
    }

    /// What has been announced so far, and will be appended to the outbox.
    pub fn announced(&self) -> &[Envelope] {
        &self.outbox
    }
}

/// Makes an integration event from a domain event: any `Fn(&E) -> I`, where `I` is an integration event.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not translate `{E}`",
    note = "a translation is `fn(&{E}) -> I`, where `I` is an integration event"
)]
pub trait Translation<E>: Send + Sync + 'static {
    /// What it announces.
    type Announced: IntegrationEvent;
    /// Translates. It sees the event and nothing else.
    fn translate(&self, event: &E) -> Self::Announced;
}

impl<E, I: IntegrationEvent, F: Fn(&E) -> I + Send + Sync + 'static> Translation<E> for F {
    type Announced = I;
    fn translate(&self, event: &E) -> I {
        self(event)
    }
}

/// A [`Translation`] with its types erased, so that a registry can hold it.
pub(crate) trait Announcing<S: Store>: Send + Sync {
    fn announce(&self, event: &dyn DomainEvent, uow: &mut UnitOfWork<S>) -> Result<(), BoxError>;
    fn name(&self) -> &'static str;
}

struct Erased<E, T>(T, PhantomData<fn(E)>);

pub(crate) fn announcing<E: DomainEvent, S: Store>(
    translation: impl Translation<E>,
) -> Box<dyn Announcing<S>> {
    Box::new(Erased::<E, _>(translation, PhantomData))
}

impl<E: DomainEvent, S: Store, T: Translation<E>> Announcing<S> for Erased<E, T> {
    fn announce(&self, event: &dyn DomainEvent, uow: &mut UnitOfWork<S>) -> Result<(), BoxError> {
        let event: &dyn std::any::Any = event;
        let event =
            event.downcast_ref::<E>().ok_or("an event was dispatched to a translation of another type")?;
        uow.announce(&self.0.translate(event))?;
        Ok(())
    }

    fn name(&self) -> &'static str {
        short_name::<T>()
    }
}
