//! The change tracker: it owns the aggregates, so that no change and no event of theirs can be left behind.

use std::any::{Any, TypeId};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::marker::PhantomData;

use super::DocumentChange;
use super::persist::{Change, Erased, Loaded, Persist, Version, Written};
use crate::domain::{Recorded, TypeIdHasher, short_name};
use crate::port::Store;
use crate::{Entity, Error};

/// The key of an aggregate in its unit of work: `uow[order]`. Small, `Copy`, free of lifetimes.
pub struct Tracked<A> {
    unit_of_work: u64,
    slot: usize,
    aggregate: PhantomData<fn() -> A>,
}

impl<A> Copy for Tracked<A> {}

impl<A> Clone for Tracked<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> PartialEq for Tracked<A> {
    fn eq(&self, other: &Self) -> bool {
        (self.unit_of_work, self.slot) == (other.unit_of_work, other.slot)
    }
}

impl<A> Eq for Tracked<A> {}

impl<A> fmt::Debug for Tracked<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tracked<{}>(#{} of unit of work {})", short_name::<A>(), self.slot, self.unit_of_work)
    }
}

/// The one panic of the library: a key that opens nothing is a mistake in the program, like an index out of bounds.
#[track_caller]
pub(super) fn no_such<A>(unit_of_work: u64, key: Tracked<A>) -> ! {
    if key.unit_of_work == unit_of_work {
        panic!("{key:?} was removed");
    }
    panic!(
        "{key:?} was used in unit of work {unit_of_work}: keys do not travel, load the aggregate again by its id"
    );
}

struct Slot<S: Store> {
    aggregate: Box<dyn Erased<S>>,
    /// In its row, once it has one.
    version: Version,
    change: Change,
    /// Listed in [`Tracker::touched`].
    touched: bool,
    /// Listed in [`Tracker::unwritten`].
    unwritten: bool,
}

impl<S: Store> Slot<S> {
    fn is_present(&self) -> bool {
        !matches!(self.change, Change::Delete(_) | Change::Gone)
    }

    fn lend<A: 'static>(&mut self) -> Option<&mut A> {
        if self.change == Change::None {
            self.change = Change::Update(self.version);
        }
        (&mut *self.aggregate as &mut dyn Any).downcast_mut()
    }
}

/// The identity map of one type; `None`: looked for, and not there.
type Ids<A> = HashMap<<A as Entity>::Id, Option<Tracked<A>>>;

type Identities = HashMap<TypeId, Box<dyn Any + Send + Sync>, BuildHasherDefault<TypeIdHasher>>;

/// What a write holds in memory beside the aggregates themselves.
const DOCUMENTS_AT_ONCE: usize = 256;

/// The aggregates of one unit of work. Cost follows what changed: only slots that were lent mutably are written and
/// scanned for events.
pub(super) struct Tracker<S: Store> {
    unit_of_work: u64,
    slots: Vec<Slot<S>>,
    /// For each aggregate type, its [`Ids`].
    identities: Identities,
    /// Slots lent mutably since events were last collected; no other can hold any.
    touched: Vec<usize>,
    /// Slots with a change since the last write.
    unwritten: VecDeque<usize>,
    rows_written: usize,
}

impl<S: Store> Tracker<S> {
    pub(super) fn new(unit_of_work: u64) -> Self {
        Self {
            unit_of_work,
            slots: Vec::new(),
            identities: HashMap::default(),
            touched: Vec::new(),
            unwritten: VecDeque::new(),
            rows_written: 0,
        }
    }

    pub(super) fn add<A: Persist<S>>(&mut self, aggregate: A) -> (Tracked<A>, Option<Error>) {
        let twin = self.key_of::<A>(aggregate.id()).filter(|twin| self.get(*twin).is_some());
        let defect = twin.map(|_| Error::AlreadyTracked {
            aggregate: short_name::<A>(),
            id: format!("{:?}", aggregate.id()),
        });
        let key = self.track(aggregate, 0, Change::Insert);
        self.touch(key.slot);
        (key, defect)
    }

    pub(super) fn restore<A: Persist<S>>(
        &mut self,
        loaded: Loaded<A>,
        id: &A::Id,
    ) -> Result<Tracked<A>, Error> {
        let Loaded { mut aggregate, version } = loaded;
        let mut recorded = aggregate.collect_events();
        if !recorded.is_empty() {
            let events = recorded.names();
            recorded.drain();
            let aggregate = short_name::<A>();
            return Err(Error::RecordedWhileLoading { aggregate, id: format!("{id:?}"), events });
        }
        Ok(self.track(aggregate, version, Change::None))
    }

    /// `Some(None)`: it was removed here, whatever the table still says, or it was looked for and not there.
    pub(super) fn known<A: Persist<S>>(&self, id: &A::Id) -> Option<Option<Tracked<A>>> {
        let known = self.ids::<A>()?.get(id)?;
        Some(known.filter(|key| self.get(*key).is_some()))
    }

    /// It was looked for, and is not there.
    pub(super) fn note_absent<A: Persist<S>>(&mut self, id: A::Id) {
        if let Some(ids) = self.ids_mut::<A>() {
            ids.entry(id).or_insert(None);
        }
    }

    pub(super) fn remove<A: Persist<S>>(&mut self, key: Tracked<A>) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let slot = &mut self.slots[key.slot];
        slot.change = match slot.change {
            Change::Insert => Change::Gone,
            _ => Change::Delete(slot.version),
        };
        self.touch(key.slot);
        true
    }

    pub(super) fn get<A: Persist<S>>(&self, key: Tracked<A>) -> Option<&A> {
        let slot = self.slots.get(key.slot).filter(|slot| self.owns(key) && slot.is_present())?;
        (&*slot.aggregate as &dyn Any).downcast_ref()
    }

    pub(super) fn get_mut<A: Persist<S>>(&mut self, key: Tracked<A>) -> Option<&mut A> {
        self.get(key)?;
        self.touch(key.slot);
        self.slots[key.slot].lend()
    }

    pub(super) fn both_mut<A: Persist<S>, B: Persist<S>>(
        &mut self,
        a: Tracked<A>,
        b: Tracked<B>,
    ) -> Option<(&mut A, &mut B)> {
        self.get(a)?;
        self.get(b)?;
        if a.slot == b.slot {
            return None;
        }
        self.touch(a.slot);
        self.touch(b.slot);
        let [a, b] = self.slots.get_disjoint_mut([a.slot, b.slot]).ok()?;
        Some((a.lend()?, b.lend()?))
    }

    fn owns<A>(&self, key: Tracked<A>) -> bool {
        key.unit_of_work == self.unit_of_work
    }

    fn track<A: Persist<S>>(&mut self, aggregate: A, version: Version, change: Change) -> Tracked<A> {
        let key = Tracked { unit_of_work: self.unit_of_work, slot: self.slots.len(), aggregate: PhantomData };
        if let Some(ids) = self.ids_mut::<A>() {
            ids.insert(aggregate.id().clone(), Some(key));
        }
        self.slots.push(Slot {
            aggregate: Box::new(aggregate),
            version,
            change,
            touched: false,
            unwritten: false,
        });
        key
    }

    fn key_of<A: Persist<S>>(&self, id: &A::Id) -> Option<Tracked<A>> {
        self.ids::<A>()?.get(id).copied().flatten()
    }

    fn ids<A: Persist<S>>(&self) -> Option<&Ids<A>> {
        self.identities.get(&TypeId::of::<A>())?.downcast_ref()
    }

    fn ids_mut<A: Persist<S>>(&mut self) -> Option<&mut Ids<A>> {
        let new = || -> Box<dyn Any + Send + Sync> { Box::<Ids<A>>::default() };
        self.identities.entry(TypeId::of::<A>()).or_insert_with(new).downcast_mut()
    }

    fn touch(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if !std::mem::replace(&mut slot.touched, true) {
            self.touched.push(at);
        }
        if !std::mem::replace(&mut slot.unwritten, true) {
            self.unwritten.push_back(at);
        }
    }

    // -- for saving --------------------------------------------------------------------------------

    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    pub(super) fn name_and_id(&self, at: usize) -> String {
        self.slots.get(at).map(|slot| slot.aggregate.name_and_id()).unwrap_or_default()
    }

    /// Writes what changed since the last write, in the order in which it was touched, documents that follow each other
    /// together. What could not be written stays listed, so that swallowing the error does not lose the change.
    pub(super) async fn write(&mut self, connection: &mut S::Connection) -> Result<(), Error> {
        while let Some(&at) = self.unwritten.front() {
            let documents = self.documents_in_front()?;
            let slot = &self.slots[at];
            if documents.is_empty() {
                slot.aggregate.write(slot.change, connection).await?;
                self.first_is_written();
                continue;
            }
            let written =
                slot.aggregate.write_documents(connection, documents).await.map_err(Error::Store)?;
            for written in written {
                match (written, self.unwritten.front()) {
                    (Written::Stale, Some(&at)) => return Err(self.slots[at].aggregate.conflict()),
                    _ => self.first_is_written(),
                }
            }
        }
        Ok(())
    }

    /// The changes in front of the list, as far as they are documents'.
    fn documents_in_front(&self) -> Result<Vec<DocumentChange>, Error> {
        let mut changes = Vec::new();
        for &at in self.unwritten.iter().take(DOCUMENTS_AT_ONCE) {
            let Slot { aggregate, change, .. } = &self.slots[at];
            match aggregate.document_change(*change) {
                Some(change) => changes.push(change.map_err(Error::Store)?),
                None => break,
            }
        }
        Ok(changes)
    }

    fn first_is_written(&mut self) {
        let Some(at) = self.unwritten.pop_front() else { return };
        let slot = &mut self.slots[at];
        slot.unwritten = false;
        (slot.version, slot.change) = match slot.change {
            Change::None | Change::Gone => return,
            Change::Insert => (1, Change::None),
            Change::Update(version) => (version + 1, Change::None),
            Change::Delete(version) => (version, Change::Gone),
        };
        self.rows_written += 1;
    }

    /// By all writes together.
    pub(super) fn rows_written(&self) -> usize {
        self.rows_written
    }

    /// Takes what was recorded, each event with the slot of the aggregate that it is about, in the order of recording.
    pub(super) fn collect(&mut self) -> Vec<Recorded> {
        let mut wave = Vec::new();
        for at in std::mem::take(&mut self.touched) {
            let slot = &mut self.slots[at];
            slot.touched = false;
            let before = wave.len();
            slot.aggregate.each_events(&mut |events| events.move_to(&mut wave));
            wave[before..].iter_mut().for_each(|recorded| recorded.about = at);
        }
        wave.sort_unstable_by_key(|recorded| recorded.sequence);
        wave
    }

    /// What is rolled back was never true: its events go with it, without a warning.
    pub(super) fn forget_events(&mut self) {
        for slot in &mut self.slots {
            slot.aggregate.each_events(&mut |events| drop(events.drain()));
        }
    }
}

impl<S: Store> Drop for Tracker<S> {
    fn drop(&mut self) {
        self.forget_events();
    }
}
