//! Which handlers hear which domain event.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use super::handler::{Erased, ErasedHandler};
use super::{DomainEvent, Handler, short_name};
use crate::port::Store;
use crate::unit_of_work::{Announcing, Translation};

/// What happens on an event: a handler runs, or a translation announces.
pub(crate) enum Reaction<S: Store> {
    Handle(Box<dyn ErasedHandler<S>>),
    Announce(Box<dyn Announcing<S>>),
}

impl<S: Store> Reaction<S> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Handle(handler) => handler.name(),
            Self::Announce(translation) => translation.name(),
        }
    }
}

struct Reactions<S: Store> {
    event: &'static str,
    list: Vec<Reaction<S>>,
}

/// One line of [`Dispatcher::registrations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The domain event's name.
    pub event: &'static str,
    /// The handler's name.
    pub handler: &'static str,
}

/// Which handlers hear which domain event, in the order of registration. An event that nobody handles is normal.
pub struct Dispatcher<S: Store>(HashMap<TypeId, Reactions<S>, BuildHasherDefault<TypeIdHasher>>);

impl<S: Store> Default for Dispatcher<S> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<S: Store> Dispatcher<S> {
    /// No handlers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a handler of `E`, behind those that are registered already.
    #[must_use]
    pub fn on<E: DomainEvent>(mut self, handler: impl Handler<E, S>) -> Self {
        self.push::<E>(Reaction::Handle(Box::new(Erased::<E, _>::new(handler))));
        self
    }

    /// Announces an integration event for every `E`: a translation is a pure function, `fn(&E) -> OrderPlacedV1`.
    ///
    /// It reads no table, so that nothing has to be written before it runs; a handler that announces would cost that.
    #[must_use]
    pub fn announcing<E: DomainEvent>(mut self, translation: impl Translation<E>) -> Self {
        self.push::<E>(Reaction::Announce(crate::unit_of_work::announcing::<E, S>(translation)));
        self
    }

    /// Who handles what, sorted by event, each event's handlers in the order in which they run.
    pub fn registrations(&self) -> Vec<Registration> {
        let mut all: Vec<_> = self
            .0
            .values()
            .flat_map(|of| of.list.iter().map(|one| Registration { event: of.event, handler: one.name() }))
            .collect();
        all.sort_by_key(|registration| registration.event);
        all
    }

    /// Turns the order of each event's handlers around by `seed`: a test finds out who relies on it.
    #[must_use]
    pub fn shuffled(mut self, seed: u64) -> Self {
        for reactions in self.0.values_mut() {
            shuffle(&mut reactions.list, seed);
        }
        self
    }

    pub(crate) fn reactions_to(&self, event: &dyn DomainEvent) -> &[Reaction<S>] {
        self.0.get(&event.type_id()).map_or(&[], |of| of.list.as_slice())
    }

    fn push<E: DomainEvent>(&mut self, reaction: Reaction<S>) {
        let new = || Reactions { event: short_name::<E>(), list: Vec::new() };
        self.0.entry(TypeId::of::<E>()).or_insert_with(new).list.push(reaction);
    }
}

/// Fisher and Yates, with the xorshift of Marsaglia (2003): a test wants the same order for the same seed, no quality.
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for last in (1..list.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        list.swap(last, (state % (last as u64 + 1)) as usize);
    }
}

impl<S: Store> fmt::Debug for Dispatcher<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.registrations()).finish()
    }
}

/// A `TypeId` is a hash already.
#[derive(Default)]
pub(crate) struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
