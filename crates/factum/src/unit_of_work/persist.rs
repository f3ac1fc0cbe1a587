//! How an aggregate reaches its tables; the application writes it, next to its SQL.

use std::any::Any;
use std::future::Future;

use super::DocumentChange;
use crate::domain::{Visit, short_name};
use crate::port::Store;
use crate::{AggregateRoot, BoxError, BoxFuture, Error};

/// The number of times an aggregate was written; the unit of work keeps it, the aggregate need not.
pub type Version = i64;

/// An aggregate as its tables have it.
#[derive(Debug)]
pub struct Loaded<A> {
    /// The aggregate, restored: nothing is recorded.
    pub aggregate: A,
    /// The version in its row.
    pub version: Version,
}

impl<A> Loaded<A> {
    /// An aggregate and the version of its row.
    pub fn new(aggregate: A, version: Version) -> Self {
        Self { aggregate, version }
    }
}

/// Whether the row was still as it was loaded.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was: the change is in the table.
    Fresh,
    /// Somebody was faster: the unit of work fails with [`Error::Conflict`], and can be run again.
    Stale,
}

impl Written {
    /// `update .. where id = ? and version = ?` hits one row, or somebody was faster.
    pub fn one_row(rows_affected: u64) -> Self {
        if rows_affected == 1 { Self::Fresh } else { Self::Stale }
    }
}

/// How an aggregate root reaches its tables: your SQL, with optimistic concurrency by version.
///
/// The first version is 1. An update gets the version that was loaded, expects to find it, and writes the next one. For
/// an aggregate whose state may be JSON in one table, [`Document`](crate::Document) does all this.
#[diagnostic::on_unimplemented(
    message = "a unit of work on `{S}` cannot track `{Self}`",
    note = "an aggregate root implements `Persist<{S}>`, or `Document`; a child entity is reached through its root"
)]
pub trait Persist<S: Store>: AggregateRoot + Sized + Send + Sync + 'static {
    /// Restores the aggregate, if its row is there. It records nothing.
    fn load(
        id: &Self::Id,
        connection: &mut S::Connection,
    ) -> impl Future<Output = Result<Option<Loaded<Self>>, BoxError>> + Send;

    /// Restores several at once, in any order, for [`UnitOfWork::preload`](crate::UnitOfWork::preload); those that are
    /// not there are left out. One after the other, unless you write the one query that does it.
    fn load_many(
        ids: &[Self::Id],
        connection: &mut S::Connection,
    ) -> impl Future<Output = Result<Vec<Loaded<Self>>, BoxError>> + Send {
        async move {
            let mut found = Vec::new();
            for id in ids {
                found.extend(Self::load(id, connection).await?);
            }
            Ok(found)
        }
    }

    /// Writes it for the first time, as version 1. [`Written::Stale`]: there is one already.
    fn insert(
        &self,
        connection: &mut S::Connection,
    ) -> impl Future<Output = Result<Written, BoxError>> + Send;

    /// Writes it as version `version + 1`, if its row still has `version`.
    fn update(
        &self,
        version: Version,
        connection: &mut S::Connection,
    ) -> impl Future<Output = Result<Written, BoxError>> + Send;

    /// Deletes it, if its row still has `version`.
    fn delete(
        &self,
        version: Version,
        connection: &mut S::Connection,
    ) -> impl Future<Output = Result<Written, BoxError>> + Send;

    /// The change as one of a document, where it is one: documents are written many in one trip to the store.
    #[doc(hidden)]
    fn document_change(&self, change: Change) -> Option<Result<DocumentChange, BoxError>> {
        let _ = change;
        None
    }

    /// Writes what [`document_change`](Self::document_change) gave, of whichever documents.
    #[doc(hidden)]
    fn write_documents(
        connection: &mut S::Connection,
        changes: Vec<DocumentChange>,
    ) -> BoxFuture<'_, Result<Vec<Written>, BoxError>> {
        let _ = (connection, changes);
        Box::pin(async { Err("an aggregate that is no document was written as one".into()) })
    }
}

/// What the next write has to do for an aggregate.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// There is no row yet.
    Insert,
    /// The row has this version.
    Update(Version),
    /// The row has this version.
    Delete(Version),
    /// Deleted, or removed before it was ever inserted.
    Gone,
}

/// [`Persist`] with its type erased, so that one list can hold every aggregate.
pub(super) trait Erased<S: Store>: Any + Send + Sync {
    fn each_events(&mut self, visit: &mut Visit<'_>);
    fn name_and_id(&self) -> String;
    fn write<'a>(
        &'a self,
        change: Change,
        connection: &'a mut S::Connection,
    ) -> BoxFuture<'a, Result<(), Error>>;
    fn document_change(&self, change: Change) -> Option<Result<DocumentChange, BoxError>>;
    fn write_documents<'a>(
        &self,
        connection: &'a mut S::Connection,
        changes: Vec<DocumentChange>,
    ) -> BoxFuture<'a, Result<Vec<Written>, BoxError>>;
    fn conflict(&self) -> Error;
}

impl<S: Store, A: Persist<S>> Erased<S> for A {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        crate::Records::each_events(self, visit);
    }

    fn name_and_id(&self) -> String {
        format!("{} {:?}", short_name::<A>(), self.id())
    }

    fn write<'a>(
        &'a self,
        change: Change,
        connection: &'a mut S::Connection,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let written = match change {
                Change::Insert => self.insert(connection).await,
                Change::Update(version) => self.update(version, connection).await,
                Change::Delete(version) => self.delete(version, connection).await,
                Change::None | Change::Gone => Ok(Written::Fresh),
            };
            match written.map_err(Error::Store)? {
                Written::Fresh => Ok(()),
                Written::Stale => Err(Erased::<S>::conflict(self)),
            }
        })
    }

    fn document_change(&self, change: Change) -> Option<Result<DocumentChange, BoxError>> {
        Persist::document_change(self, change)
    }

    fn write_documents<'a>(
        &self,
        connection: &'a mut S::Connection,
        changes: Vec<DocumentChange>,
    ) -> BoxFuture<'a, Result<Vec<Written>, BoxError>> {
        <A as Persist<S>>::write_documents(connection, changes)
    }

    fn conflict(&self) -> Error {
        Error::Conflict { aggregate: short_name::<A>(), id: format!("{:?}", self.id()) }
    }
}
