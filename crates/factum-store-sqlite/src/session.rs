//! One connection and its transaction: begun and ended by sqlx, so that a nested `begin` of the application is a
//! savepoint, and never lent while it is not known to be clean.
//!
//! Every trip to sqlx's thread costs more than what most statements do there, so none is made that can be spared.

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

/// What is written last, in one trip, and how many statements it is: if sqlx's thread dies half-way, the stream of
/// answers just ends, so whoever asks has to count.
pub(crate) struct Batch {
    pub(crate) query: Query,
    pub(crate) statements: usize,
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// With the write lock: no later statement finds the file busy.
    Write,
    /// With nothing: the first query takes the snapshot.
    Read,
}

impl Begin {
    fn sql(self) -> &'static str {
        match self {
            Self::Write => "BEGIN IMMEDIATE",
            Self::Read => "BEGIN",
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
    /// Its state is not known: it is to be closed.
    lost: bool,
}

/// Why a session did not commit.
enum Failure {
    Ended,
    Unseen,
    Sqlite(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Ended => Self::Ended,
            Failure::Unseen => Self::Unseen,
            Failure::Sqlite(error) => error.into(),
        }
    }
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
        Ok(Self { db, gate, dirty: false, lost: false })
    }

    fn depth(&self) -> usize {
        SqliteTransactionManager::get_transaction_depth(&self.db)
    }

    async fn begin(&mut self, begin: Begin) -> Result<(), sqlx::Error> {
        self.gate.close();
        SqliteTransactionManager::begin(&mut self.db, Some(begin.sql().into_sql_str())).await?;
        self.gate.open();
        Ok(())
    }

    /// Ends savepoints of the application that nobody ended. The gate is shut meanwhile.
    async fn keep_savepoints(&mut self) -> Result<(), sqlx::Error> {
        if self.depth() > 1 {
            // Rollbacks of dropped savepoints are only queued.
            self.db.ping().await?;
        }
        while self.depth() > 1 {
            SqliteTransactionManager::commit(&mut self.db).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, last: Option<Batch>) -> Result<(), Failure> {
        self.keep_savepoints().await?;
        if !self.gate.ask() {
            return Err(Failure::Ended);
        }
        if let Some(batch) = last {
            run(&mut self.db, batch).await?;
        }
        SqliteTransactionManager::commit(&mut self.db).await?;
        if !self.gate.has_passed() {
            return Err(Failure::Unseen);
        }
        self.gate.close();
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
    async fn is_clean(&mut self, wait: Duration) -> bool {
        if self.dirty {
            // A statement that nobody waits for any more may still run.
            let answers = matches!(tokio::time::timeout(wait, self.db.ping()).await, Ok(Ok(())));
            self.lost |= !answers || self.depth() != 0 || self.gate.is_broken();
            self.dirty = false;
        }
        !self.lost
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
    let mut left = batch.statements;
    while let Some(answer) = answers.try_next().await? {
        left -= usize::from(matches!(answer, Either::Left(_)));
        if left == 0 {
            return Ok(());
        }
    }
    Err(sqlx::Error::WorkerCrashed)
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
    ///
    /// Whatever comes of it, the slot is free before its permit is: parameters are dropped from the last to the first.
    pub(crate) async fn take(
        permit: Option<OwnedSemaphorePermit>,
        mut slot: OwnedMutexGuard<Option<Session>>,
        options: &SqliteConnectOptions,
        wait: Duration,
    ) -> Result<Self, sqlx::Error> {
        let clean = match &mut *slot {
            Some(session) => session.is_clean(wait).await,
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
        if let Err(error) = &begun {
            self.open = false;
            // The write lock is all that is waited for; after anything else, half of it may have begun.
            self.session.lost = !is_busy(error);
        }
        begun
    }

    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.session.db
    }

    /// Writes what is to be written last, and commits.
    pub(crate) async fn commit(mut self, last: Option<Batch>) -> Result<(), NotCommitted> {
        match self.session.commit(last).await {
            Ok(()) => {
                self.open = false;
                Ok(())
            }
            Err(Failure::Unseen) => {
                self.session.lost = true;
                Err(NotCommitted::Unknown(Error::Unseen.into()))
            }
            Err(Failure::Sqlite(error)) if is_unanswered(&error) => {
                self.session.lost = true;
                Err(NotCommitted::Unknown(Error::from(error).into()))
            }
            Err(failure) => {
                self.roll_back().await;
                Err(Error::from(failure).into())
            }
        }
    }

    /// Rolls back, and waits until that has happened.
    pub(crate) async fn roll_back(mut self) {
        let healthy = self.open && self.session.depth() == 1 && !self.session.gate.is_broken();
        if healthy {
            self.session.gate.close();
            self.open = SqliteTransactionManager::rollback(&mut self.session.db).await.is_err();
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
