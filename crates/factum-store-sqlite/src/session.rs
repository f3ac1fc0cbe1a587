//! One connection and its transaction: begun, committed and rolled back in one trip to sqlx's thread each, and never
//! lent while it is not known to be clean.
//!
//! A trip is most of what a statement costs, and sqlx's own `begin` and `commit` make the thread wait for an
//! acknowledgement as well. So only the first transaction of a connection is begun by sqlx: from then on sqlx counts one
//! that is always open, which makes a nested `begin` of the application a savepoint, and ours are plain statements.

use std::sync::Arc;
use std::time::{Duration, Instant};

use factum::port::NotCommitted;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteTransactionManager};
use sqlx::{
    ConnectOptions as _, Connection as _, Either, Executor as _, SqlSafeStr as _, Sqlite, SqliteConnection,
};
use sqlx_core::transaction::TransactionManager as _;
use tokio::sync::{OwnedMappedMutexGuard, OwnedMutexGuard, OwnedSemaphorePermit};

use crate::error::{Error, is_busy, is_unanswered};
use crate::gate::Gate;

/// A query that owns its arguments.
pub(crate) type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Statements to run in one trip, and how many they are: if sqlx's thread dies half-way, the stream of answers just
/// ends, so whoever asks has to count.
pub(crate) struct Batch {
    pub(crate) query: Query,
    pub(crate) statements: usize,
}

impl Batch {
    pub(crate) fn of(sql: &'static str, statements: usize) -> Self {
        Self { query: sqlx::query(sql), statements }
    }

    /// The commit of a transaction begun with [`Begin::Write`], and nothing else.
    pub(crate) fn commit() -> Self {
        Self::of("RELEASE factum; COMMIT", 2)
    }
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// With the write lock, and a savepoint that only this transaction has.
    Write,
    /// With nothing: the first query takes the snapshot.
    Read,
}

impl Begin {
    fn sql(self) -> (&'static str, usize) {
        match self {
            Self::Write => ("BEGIN IMMEDIATE; SAVEPOINT factum", 2),
            Self::Read => ("BEGIN", 1),
        }
    }
}

/// A connection, and what is known about it.
#[derive(Debug)]
pub(crate) struct Session {
    db: SqliteConnection,
    gate: Arc<Gate>,
    /// Its last borrower left without ending a transaction; a rollback is queued.
    dirty: bool,
}

impl Session {
    async fn open(options: &SqliteConnectOptions, wait: Duration) -> Result<Self, sqlx::Error> {
        let mut db = connect(options, wait).await?;
        let gate = Arc::new(Gate::default());
        let (asked, told) = (Arc::clone(&gate), Arc::clone(&gate));
        {
            let mut handle = db.lock_handle().await?;
            handle.set_commit_hook(move || asked.may_commit());
            handle.set_rollback_hook(move || told.rolled_back());
        }
        Ok(Self { db, gate, dirty: false })
    }

    fn depth(&self) -> usize {
        SqliteTransactionManager::get_transaction_depth(&self.db)
    }

    async fn begin(&mut self, begin: Begin) -> Result<(), sqlx::Error> {
        let (sql, statements) = begin.sql();
        self.gate.close();
        if self.depth() == 0 {
            SqliteTransactionManager::begin(&mut self.db, Some(sql.into_sql_str())).await?;
        } else {
            run(&mut self.db, Batch::of(sql, statements)).await?;
        }
        self.gate.open();
        Ok(())
    }

    /// Queues a rollback of whatever is open; the next borrower makes sure that it happened.
    fn abandon(&mut self) {
        if !self.gate.is_broken() {
            self.gate.close();
        }
        // A savepoint of the application that nobody ended is one level more; at level 0 a rollback does nothing.
        for _ in 0..self.depth().max(1) {
            SqliteTransactionManager::start_rollback(&mut self.db);
        }
        self.dirty = true;
    }

    /// Whether the connection can be lent: whatever was queued on it has happened, and it is as new. One whose
    /// transaction was ended behind our back is not: nobody knows what else was done to it.
    pub(crate) async fn is_clean(&mut self) -> bool {
        if self.dirty {
            let answers = self.db.ping().await.is_ok();
            self.dirty = !answers || self.depth() != 0 || self.gate.is_broken();
        }
        !self.dirty
    }
}

/// SQLite does not wait by itself where others set the journal mode at the same time.
async fn connect(options: &SqliteConnectOptions, wait: Duration) -> Result<SqliteConnection, sqlx::Error> {
    const PAUSE: Duration = Duration::from_millis(5);
    let began = Instant::now();
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && began.elapsed() < wait => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// Runs all of a batch, or says why not.
async fn run(db: &mut SqliteConnection, batch: Batch) -> Result<(), sqlx::Error> {
    let mut answers = db.fetch_many(batch.query);
    let mut done = 0;
    while let Some(answer) = answers.try_next().await? {
        done += usize::from(matches!(answer, Either::Left(_)));
    }
    if done == batch.statements { Ok(()) } else { Err(sqlx::Error::WorkerCrashed) }
}

/// A session in somebody's hands. Dropped with an open transaction, it queues a rollback.
#[derive(Debug)]
pub(crate) struct Held {
    session: OwnedMappedMutexGuard<Option<Session>, Session>,
    open: bool,
    /// Given back after the session.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Takes the session of a slot, opening it first if there is none, or none that is clean.
    pub(crate) async fn take(
        mut slot: OwnedMutexGuard<Option<Session>>,
        permit: Option<OwnedSemaphorePermit>,
        options: &SqliteConnectOptions,
        wait: Duration,
    ) -> Result<Self, sqlx::Error> {
        let clean = match &mut *slot {
            Some(session) => session.is_clean().await,
            None => false,
        };
        if !clean {
            *slot = None;
            *slot = Some(Session::open(options, wait).await?);
        }
        let session =
            OwnedMutexGuard::try_map(slot, Option::as_mut).map_err(|_| sqlx::Error::WorkerCrashed)?;
        Ok(Self { session, open: false, _permit: permit })
    }

    /// Begins a transaction. Dropped half-way, it queues a rollback.
    pub(crate) async fn begin(&mut self, begin: Begin) -> Result<(), sqlx::Error> {
        self.open = true;
        let begun = self.session.begin(begin).await;
        if begun.as_ref().is_err_and(is_busy) {
            self.open = false;
        }
        begun
    }

    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.session.db
    }

    /// Runs the batch that ends in the commit, in one trip.
    pub(crate) async fn commit(mut self, batch: Batch) -> Result<(), NotCommitted> {
        if !self.session.gate.ask() {
            self.roll_back().await;
            return Err(Error::Ended.into());
        }
        match run(&mut self.session.db, batch).await {
            Ok(()) => {
                self.open = false;
                self.session.gate.close();
                // A savepoint of the application that sqlx still counts.
                self.session.dirty = self.session.depth() != 1;
                Ok(())
            }
            Err(error) if is_unanswered(&error) => Err(NotCommitted::Unknown(Error::from(error).into())),
            Err(error) => {
                self.roll_back().await;
                Err(Error::from(error).into())
            }
        }
    }

    /// Rolls back, and waits until that has happened.
    pub(crate) async fn roll_back(mut self) {
        let healthy = self.open && self.session.depth() == 1 && !self.session.gate.is_broken();
        if healthy {
            self.session.gate.close();
            self.open = run(&mut self.session.db, Batch::of("ROLLBACK", 1)).await.is_err();
        }
        if self.open {
            self.session.abandon();
            self.open = false;
            // A ping comes back after what was queued before it.
            let _ = self.session.db.ping().await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.open {
            self.session.abandon();
        }
    }
}
