//! What the tests of this store share: a schema of its own, a domain in a table of its own, and an independent
//! connection that tells what is really in the database.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use factum::port::{Asked, BucketSet, Found, Leased, OutboxStore as _, Read};
use factum::{
    AggregateRoot, BoxError, Dispatcher, DomainEvent, DomainEvents, Envelope, IntegrationEvent, Loaded,
    Outcome, Persist, UnitOfWork, Version, Work, Written,
};
use factum_conformance::service::POSTGRES;
use factum_store_postgres::{Options, Postgres};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

pub(crate) const SOURCE: &str = "https://tests.example/notes";

/// Longer than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

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

impl Persist<Postgres> for Note {
    async fn load(id: &String, db: &mut PgConnection) -> Result<Option<Loaded<Self>>, BoxError> {
        let row =
            sqlx::query("SELECT text, version FROM notes WHERE id = $1").bind(id).fetch_optional(db).await?;
        let Some(row) = row else { return Ok(None) };
        let note = Self { id: id.clone(), text: row.try_get(0)?, events: DomainEvents::new() };
        Ok(Some(Loaded::new(note, row.try_get(1)?)))
    }

    async fn insert(&self, db: &mut PgConnection) -> Result<Written, BoxError> {
        insert(db, &self.id, &self.text).await?;
        Ok(Written::Fresh)
    }

    async fn update(&self, version: Version, db: &mut PgConnection) -> Result<Written, BoxError> {
        let sql = "UPDATE notes SET text = $1, version = version + 1 WHERE id = $2 AND version = $3";
        let done = sqlx::query(sql).bind(&self.text).bind(&self.id).bind(version).execute(db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }

    async fn delete(&self, version: Version, db: &mut PgConnection) -> Result<Written, BoxError> {
        let sql = "DELETE FROM notes WHERE id = $1 AND version = $2";
        let done = sqlx::query(sql).bind(&self.id).bind(version).execute(db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }
}

/// A handler's own SQL. Text `bad` fails.
pub(crate) async fn insert(db: &mut PgConnection, id: &str, text: &str) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO notes VALUES ($1, $2, 1)";
    // Behind a pooler that shares sessions a statement with a name would be somebody else's.
    sqlx::query(sql).persistent(false).bind(id).bind(text).execute(db).await.map(drop)
}

/// A schema of its own, gone with its test.
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Schema {
    /// In the database of the tests; `None`, after saying so, where there is none.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        Some(Self::at(&POSTGRES.url_or_skip(test)?).await)
    }

    /// In any database.
    pub(crate) async fn at(url: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let schema = Self { url: url.into(), name: format!("test_{}_{n}", std::process::id()) };
        let mut db = PgConnection::connect(url).await.expect("the server answers");
        let sql = format!(
            "DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0};
             CREATE TABLE {0}.notes (id text PRIMARY KEY, text text NOT NULL CHECK (text <> 'bad'), version bigint NOT NULL)",
            schema.name
        );
        run(&mut db, &sql).await;
        schema
    }

    pub(crate) fn options(&self) -> Options {
        self.options_at(&self.url)
    }

    /// On the way of another URL.
    pub(crate) fn options_at(&self, url: &str) -> Options {
        Postgres::options(url).schema(&self.name).wait(Duration::from_secs(5))
    }

    pub(crate) async fn store(&self) -> Postgres {
        self.options().migrate().await.expect("tables");
        self.options().connect().await.expect("a store")
    }

    /// A connection that has nothing to do with a store.
    pub(crate) async fn look(&self) -> PgConnection {
        connect(&self.url, &self.name).await
    }

    /// How many notes and how many outbox rows are really in the database.
    pub(crate) async fn counts(&self) -> (i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM factum_outbox)";
        sqlx::query_as(sql).fetch_one(&mut self.look().await).await.unwrap()
    }

    pub(crate) async fn has_note(&self, id: &str) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM notes WHERE id = $1)";
        sqlx::query_scalar(sql).bind(id).fetch_one(&mut self.look().await).await.unwrap()
    }

    /// Fails unless every lock on the tables of the tests is gone soon.
    pub(crate) async fn assert_nobody_writes(&self) {
        let mut db = self.look().await;
        let sql = "SET lock_timeout = '30s'; BEGIN; LOCK TABLE notes, factum_outbox IN ACCESS EXCLUSIVE MODE; ROLLBACK";
        sqlx::raw_sql(sql).execute(&mut db).await.expect("nobody has a transaction open");
    }
}

impl Drop for Schema {
    /// On a thread of its own, because a test may be on any runtime, or on none any more.
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let Ok(mut db) = PgConnection::connect(&url).await else { return };
                let sql = format!("SET lock_timeout = '30s'; DROP SCHEMA IF EXISTS {name} CASCADE");
                let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await;
            });
        });
        let _ = dropping.join();
    }
}

pub(crate) async fn connect(url: &str, schema: &str) -> PgConnection {
    let mut db = PgConnection::connect(url).await.expect("the server answers");
    run(&mut db, &format!("SET search_path TO {schema}")).await;
    db
}

/// Where the server of a URL is.
pub(crate) fn address(url: &str) -> std::net::SocketAddr {
    use std::net::ToSocketAddrs as _;
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
    let mut found = (options.get_host(), options.get_port()).to_socket_addrs().expect("a host");
    found.next().expect("an address")
}

pub(crate) async fn run(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(db)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub(crate) async fn scalar(db: &mut PgConnection, sql: &str) -> i64 {
    let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(db).await;
    row.unwrap_or_else(|error| panic!("{sql}: {error}")).try_get(0).unwrap()
}

/// One of the notes' events, with data of its own.
pub(crate) fn envelope(id: &str, key: &str) -> Envelope {
    let mut envelope = Envelope::new(id, SOURCE, NoteWrittenV1::TYPE, id.as_bytes().to_vec());
    envelope.partitionkey = Some(key.into());
    envelope
}

/// As a program in any language would do it.
pub(crate) async fn plain_insert(db: &mut PgConnection, id: &str, key: &str) {
    let sql = "INSERT INTO factum_outbox (source, id, type, partitionkey, data) VALUES ($1, $2, $3, $4, $5)";
    let query = sqlx::query(sql).bind(SOURCE).bind(id).bind(NoteWrittenV1::TYPE).bind(key);
    query.bind(id.as_bytes()).execute(db).await.unwrap();
}

pub(crate) fn all_above(above: i64) -> Read {
    Read { buckets: BucketSet::ALL, above, except: Vec::new(), rows_max: 10_000, bytes_max: 64 << 20 }
}

/// The ids of what a read shows.
pub(crate) fn ids(found: &Found) -> Vec<String> {
    found.rows.iter().map(|row| row.envelope.id.to_string()).collect()
}

pub(crate) async fn lease_all(store: &Postgres, owner: &str) -> Leased {
    let asked = Asked { duration: LONG, most: 64, give_back: BucketSet::default() };
    store.lease(owner, asked).await.unwrap()
}

pub(crate) fn work(store: &Postgres, dispatcher: Dispatcher<Postgres>) -> Work<Postgres> {
    Work::new(SOURCE, store.clone(), dispatcher)
}

/// Writes one note and announces it.
pub(crate) async fn write_note(work: &Work<Postgres>, id: &str) -> Result<(), factum::Error> {
    let mut uow = work.begin().await?;
    uow.add(Note::written(id, "well"));
    uow.announce(&NoteWrittenV1 { id: id.into() })?;
    uow.save_changes().await.map(drop)
}

/// An acknowledged write is really there, and nobody has left a transaction behind.
pub(crate) async fn assert_works(schema: &Schema, work: &Work<Postgres>, id: &str) {
    write_note(work, id).await.expect("the store works");
    assert!(schema.has_note(id).await, "the acknowledged write {id} is not in the database");
    schema.assert_nobody_writes().await;
}

pub(crate) async fn announce(written: &NoteWritten, uow: &mut UnitOfWork<Postgres>) -> Outcome {
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
