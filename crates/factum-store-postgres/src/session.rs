//! One connection and its transaction: begun and ended by sqlx, so that a nested `begin` of the application is a
//! savepoint, and never lent while it is not known to be clean.
//!
//! sqlx's own pool would do for an application. This one gives a clean connection back without a task and a trip, and
//! knows that a `begin` that was dropped half-way leaves a transaction open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use factum::port::NotCommitted;
use sqlx::postgres::{PgConnectOptions, PgRow, PgTransactionManager};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqlSafeStr as _};
use sqlx_core::transaction::TransactionManager as _;
use tokio::sync::OwnedMappedMutexGuard;
use tokio::time::timeout;

use crate::error::{Error, is_failed_transaction, is_of_no_use, is_unanswered, is_zero_division};
use crate::slots::{Slots, Ticket};
use crate::texts::{Query, Text};
use crate::to_the_end::to_the_end;

/// What a session may be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Sessions are shared by a pooler: nothing is prepared in them, and nothing is set.
    pub(crate) pooled: bool,
    /// A single statement too has to say `BEGIN`: to stay in one session, or to say its isolation.
    pub(crate) begins_each: bool,
    /// How statements that name no schema, as those for documents, find ours.
    pub(crate) path: Path,
}

/// What becomes of the `search_path` in a unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// It finds our tables as it is.
    AsItIs,
    /// Our schema comes last, so that no name of the application means anything else.
    Last,
    /// Our schema comes first, because another one of the path has documents too, those of another service.
    First,
}

/// A connection that nobody has used for so long is looked at before its next use.
const UNSEEN_MAX: Duration = Duration::from_secs(30);

/// One that is older is closed when it is given back: names may lead to another server by now.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// A connection, and what is known about it.
#[derive(Debug)]
pub(crate) struct Session {
    db: PgConnection,
    opened: Instant,
    used: Instant,
    /// The store's last commit was in a flight that sqlx does not count: it counts one level too many.
    ahead: bool,
    /// Its last borrower left without ending a transaction; a rollback is queued.
    dirty: bool,
    /// Its state is not known: it is to be closed.
    lost: bool,
}

impl Session {
    fn depth(&self) -> usize {
        PgTransactionManager::get_transaction_depth(&self.db)
    }

    /// Queues a rollback of whatever is open. A `begin` that was dropped half-way may have opened what sqlx does not
    /// know of.
    fn abandon(&mut self) {
        self.lost |= self.depth() == 0;
        for _ in 0..self.depth() {
            PgTransactionManager::start_rollback(&mut self.db);
        }
        self.dirty = true;
    }

    /// Whether it can be lent again, once what is queued has happened.
    pub(crate) async fn is_clean_soon(&mut self) -> bool {
        !self.lost && self.answers(ROLLBACK_MAX).await
    }

    async fn answers(&mut self, limit: Duration) -> bool {
        // A statement that nobody waits for any more may still run.
        let answers = matches!(timeout(limit, self.db.ping()).await, Ok(Ok(())));
        self.dirty = false;
        self.lost |= !answers || self.depth() != usize::from(self.ahead);
        !self.lost
    }
}

/// Where connections come from.
#[derive(Debug)]
pub(crate) struct Sessions {
    options: PgConnectOptions,
    slots: Arc<Slots>,
    wait: Duration,
    manners: Manners,
    start: Instant,
    /// When one was last found broken, in ms since the start: older ones are looked at before their next use.
    broke: Arc<AtomicU64>,
    /// How many were opened.
    opened: AtomicU64,
}

impl Sessions {
    pub(crate) fn new(options: PgConnectOptions, most: usize, wait: Duration, manners: Manners) -> Self {
        let slots = Slots::new(most);
        Self {
            options,
            slots,
            wait,
            manners,
            start: Instant::now(),
            broke: Arc::default(),
            opened: AtomicU64::new(0),
        }
    }

    pub(crate) fn manners(&self) -> Manners {
        self.manners
    }

    /// A connection on which no transaction is open.
    pub(crate) async fn take(&self) -> Result<Held, Error> {
        let held = Error::ConnectionsHeld { connections: self.slots.most(), waited: self.wait };
        let Ok(Some(ticket)) = timeout(self.wait, self.slots.ticket()).await else { return Err(held) };
        let mut slot = Arc::clone(&ticket.place).lock_owned().await;
        let fit = match &mut *slot {
            Some(session) => self.is_fit(session).await,
            None => false,
        };
        if !fit {
            *slot = None;
            *slot = Some(self.open().await?);
        }
        let session = tokio::sync::OwnedMutexGuard::try_map(slot, Option::as_mut)
            .map_err(|_| sqlx::Error::WorkerCrashed)?;
        let broke = (self.start, Arc::clone(&self.broke));
        Ok(Held { session, open: false, ticket, broke })
    }

    /// How many connections were opened so far. While it stays the same, the server has lived on: no connection outlives
    /// a crash of it.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    async fn open(&self) -> Result<Session, sqlx::Error> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let opening = timeout(self.wait, self.options.connect());
        let db = opening.await.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
        let now = Instant::now();
        Ok(Session { db, opened: now, used: now, ahead: false, dirty: false, lost: false })
    }

    async fn is_fit(&self, session: &mut Session) -> bool {
        if session.lost || session.opened.elapsed() > AGE_MAX {
            return false;
        }
        let used = session.used.saturating_duration_since(self.start).as_millis();
        let doubtful = used < u128::from(self.broke.load(Ordering::Relaxed));
        if session.dirty || doubtful || session.used.elapsed() > UNSEEN_MAX {
            return session.answers(self.wait).await;
        }
        true
    }

    /// A transaction. Connections that broke while nobody used them are done with until one answers.
    pub(crate) async fn begin(&self, text: &Text) -> Result<Held, Error> {
        let mut tries = self.slots.most();
        loop {
            let held = self.take().await?;
            // Run to its end: one that is dropped half-way leaves a transaction open that sqlx does not know of.
            match to_the_end(held.begin(Arc::clone(text))).await {
                Err(error) if is_of_no_use(&error) && tries > 0 => tries -= 1,
                done => return Ok(done?),
            }
        }
    }

    /// One statement that commits by itself.
    pub(crate) async fn fetch(&self, begin: &Text, query: Query) -> Result<Vec<PgRow>, Error> {
        let mut held = self.for_one(begin).await?;
        // Where nobody waits for the answer any more, the next borrower must not have to.
        held.session.dirty = true;
        let rows = query.fetch_all(held.connection()).await;
        held.session.dirty = false;
        let rows = held.note(rows)?;
        held.finish().await?;
        Ok(rows)
    }

    /// One statement that commits by itself, and how many rows it changed.
    pub(crate) async fn execute(&self, begin: &Text, query: Query) -> Result<u64, Error> {
        let mut held = self.for_one(begin).await?;
        held.session.dirty = true;
        let done = query.execute(held.connection()).await;
        held.session.dirty = false;
        let done = held.note(done)?;
        held.finish().await?;
        Ok(done.rows_affected())
    }

    async fn for_one(&self, begin: &Text) -> Result<Held, Error> {
        if self.manners.begins_each { self.begin(begin).await } else { self.take().await }
    }
}

/// A connection in somebody's hands. Dropped with an open transaction, it rolls back before anybody else has it.
#[derive(Debug)]
pub(crate) struct Held {
    session: OwnedMappedMutexGuard<Option<Session>, Session>,
    open: bool,
    /// Given back after the session.
    ticket: Ticket,
    broke: (Instant, Arc<AtomicU64>),
}

impl Held {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.session.db
    }

    async fn begin(mut self, text: Text) -> Result<Self, sqlx::Error> {
        self.open = true;
        let begun = match self.session.ahead {
            true => sqlx::raw_sql(AssertSqlSafe(text)).execute(self.connection()).await.map(drop),
            false => {
                let text = AssertSqlSafe(text).into_sql_str();
                PgTransactionManager::begin(self.connection(), Some(text)).await
            }
        };
        self.session.ahead = false;
        self.session.lost |= begun.is_err();
        self.note(begun).map(|()| self)
    }

    /// Takes notice of an answer that says that the connection is of no further use.
    pub(crate) fn note<T>(&mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if let Err(error) = &answer
            && is_of_no_use(error)
        {
            self.session.lost = true;
            let (start, broke) = &self.broke;
            let now = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            broke.fetch_max(now.saturating_add(1), Ordering::Relaxed);
        }
        answer
    }

    /// Ends savepoints of the application that nobody ended.
    async fn keep_savepoints(&mut self) -> Result<(), sqlx::Error> {
        while self.session.depth() > 1 {
            PgTransactionManager::commit(self.connection()).await?;
        }
        Ok(())
    }

    /// Runs what is to be run last, which changes `rows` rows if the transaction is still the one that was begun, and
    /// commits. A transaction that failed refuses to run anything.
    pub(crate) async fn commit(mut self, last: Query, rows: u64) -> Result<(), NotCommitted> {
        match self.run_last(last).await {
            Ok(done) if done == rows => {}
            Ok(_) => return Err(self.refuse(Error::Ended).await),
            Err(error) => return Err(self.refuse(error.into()).await),
        }
        let done = PgTransactionManager::commit(self.connection()).await;
        if matches!(&done, Err(error) if !is_unanswered(error)) {
            // Refused, and thereby over; sqlx counts on.
            self.session.ahead = true;
            self.open = false;
        }
        self.committed(done).await
    }

    async fn run_last(&mut self, last: Query) -> Result<u64, sqlx::Error> {
        self.keep_savepoints().await?;
        Ok(last.execute(self.connection()).await?.rows_affected())
    }

    /// Proves and commits in one flight, where nothing is to be written last: `flight` divides by zero unless the
    /// transaction is still the one that was begun, and what follows in it is not done then.
    pub(crate) async fn commit_alone(mut self, flight: &Text) -> Result<(), NotCommitted> {
        if let Err(error) = self.keep_savepoints().await {
            return Err(self.refuse(error.into()).await);
        }
        let flight = sqlx::raw_sql(AssertSqlSafe(Arc::clone(flight)));
        let done = flight.execute(self.connection()).await.map(drop);
        match done {
            Err(error) if is_zero_division(&error) => Err(self.refuse(Error::Ended).await),
            Err(error) if is_failed_transaction(&error) => Err(self.refuse(error.into()).await),
            done => {
                self.session.ahead = done.is_ok();
                self.committed(done).await
            }
        }
    }

    async fn committed(mut self, done: Result<(), sqlx::Error>) -> Result<(), NotCommitted> {
        match self.note(done) {
            Ok(()) => {
                self.open = false;
                Ok(())
            }
            Err(error) if is_unanswered(&error) => {
                self.session.lost = true;
                Err(NotCommitted::Unknown(Error::from(error).into()))
            }
            Err(error) => Err(self.refuse(error.into()).await),
        }
    }

    /// Rolls back. Whoever ended a transaction that was not his may have left anything behind: the connection is closed.
    async fn refuse(mut self, why: Error) -> NotCommitted {
        let why = match why {
            Error::Postgres(error) => match self.note::<()>(Err(error)) {
                Err(error) if is_failed_transaction(&error) => Error::Swallowed(error),
                Err(error) => Error::Postgres(error),
                Ok(()) => Error::Ended,
            },
            why => {
                self.session.lost = true;
                why
            }
        };
        self.roll_back().await;
        why.into()
    }

    /// Commits a transaction of the store's own, in which every error was seen.
    pub(crate) async fn finish(mut self) -> Result<(), sqlx::Error> {
        if !self.open {
            return Ok(());
        }
        let done = PgTransactionManager::commit(self.connection()).await;
        self.open = done.is_err();
        self.note(done)
    }

    /// Rolls back, and waits until that has happened.
    pub(crate) async fn roll_back(mut self) {
        if !self.open || self.session.depth() == 0 {
            return;
        }
        for _ in 1..self.session.depth() {
            PgTransactionManager::start_rollback(self.connection());
        }
        let done = PgTransactionManager::rollback(self.connection()).await;
        self.open = false;
        self.session.lost |= done.is_err();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.session.used = Instant::now();
        if self.open {
            self.session.abandon();
        }
        self.ticket.is_dirty = self.session.dirty || self.session.lost;
    }
}

/// How long a rollback may take before its connection is closed, which rolls back too.
const ROLLBACK_MAX: Duration = Duration::from_secs(5);
