//! Saving: write, dispatch until quiet, append the outbox, commit.

use std::sync::Arc;

use super::UnitOfWork;
use crate::domain::{Reaction, Recorded};
use crate::integration::Proof;
use crate::port::{Access, Dispatched, NotCommitted, Store};
use crate::{Committed, Error, EventId, Limits};

/// What a unit of work has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// The events that are in the outbox now, in the order in which they were announced. The relay publishes them, and
    /// nobody else can.
    pub announced: Vec<EventId>,
    /// Domain events dispatched, all waves together.
    pub dispatched: usize,
    /// Rows of aggregates inserted, updated and deleted. More than one is worth a thought: one aggregate a transaction
    /// is the default advice.
    pub written: usize,
}

/// What a save has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) dispatched: usize,
}

impl<S: Store> UnitOfWork<S> {
    /// Writes what changed, dispatches what was recorded until no event is left, appends the outbox, commits.
    ///
    /// Dispatch goes in waves: each writes, then calls the handlers of every event recorded so far, in the order of
    /// recording and of registration; what they change and record is the next wave's. It consumes the unit of work, so
    /// that afterwards a key opens nothing:
    ///
    /// ```compile_fail,E0382
    /// # use factum::{Error, Persist, Store, UnitOfWork};
    /// async fn too_late<S: Store, A: Persist<S>>(mut uow: UnitOfWork<S>, order: A) -> Result<(), Error> {
    ///     let order = uow.add(order);
    ///     let _ = uow.save_changes().await?;
    ///     let _ = &uow[order];
    ///     Ok(())
    /// }
    /// ```
    ///
    /// [`Committed`] cannot be false: the store proves at commit that the transaction is still its own, whatever
    /// errors handlers have swallowed. Dropping the future rolls back, unless the commit has been asked for already:
    /// then it is carried out whole, or not at all.
    ///
    /// # Errors
    /// On any, all of it is rolled back: rows, outbox, what handlers did. [`Error::Handler`] names handler, event and
    /// aggregate. [`Error::OutcomeUnknown`] alone means that nobody knows.
    pub async fn save_changes(mut self) -> Result<Committed<Changes>, Error> {
        if self.lent {
            return Err(Error::Lent);
        }
        match self.prepare().await {
            Ok(progress) => self.commit(progress).await,
            Err(error) => Err(self.fail(error).await),
        }
    }

    /// Rolls back, and answers why.
    pub(super) async fn fail(self, error: Error) -> Error {
        if let Some((observer, _)) = &self.watched {
            observer.failed(&error);
        }
        self.roll_back().await;
        error
    }

    /// All of a save but the commit.
    pub(super) async fn prepare(&mut self) -> Result<Progress, Error> {
        let mut progress = Progress::default();
        self.dispatch_until_quiet(&mut progress).await?;
        self.write().await?;
        Ok(progress)
    }

    pub(super) async fn commit(self, progress: Progress) -> Result<Committed<Changes>, Error> {
        let written = self.tracker.rows_written();
        let Self { tx, outbox, ids, context, mut watched, .. } = self;
        let announced = outbox.iter().map(|envelope| envelope.id.clone()).collect();
        if let Some((_, saved)) = &mut watched {
            (saved.source, saved.announced) = (context.source.to_string(), outbox.clone());
        }
        let outcome = S::commit(tx, outbox).await.map_err(|failure| match failure {
            NotCommitted::RolledBack(error) => Error::Store(error),
            NotCommitted::Unknown(error) => Error::OutcomeUnknown(error),
        });
        match (&outcome, &watched) {
            (Ok(()), Some((observer, saved))) => observer.committed(saved),
            (Err(error), Some((observer, _))) => observer.failed(error),
            (_, None) => {}
        }
        outcome?;
        let changes = Changes { announced, dispatched: progress.dispatched, written };
        let source = context.source.clone();
        Ok(Committed::proven(changes, Proof { source, context: Some(Box::new(context)), ids }))
    }

    /// Writes changed aggregates now, for a query of your own that must see them. It commits nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] if somebody was faster; [`Error::Store`]; the misuse of an earlier [`add`](Self::add).
    pub async fn write_changes(&mut self) -> Result<(), Error> {
        self.write().await
    }

    pub(super) async fn write(&mut self) -> Result<(), Error> {
        if let Some(defect) = &self.defect {
            return Err(defect());
        }
        if !self.tracker.has_unwritten() {
            return Ok(());
        }
        if self.access == Access::Read {
            return Err(Error::ReadOnly { what: "a change to an aggregate" });
        }
        let connection = S::connection(&mut self.tx).await.map_err(Error::Store)?;
        self.tracker.write(connection).await?;
        self.behind = false;
        Ok(())
    }

    /// One wave writes what changed and dispatches what was recorded; what that records is the next wave's.
    pub(super) async fn dispatch_until_quiet(&mut self, progress: &mut Progress) -> Result<(), Error> {
        let mut cascade = Cascade::default();
        loop {
            let wave = self.tracker.collect();
            let Some(first) = wave.first() else { return Ok(()) };
            cascade.enter(first.event.name(), wave.len(), &self.limits)?;
            progress.dispatched += wave.len();
            self.dispatch(wave).await?;
        }
    }

    /// The write is put off until a handler is about to run: a translation reads no table, and an event that nobody
    /// handles needs none.
    async fn dispatch(&mut self, wave: Vec<Recorded>) -> Result<(), Error> {
        let dispatcher = Arc::clone(&self.dispatcher);
        let mut written = false;
        for Recorded { event, about, .. } in wave {
            let reactions = dispatcher.reactions_to(&*event);
            if let Some((_, saved)) = &mut self.watched {
                saved.dispatched.push(Dispatched {
                    event: event.name(),
                    value: format!("{event:?}"),
                    aggregate: self.tracker.name_and_id(about),
                    handlers: reactions.iter().map(Reaction::name).collect(),
                });
            }
            for reaction in reactions {
                let outcome = match reaction {
                    Reaction::Announce(translation) => translation.announce(&*event, self),
                    Reaction::Handle(handler) => {
                        if !std::mem::replace(&mut written, true) {
                            self.write().await?;
                        }
                        let id = self.lend();
                        let outcome = handler.handle(&*event, self).await;
                        self.returned(id, || handler.name())?;
                        outcome
                    }
                };
                outcome.map_err(|source| Error::Handler {
                    handler: reaction.name(),
                    event: event.name(),
                    aggregate: self.tracker.name_and_id(about),
                    source,
                })?;
            }
        }
        Ok(())
    }
}

/// Watches how far a cascade goes.
#[derive(Default)]
struct Cascade {
    depth: usize,
    events: usize,
    path: Vec<&'static str>,
}

impl Cascade {
    /// Waves that an error names.
    const PATH_MAX: usize = 8;

    fn enter(&mut self, first: &'static str, events: usize, limits: &Limits) -> Result<(), Error> {
        self.events += events;
        if self.path.len() == Self::PATH_MAX {
            self.path.remove(0);
        }
        self.path.push(first);
        if self.depth >= limits.depth || self.events > limits.events {
            let path = std::mem::take(&mut self.path);
            return Err(Error::CascadeTooLong { event: first, depth: self.depth, events: self.events, path });
        }
        self.depth += 1;
        Ok(())
    }
}
