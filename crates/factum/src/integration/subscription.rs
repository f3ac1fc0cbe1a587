//! A durable name and a set of types: one queue, one inbox identity, one space of lanes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::preload::{Preload, Preloading};
use super::projection::Erased as ErasedProjection;
use super::subscriber::{Erased, ErasedSubscriber};
use super::{Envelope, IntegrationEvent, Projection, Subscriber};
use crate::port::Store;
use crate::{Error, Outcome, Persist, UnitOfWork};

/// What becomes of the later envelopes of a key whose head was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeadLetter {
    /// They wait behind it, order kept, until a person requeues or discards it.
    #[default]
    Park,
    /// They go on, and the gap is reported.
    Skip,
    /// The whole subscription stops until a person resumes it.
    Halt,
}

/// A durable name and a set of types: one queue, one inbox identity, and one order within a (source, key) across its
/// types. Every delivery runs in a unit of work: inbox row, effects and further events commit together.
///
/// The name is stored with every event that was handled. To rename a subscription is to begin a new one.
pub struct Subscription<S: Store> {
    name: Arc<str>,
    reactions: HashMap<&'static str, Box<dyn ErasedSubscriber<S>>>,
    preloads: Vec<Box<dyn Preload<S>>>,
    projects: bool,
    on_dead_letter: OnDeadLetter,
}

impl<S: Store> Subscription<S> {
    /// A subscription to nothing yet. The name: 1 to 128 letters, digits, `.`, `_` and `-`.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            reactions: HashMap::new(),
            preloads: Vec::new(),
            projects: false,
            on_dead_letter: OnDeadLetter::default(),
        }
    }

    /// Lets a subscriber react to a type. Of two for one type, the later takes the place of the earlier.
    #[must_use]
    pub fn on<E: IntegrationEvent>(mut self, subscriber: impl Subscriber<E, S>) -> Self {
        self.reactions.insert(E::TYPE, Box::new(Erased::<E, _>::new(subscriber)));
        self
    }

    /// Lets a projection fold a type in, and keeps a checkpoint of how far it is.
    #[must_use]
    pub fn projecting<E: IntegrationEvent>(mut self, projection: impl Projection<E, S>) -> Self {
        self.reactions.insert(E::TYPE, Box::new(ErasedProjection::<E, _>::new(projection)));
        self.projects = true;
        self
    }

    /// Says which aggregate the subscriber of `E` will load, so that those of all deliveries which share a commit are
    /// loaded at once. A help for speed: what it names wrongly costs a query, what it leaves out is loaded when asked for.
    #[must_use]
    pub fn preloading<E: IntegrationEvent, A: Persist<S>>(
        mut self,
        id: impl Fn(&E) -> A::Id + Send + Sync + 'static,
    ) -> Self {
        self.preloads.push(Box::new(Preloading::<E, A, _>::new(id)));
        self
    }

    /// Says what becomes of a key whose head was given up; [`OnDeadLetter::Park`] by default.
    #[must_use]
    pub fn on_dead_letter(mut self, policy: OnDeadLetter) -> Self {
        self.on_dead_letter = policy;
        self
    }

    /// Its durable name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The types that it takes, sorted.
    pub fn types(&self) -> Vec<&'static str> {
        let mut types: Vec<_> = self.reactions.keys().copied().collect();
        types.sort_unstable();
        types
    }

    /// What becomes of a key whose head was given up.
    pub fn policy(&self) -> OnDeadLetter {
        self.on_dead_letter
    }

    /// Whether it keeps a checkpoint.
    pub fn projects(&self) -> bool {
        self.projects
    }

    /// Says what is wrong with it: a bad name, or no types.
    pub fn check(&self) -> Result<(), String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.name.is_empty() || self.name.len() > 128 || !self.name.bytes().all(fits) {
            return Err(format!(
                "`{}` is no name for a subscription: 1 to 128 letters, digits, `.`, `_` and `-`",
                self.name
            ));
        }
        if self.reactions.is_empty() {
            return Err(format!("subscription `{}` takes no type: give it one with `.on(..)`", self.name));
        }
        Ok(())
    }

    /// Loads what the subscribers of these will ask for. One alone loads it itself.
    pub(crate) async fn preload(
        &self,
        envelopes: &[&Arc<Envelope>],
        uow: &mut UnitOfWork<S>,
    ) -> Result<(), Error> {
        if envelopes.len() > 1 {
            for preload in &self.preloads {
                preload.preload(envelopes, uow).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn receive(&self, envelope: &Arc<Envelope>, uow: &mut UnitOfWork<S>) -> Outcome {
        match self.reactions.get(&*envelope.r#type) {
            Some(subscriber) => subscriber.receive(envelope, uow).await,
            None => Err(format!("nobody here takes the type {}", envelope.r#type).into()),
        }
    }
}

impl<S: Store> fmt::Debug for Subscription<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("name", &self.name)
            .field("types", &self.types())
            .finish_non_exhaustive()
    }
}
