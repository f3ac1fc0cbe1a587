//! Proof, held as a value, that a transaction committed.

use std::ops::Deref;
use std::sync::Arc;

use super::{Envelope, IntegrationEvent, Source};
use crate::port::Ids;
use crate::{Context, Error};

/// A value whose unit of work has committed. Commits make them; nobody else can:
///
/// ```compile_fail,E0451
/// # use factum::{Committed, Envelope};
/// fn forge(value: Envelope) -> Committed<Envelope> { Committed { value, proof: todo!() } }
/// ```
#[derive(Clone, Debug)]
pub struct Committed<T = crate::Changes> {
    value: T,
    proof: Proof,
}

/// In whose name the proof may vouch, and who mints the ids.
#[derive(Clone)]
pub(crate) struct Proof {
    pub(crate) source: Source,
    /// The conversation of the unit of work; `None`: the value was read back.
    pub(crate) context: Option<Box<Context>>,
    pub(crate) ids: Arc<dyn Ids>,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("source", &self.source).finish_non_exhaustive()
    }
}

impl<T> Committed<T> {
    pub(crate) fn proven(value: T, proof: Proof) -> Self {
        Self { value, proof }
    }

    /// The value without the proof.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The same proof for another value.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Committed<U> {
        Committed { value: change(self.value), proof: self.proof }
    }

    /// Extends the proof to an event that is *not* in the outbox, in the conversation of the unit of work.
    ///
    /// It leaves at most once: never, if this process dies now, and nobody notices. For what must not get lost, there
    /// is [`announce`](crate::UnitOfWork::announce). To try again, publish the same envelope: vouching twice makes two
    /// events.
    ///
    /// # Errors
    /// [`Error::Encode`] if the event cannot be encoded or is over a limit.
    pub fn vouch<E: IntegrationEvent>(&self, event: &E) -> Result<Committed<Envelope>, Error> {
        let (id, time) = self.proof.ids.mint();
        let mut envelope = Envelope::seal(event, id, self.proof.source.clone(), time)?;
        if let Some(context) = &self.proof.context {
            context.stamp(&mut envelope);
        }
        Ok(Committed { value: envelope.checked::<E>()?, proof: self.proof.clone() })
    }
}

impl<T> Deref for Committed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
