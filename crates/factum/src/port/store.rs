//! A database that can hold a unit of work.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Claim, Claiming, Mark};
use crate::{BoxError, Envelope, Sort};

/// A database that can hold a unit of work. Static, because handlers write SQL against its connection.
///
/// **Cancellation.** Dropping the future of any method, or a `Tx`, at any moment leaves no transaction open for the
/// next borrower of the connection, and no lock behind for longer than a rollback takes. Dropping `commit` after its
/// first poll lets it run to its end: it commits whole or not at all.
pub trait Store: Clone + Send + Sync + 'static {
    /// A transaction that rolls back when dropped. It need not be begun before [`connection`](Self::connection).
    type Tx: Send;
    /// What handlers query with, e.g. `sqlx::SqliteConnection`.
    type Connection: Send;

    /// Prepares a transaction. It may wait until `connection` to begin it.
    fn begin(&self, intent: &Intent) -> impl Future<Output = Result<Self::Tx, BoxError>> + Send;

    /// The connection, on which a transaction is now open.
    fn connection(tx: &mut Self::Tx) -> impl Future<Output = Result<&mut Self::Connection, BoxError>> + Send;

    /// Writes inbox rows, one for each envelope that this subscription has not handled, in one statement. A concurrent
    /// claim of the same event waits for this transaction to end. Answers in the order of the envelopes.
    fn claim(
        tx: &mut Self::Tx,
        claiming: Claiming<'_>,
    ) -> impl Future<Output = Result<Vec<Claim>, BoxError>> + Send;

    /// Moves a projection's checkpoint on, by source.
    fn checkpoint(
        tx: &mut Self::Tx,
        projection: &str,
        marks: &[Mark],
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Appends the outbox in one statement, and commits. Both in one call, so that an adapter can prove in either that
    /// the transaction is still its own and healthy, whatever errors handlers have swallowed.
    fn commit(tx: Self::Tx, outbox: Vec<Envelope>) -> impl Future<Output = Result<(), NotCommitted>> + Send;

    /// Ends the transaction, and waits until its locks are gone.
    fn rollback(tx: Self::Tx) -> impl Future<Output = ()> + Send;

    /// What the store knows of an error of its own: serialisation failure, deadlock, busy. By code, never by text.
    fn sort(error: &(dyn Error + 'static)) -> Option<Sort>;

    /// Whether the store has waited already, for as long as it was told to: then another attempt at once is another wait
    /// of that length, and [`Work::run`](crate::Work::run) leaves it to its caller.
    fn has_waited(error: &(dyn Error + 'static)) -> bool {
        let _ = error;
        false
    }

    /// Waits between attempts; the store knows the runtime that it lives on.
    fn pause(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// Whether a unit of work means to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads a snapshot, and waits for no writer.
    Read,
    /// It may write.
    Write,
}

/// Who begins a transaction, and what for.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Whether it may write.
    pub access: Access,
    /// Whom to name to those who wait for the writer.
    pub who: Arc<str>,
}

/// Why a commit gave no proof.
#[derive(Debug)]
pub enum NotCommitted {
    /// Nothing of it happened.
    RolledBack(BoxError),
    /// The database was asked to commit, and its answer is not known.
    Unknown(BoxError),
}

impl<E: Into<BoxError>> From<E> for NotCommitted {
    fn from(error: E) -> Self {
        Self::RolledBack(error.into())
    }
}
