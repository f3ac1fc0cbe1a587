//! The change tracker: it owns the aggregates, so that no change and no event of theirs can be left behind.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet, VecDeque};
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

/// The identity map of one type.
type Ids<A> = HashMap<<A as Entity>::Id, Tracked<A>>;

/// What was looked for of one type, and is not there.
type Absent<A> = HashSet<<A as Entity>::Id>;

/// What was done wrong, said as often as it is asked for.
pub(super) type Defect = Box<dyn Fn() -> Error + Send + Sync>;

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
    /// For each aggregate type, its [`Absent`].
    absent: Identities,
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
            absent: HashMap::default(),
            touched: Vec::new(),
            unwritten: VecDeque::new(),
            rows_written: 0,
        }
    }

    pub(super) fn add<A: Persist<S>>(&mut self, aggregate: A) -> (Tracked<A>, Option<Defect>) {
        let twin = self.key_of::<A>(aggregate.id()).filter(|twin| self.get(*twin).is_some());
        let defect = twin.map(|_| -> Defect {
            let id = format!("{:?}", aggregate.id());
            Box::new(move || Error::AlreadyTracked { aggregate: short_name::<A>(), id: id.clone() })
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
        match self.key_of(id) {
            Some(key) => Some(Some(key).filter(|key| self.get(*key).is_some())),
            None => {
                let absent: &Absent<A> = self.absent.get(&TypeId::of::<A>())?.downcast_ref()?;
                absent.contains(id).then_some(None)
            }
        }
    }

    /// It was looked for, and is not there.
    pub(super) fn note_absent<A: Persist<S>>(&mut self, id: A::Id) {
        if self.key_of::<A>(&id).is_some() {
            return;
        }
        let new = || -> Box<dyn Any + Send + Sync> { Box::<Absent<A>>::default() };
        let absent = self.absent.entry(TypeId::of::<A>()).or_insert_with(new);
        if let Some(absent) = absent.downcast_mut::<Absent<A>>() {
            absent.insert(id);
        }
    }

    /// Somebody may have inserted by SQL what was not there.
    pub(super) fn doubt_absences(&mut self) {
        self.absent.clear();
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
            ids.insert(aggregate.id().clone(), key);
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
        self.ids::<A>()?.get(id).copied()
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
            let due = documents.len();
            let written =
                slot.aggregate.write_documents(connection, documents).await.map_err(Error::Store)?;
            if written.len() != due {
                let why = format!("of {due} documents to write the store answered for {}", written.len());
                return Err(Error::Store(why.into()));
            }
            self.documents_are_written(&written)?;
        }
        Ok(())
    }

    /// Those that somebody else has changed stay listed; the others are in the table, and are not written twice.
    fn documents_are_written(&mut self, written: &[Written]) -> Result<(), Error> {
        let mut stale = Vec::new();
        for written in written {
            match written {
                Written::Fresh => self.first_is_written(),
                Written::Stale => stale.extend(self.unwritten.pop_front()),
            }
        }
        let Some(&first) = stale.first() else { return Ok(()) };
        stale.iter().rev().for_each(|at| self.unwritten.push_front(*at));
        Err(self.slots[first].aggregate.conflict())
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
