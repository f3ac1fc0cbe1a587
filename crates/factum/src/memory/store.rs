//! A store in memory with the manners of a database: snapshots, real rollback, optimistic concurrency, an outbox, an
//! inbox, dead letters. For a quick start and for tests.
//!
//! It refuses to be clever about time: it waits for nothing, and a transaction that lost a race learns of it at its
//! write or at its commit.

mod clock;
mod connection;
mod documents;
mod drained;
mod fault;
mod inbox;
mod inspect;
mod letters;
mod outbox;
mod state;

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::port::{Access, Claim, Claiming, Hint, Intent, Mark, NotCommitted, Seen, Store, Timer};
use crate::{BoxError, Documents, Envelope, Sort, Version, Written};

pub use connection::{Connection, Row};
pub use fault::{CommitFault, MemoryError, StatementFault};

use clock::Clock;
use drained::Drain;
use fault::Faults;
use state::State;

/// A store in memory. A clone is another handle to the same store.
///
/// Every transaction sees the snapshot of its first statement, and its own writes. Of two that touched the same
/// document, the one that commits second is rolled back and sorted [`Sort::Transient`] or, where a version was stale,
/// [`Sort::Conflict`]: [`Work::run`](crate::Work::run) runs it again.
///
/// ```
/// use factum::memory::MemoryStore;
/// use factum::{Dispatcher, Work};
///
/// let work = Work::new("https://shop.example/ordering", MemoryStore::new(), Dispatcher::new());
/// # drop(work);
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Shared>, Seen);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    clock: Clock,
    hint: Hint,
    drain: Drain,
}

impl Shared {
    /// No user code runs under the lock, so that a poisoned one holds no half-done change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryStore {
    /// An empty store whose leases run by the system's clock.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose leases run by this clock.
    pub fn with_timer(timer: Arc<dyn Timer>) -> Self {
        Self(Arc::new(Shared { clock: Clock::of(timer), ..Shared::default() }), Seen::default())
    }

    /// Puts the clock that leases run by forward, so that a test need not wait for one to expire.
    pub fn advance_clock(&self, by: Duration) {
        self.0.clock.advance(by);
    }

    /// Lets the next commit that has something to commit fail, once. Called again before that, the last call counts.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        self.0.faults().commit = Some(fault);
    }

    /// Lets a statement fail, once: with `after` 0 the next of any transaction, with 1 the one after that, and so on.
    /// Called again before that, the last call counts.
    pub fn fail_statement(&self, after: usize, fault: StatementFault) {
        self.0.faults().statement = Some((after, fault));
    }

    /// How far a projection is in a source: its events so far and the last of them.
    pub fn checkpoint_of(&self, projection: &str, source: &str) -> Option<Mark> {
        self.0.state().checkpoints.get(projection)?.get(source).cloned()
    }

    /// How many transactions have taken a snapshot and have not ended.
    pub fn open_transactions(&self) -> usize {
        self.0.state().snapshots.count()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

/// A transaction of a [`MemoryStore`]: begun by its first statement, rolled back when dropped.
pub struct MemoryTx {
    store: Arc<Shared>,
    access: Access,
    connection: Option<Connection>,
}

impl MemoryTx {
    fn connection(&mut self) -> &mut Connection {
        let Self { store, access, connection } = self;
        connection.get_or_insert_with(|| Connection::open(Arc::clone(store), *access))
    }
}

impl Store for MemoryStore {
    type Tx = MemoryTx;
    type Connection = Connection;

    async fn begin(&self, intent: &Intent) -> Result<MemoryTx, BoxError> {
        Ok(MemoryTx { store: Arc::clone(&self.0), access: intent.access, connection: None })
    }

    async fn connection(tx: &mut MemoryTx) -> Result<&mut Connection, BoxError> {
        Ok(tx.connection())
    }

    async fn claim(tx: &mut MemoryTx, claiming: Claiming<'_>) -> Result<Vec<Claim>, BoxError> {
        Ok(tx.connection().claim(claiming)?)
    }

    async fn checkpoint(tx: &mut MemoryTx, projection: &str, marks: &[Mark]) -> Result<(), BoxError> {
        Ok(tx.connection().checkpoint(projection, marks)?)
    }

    async fn commit(mut tx: MemoryTx, outbox: Vec<Envelope>) -> Result<(), NotCommitted> {
        if tx.connection.is_none() && outbox.is_empty() {
            return Ok(());
        }
        tx.connection().commit(outbox)
    }

    async fn rollback(tx: MemoryTx) {
        drop(tx);
    }

    fn sort(error: &(dyn Error + 'static)) -> Option<Sort> {
        error.downcast_ref::<MemoryError>().map(MemoryError::sort)
    }

    /// Gives way once and does not wait: what was lost to a rival can be tried as soon as the rival has gone on.
    async fn pause(&self, _: Duration) {
        let mut gave_way = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut gave_way, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }
}

impl Documents for MemoryStore {
    async fn get(
        connection: &mut Connection,
        collection: &'static str,
        id: &str,
    ) -> Result<Option<(Vec<u8>, Version)>, BoxError> {
        Ok(connection.get(collection, id)?.map(|row| (row.bytes.to_vec(), row.version)))
    }

    async fn put(
        connection: &mut Connection,
        collection: &'static str,
        id: &str,
        expected: Option<Version>,
        document: Vec<u8>,
    ) -> Result<Written, BoxError> {
        Ok(connection.put(collection, id, expected, document)?)
    }

    async fn delete(
        connection: &mut Connection,
        collection: &'static str,
        id: &str,
        expected: Version,
    ) -> Result<Written, BoxError> {
        Ok(connection.delete(collection, id, expected)?)
    }

    async fn scan(
        connection: &mut Connection,
        collection: &'static str,
        after: &str,
        most: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, BoxError> {
        let rows = connection.scan(collection, after, most)?;
        Ok(rows.into_iter().map(|row| (row.id.to_string(), row.bytes.to_vec())).collect())
    }
}
