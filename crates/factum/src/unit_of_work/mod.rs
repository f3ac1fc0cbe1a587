//! The seam between the two halves: track, write, dispatch until quiet, append the outbox, commit.

mod announce;
mod context;
mod document;
mod limits;
mod persist;
mod receive;
mod save;
mod tracker;
mod view;
mod work;

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::domain::next_in_order;
use crate::port::{Access, Ids, Intent, Observer, Saved, Store};
use crate::{Dispatcher, Envelope, Error};

pub use announce::Translation;
pub(crate) use announce::{Announcing, announcing};
pub use context::Context;
pub use document::{Document, DocumentChange, Documents};
pub use limits::Limits;
#[doc(hidden)]
pub use persist::Change;
pub use persist::{Loaded, Persist, Version, Written};
pub use receive::Reception;
pub use save::Changes;
pub use tracker::Tracked;
pub use view::View;
pub use work::Work;

use announce::Cause;
use tracker::{Defect, Tracker};

/// One transaction, the aggregates that it owns, and the integration events that leave with it.
///
/// An aggregate is moved in by [`add`](Self::add) or [`load`](Self::load), which give back a small key; `uow[order]`
/// reaches it. So no change and no event can be left behind, and nothing has to be saved by name. Dropping the unit of
/// work rolls everything back.
///
/// A handler, which only borrows one, cannot commit it, because saving consumes it:
///
/// ```compile_fail,E0507
/// # use factum::{Outcome, Store, UnitOfWork};
/// async fn handler<S: Store>(_event: &(), uow: &mut UnitOfWork<S>) -> Outcome {
///     uow.save_changes().await?;
///     Ok(())
/// }
/// ```
#[must_use = "a unit of work rolls back unless its changes are saved"]
pub struct UnitOfWork<S: Store> {
    id: u64,
    tx: S::Tx,
    access: Access,
    dispatcher: Arc<Dispatcher<S>>,
    ids: Arc<dyn Ids>,
    context: Context,
    limits: Limits,
    tracker: Tracker<S>,
    outbox: Vec<Envelope>,
    /// The delivery that this runs for: what it announces takes its ids from there.
    cause: Option<Cause>,
    /// In the hands of a handler or of a body, who could move it out by `mem::replace`: they cannot save it.
    lent: bool,
    /// A misuse that surfaces at every write, because `add` cannot fail and somebody may swallow the first.
    defect: Option<Defect>,
    /// What earlier deliveries of a batch have changed is not in the tables yet.
    behind: bool,
    /// Who looks on, and what there is to see.
    watched: Option<(Arc<dyn Observer>, Saved)>,
}

impl<S: Store> UnitOfWork<S> {
    async fn begin(work: &Work<S>, access: Access) -> Result<Self, Error> {
        let intent = Intent { access, who: Arc::clone(&work.context.who) };
        let tx = work.store.begin(&intent).await.map_err(Error::Store)?;
        let id = next_in_order();
        Ok(Self {
            id,
            tx,
            access,
            dispatcher: Arc::clone(&work.dispatcher),
            ids: Arc::clone(&work.ids),
            context: work.context.clone(),
            limits: work.limits,
            tracker: Tracker::new(id),
            outbox: Vec::new(),
            cause: None,
            lent: false,
            defect: None,
            behind: false,
            watched: work.observer.as_ref().map(|observer| (Arc::clone(observer), Saved::default())),
        })
    }

    /// The connection that this unit of work runs on; queries through it join the transaction, which the first call
    /// opens.
    ///
    /// Aggregates changed since the last write are not in the tables yet: see [`write_changes`](Self::write_changes).
    /// What earlier deliveries of the same batch have changed is written first.
    ///
    /// # Errors
    /// [`Error::Store`] if no transaction could be opened, for example because another writer held the database for
    /// longer than this one was willing to wait; in a batch those of [`write_changes`](Self::write_changes), too.
    pub async fn connection(&mut self) -> Result<&mut S::Connection, Error> {
        if std::mem::take(&mut self.behind) {
            self.write().await?;
        }
        self.tracker.doubt_absences();
        S::connection(&mut self.tx).await.map_err(Error::Store)
    }

    /// In whose name and in which conversation this unit of work announces.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Takes a new aggregate in; the next write inserts it.
    pub fn add<A: Persist<S>>(&mut self, aggregate: A) -> Tracked<A> {
        if self.access == Access::Read {
            self.defect.get_or_insert(Box::new(|| Error::ReadOnly { what: "`add`" }));
        }
        match self.tracker.add(aggregate) {
            (key, None) => key,
            (key, Some(defect)) => {
                self.defect.get_or_insert(defect);
                key
            }
        }
    }

    /// The aggregate with this id. The same id is the same instance throughout a unit of work.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::RecordedWhileLoading`] if restoring it recorded events; [`Error::Store`].
    pub async fn load<A: Persist<S>>(&mut self, id: &A::Id) -> Result<Tracked<A>, Error> {
        let found = self.find(id).await?;
        found.ok_or_else(|| Error::NotFound {
            aggregate: crate::domain::short_name::<A>(),
            id: format!("{id:?}"),
        })
    }

    /// The aggregate with this id, if there is one.
    ///
    /// # Errors
    /// As for [`load`](Self::load), without [`Error::NotFound`].
    pub async fn find<A: Persist<S>>(&mut self, id: &A::Id) -> Result<Option<Tracked<A>>, Error> {
        if let Some(known) = self.tracker.known::<A>(id) {
            return Ok(known);
        }
        let connection = S::connection(&mut self.tx).await.map_err(Error::Store)?;
        match A::load(id, connection).await.map_err(Error::Store)? {
            Some(loaded) => self.tracker.restore(loaded, id).map(Some),
            None => Ok(None),
        }
    }

    /// Loads at once what [`load`](Self::load) and [`find`](Self::find) will ask for: one trip to the store instead of
    /// one for each. What is not there is remembered as such, until [`connection`](Self::connection) is asked for.
    ///
    /// # Errors
    /// As for [`find`](Self::find).
    pub async fn preload<A: Persist<S>>(
        &mut self,
        ids: impl IntoIterator<Item = A::Id>,
    ) -> Result<(), Error> {
        let mut wanted: Vec<A::Id> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for id in ids {
            if self.tracker.known::<A>(&id).is_none() && seen.insert(id.clone()) {
                wanted.push(id);
            }
        }
        drop(seen);
        if wanted.is_empty() {
            return Ok(());
        }
        let connection = S::connection(&mut self.tx).await.map_err(Error::Store)?;
        for loaded in A::load_many(&wanted, connection).await.map_err(Error::Store)? {
            let id = loaded.aggregate.id().clone();
            self.tracker.restore(loaded, &id)?;
        }
        wanted.into_iter().for_each(|id| self.tracker.note_absent::<A>(id));
        Ok(())
    }

    /// Deletes the aggregate at the next write. What it has recorded is still dispatched.
    ///
    /// # Panics
    /// As `uow[key]` does.
    #[track_caller]
    pub fn remove<A: Persist<S>>(&mut self, key: Tracked<A>) {
        if !self.tracker.remove(key) {
            tracker::no_such(self.id, key);
        }
    }

    /// `None` if the aggregate was removed or the key belongs to another unit of work; `uow[key]` panics then.
    pub fn get<A: Persist<S>>(&self, key: Tracked<A>) -> Option<&A> {
        self.tracker.get(key)
    }

    /// Like [`get`](Self::get), and the next write updates it.
    pub fn get_mut<A: Persist<S>>(&mut self, key: Tracked<A>) -> Option<&mut A> {
        self.tracker.get_mut(key)
    }

    /// Two different aggregates at once; `None` where [`get_mut`](Self::get_mut) says so, or where both are one.
    pub fn both_mut<A: Persist<S>, B: Persist<S>>(
        &mut self,
        a: Tracked<A>,
        b: Tracked<B>,
    ) -> Option<(&mut A, &mut B)> {
        self.tracker.both_mut(a, b)
    }

    /// Before it goes to a handler or to a body. They may do anything with it but save it ..
    fn lend(&mut self) -> u64 {
        self.lent = true;
        self.id
    }

    /// .. or put another in its place.
    fn returned(&mut self, id: u64, by: impl FnOnce() -> &'static str) -> Result<(), Error> {
        if self.id != id {
            return Err(Error::Replaced { by: by() });
        }
        self.lent = false;
        Ok(())
    }

    /// Ends it without a trace, and waits until its locks are gone.
    pub async fn roll_back(self) {
        let Self { tx, mut tracker, .. } = self;
        tracker.forget_events();
        S::rollback(tx).await;
    }
}

/// Reads an aggregate.
impl<S: Store, A: Persist<S>> Index<Tracked<A>> for UnitOfWork<S> {
    type Output = A;
    #[track_caller]
    fn index(&self, key: Tracked<A>) -> &A {
        self.tracker.get(key).unwrap_or_else(|| tracker::no_such(self.id, key))
    }
}

/// Changes an aggregate; the next write updates it.
impl<S: Store, A: Persist<S>> IndexMut<Tracked<A>> for UnitOfWork<S> {
    #[track_caller]
    fn index_mut(&mut self, key: Tracked<A>) -> &mut A {
        let id = self.id;
        self.tracker.get_mut(key).unwrap_or_else(|| tracker::no_such(id, key))
    }
}
