//! What the tests of this store share: a database of its own for each, a domain in a table of its own, and an independent
//! connection that tells what is really in the tables.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::pin::Pin;
use std::str::FromStr as _;
use std::task::{Context, Poll};

use factum::{
    AggregateRoot, BoxError, Dispatcher, DomainEvent, DomainEvents, IntegrationEvent, Loaded, Outcome,
    Persist, UnitOfWork, Version, Work, Written,
};
use factum_conformance::service;
use factum_store_mysql::{Connection, MySql, Options};
use serde::{Deserialize, Serialize};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

pub(crate) const SOURCE: &str = "https://tests.example/notes";

/// A database of its own, gone with its test.
#[derive(Debug)]
pub(crate) struct Database {
    server: MySqlConnectOptions,
    name: String,
    /// Not this one's to drop.
    borrowed: bool,
}

/// Runs on a thread and a runtime of its own, so that it can be waited for anywhere.
fn at_once(server: MySqlConnectOptions, sql: String) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut db = server.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.map(drop)
        })
    };
    let done = std::thread::spawn(run).join();
    done.expect("no panic").expect("the server does what it is told");
}

/// Differs from every other, on this machine and on others.
fn unique() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    format!("factum_{:016x}", std::hash::RandomState::new().build_hasher().finish())
}

impl Database {
    /// On the shared server; `None`, after saying so, where there is none.
    pub(crate) fn or_skip(test: &str) -> Option<Self> {
        service::MYSQL.url_or_skip(test).map(|url| Self::on(&url))
    }

    /// On the server of a URL.
    pub(crate) fn on(url: &str) -> Self {
        let server = MySqlConnectOptions::from_str(url).expect("a URL");
        let name = unique();
        at_once(server.clone(), format!("CREATE DATABASE {name}"));
        Self { server, name, borrowed: false }
    }

    /// The same one; it stays where it is.
    pub(crate) fn again(&self) -> Self {
        Self { server: self.server.clone(), name: self.name.clone(), borrowed: true }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn server(&self) -> MySqlConnectOptions {
        self.server.clone().database(&self.name)
    }

    pub(crate) fn options(&self) -> Options {
        Options::with(self.server())
    }

    /// A store in it, with the table of the tests.
    pub(crate) async fn store(&self) -> MySql {
        self.store_with(|options| options).await
    }

    pub(crate) async fn store_with(&self, with: impl FnOnce(Options) -> Options) -> MySql {
        let options = with(self.options());
        options.migrate().await.expect("it is migrated");
        let sql = "CREATE TABLE IF NOT EXISTS notes
            (id VARCHAR(255) PRIMARY KEY, text TEXT NOT NULL, version BIGINT NOT NULL) ENGINE = InnoDB";
        self.run(sql).await;
        options.connect().await.expect("it connects")
    }

    /// A connection that has nothing to do with a store.
    pub(crate) async fn look(&self) -> MySqlConnection {
        self.server().connect().await.expect("it connects")
    }

    pub(crate) async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.look().await).await.expect("it runs");
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.look().await).await.expect("a number")
    }

    /// How many notes and how many outbox rows are really there.
    pub(crate) async fn counts(&self) -> (i64, i64) {
        let count = "SELECT count(*) FROM ";
        (self.number(&format!("{count}notes")).await, self.number(&format!("{count}factum_outbox")).await)
    }

    pub(crate) async fn has_note(&self, id: &str) -> bool {
        self.number(&format!("SELECT count(*) FROM notes WHERE id = '{id}'")).await == 1
    }

    /// Transactions that anybody has open on tables of this database and has written in.
    pub(crate) async fn assert_nobody_writes(&self) {
        // Waits for every lock that is left, and fails if one is not given back.
        self.run("SET innodb_lock_wait_timeout = 5; SELECT count(*) FROM notes FOR UPDATE").await;
    }

    /// Lets a statement on this connection be the victim of a deadlock, so that its transaction is rolled back.
    pub(crate) async fn deadlock(&self, victim: &mut MySqlConnection) -> sqlx::Error {
        self.run(
            "CREATE TABLE IF NOT EXISTS careless (n INT PRIMARY KEY, x INT NOT NULL) ENGINE = InnoDB;
             INSERT IGNORE INTO careless WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 500)
                 SELECT n, 0 FROM r",
        )
        .await;
        let mut other = self.look().await;
        // Who has changed more survives.
        let many = "START TRANSACTION; UPDATE careless SET x = x + 1 WHERE n > 1";
        sqlx::raw_sql(many).execute(&mut other).await.expect("it runs");
        sqlx::query("UPDATE careless SET x = 1 WHERE n = 1").execute(&mut *victim).await.expect("it runs");
        let other = tokio::spawn(async move {
            let done = sqlx::raw_sql("UPDATE careless SET x = 2 WHERE n = 1").execute(&mut other).await;
            done.expect("the other goes on");
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("it rolls back");
        });
        let error = sqlx::query("UPDATE careless SET x = 1 WHERE n = 2").execute(victim).await;
        other.await.expect("no panic");
        error.expect_err("somebody must give way")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.borrowed {
            at_once(self.server.clone(), format!("DROP DATABASE {}", self.name));
        }
    }
}

#[derive(Debug, AggregateRoot)]
pub(crate) struct Note {
    id: String,
    text: String,
    events: DomainEvents,
}

impl Note {
    pub(crate) fn written(id: &str, text: &str) -> Self {
        let mut events = DomainEvents::new();
        events.record(NoteWritten { id: id.into() });
        Self { id: id.into(), text: text.into(), events }
    }
}

#[derive(Debug, DomainEvent)]
pub(crate) struct NoteWritten {
    pub(crate) id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.notes.note-written.v1", key = id)]
pub(crate) struct NoteWrittenV1 {
    pub(crate) id: String,
}

impl Persist<MySql> for Note {
    async fn load(id: &String, db: &mut Connection) -> Result<Option<Loaded<Self>>, BoxError> {
        let sql = "SELECT text, version FROM notes WHERE id = ?";
        let row = sqlx::query(sql).bind(id).fetch_optional(&mut **db).await?;
        let Some(row) = row else { return Ok(None) };
        let note = Self { id: id.clone(), text: row.try_get(0)?, events: DomainEvents::new() };
        Ok(Some(Loaded::new(note, row.try_get(1)?)))
    }

    async fn insert(&self, db: &mut Connection) -> Result<Written, BoxError> {
        insert(db, &self.id, &self.text).await?;
        Ok(Written::Fresh)
    }

    async fn update(&self, version: Version, db: &mut Connection) -> Result<Written, BoxError> {
        let sql = "UPDATE notes SET text = ?, version = version + 1 WHERE id = ? AND version = ?";
        let done = sqlx::query(sql).bind(&self.text).bind(&self.id).bind(version).execute(&mut **db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }

    async fn delete(&self, version: Version, db: &mut Connection) -> Result<Written, BoxError> {
        let sql = "DELETE FROM notes WHERE id = ? AND version = ?";
        let done = sqlx::query(sql).bind(&self.id).bind(version).execute(&mut **db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }
}

/// A handler's own SQL.
pub(crate) async fn insert(db: &mut MySqlConnection, id: &str, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO notes VALUES (?, ?, 1)").bind(id).bind(text).execute(db).await.map(drop)
}

pub(crate) fn work(store: &MySql, dispatcher: Dispatcher<MySql>) -> Work<MySql> {
    Work::new(SOURCE, store.clone(), dispatcher)
}

/// Writes one note and announces it.
pub(crate) async fn write_note(work: &Work<MySql>, id: &str) -> Result<(), factum::Error> {
    let mut uow = work.begin().await?;
    uow.add(Note::written(id, "well"));
    uow.announce(&NoteWrittenV1 { id: id.into() })?;
    uow.save_changes().await.map(drop)
}

/// An acknowledged write is really there, and nobody has left a transaction behind.
pub(crate) async fn assert_works(database: &Database, work: &Work<MySql>, id: &str) {
    write_note(work, id).await.expect("the store works");
    assert!(database.has_note(id).await, "the acknowledged write {id} is not there");
    database.assert_nobody_writes().await;
}

pub(crate) async fn announce(written: &NoteWritten, uow: &mut UnitOfWork<MySql>) -> Outcome {
    uow.announce(&NoteWrittenV1 { id: written.id.clone() })?;
    Ok(())
}

/// Polls a future so often at most, and then drops it.
pub(crate) struct DropAfter<F> {
    future: Option<Pin<Box<F>>>,
    polls: usize,
}

impl<F: Future> DropAfter<F> {
    pub(crate) fn polls(polls: usize, future: F) -> Self {
        Self { future: Some(Box::pin(future)), polls }
    }
}

/// `None`: it was dropped.
impl<F: Future> Future for DropAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            self.future = None;
            return Poll::Ready(None);
        }
        self.polls -= 1;
        let polled = match &mut self.future {
            Some(future) => future.as_mut().poll(cx),
            None => return Poll::Ready(None),
        };
        match polled {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.polls == 0 => {
                self.future = None;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
