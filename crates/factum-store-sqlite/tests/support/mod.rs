//! What the tests of this store share: a file of its own, a domain in a table of its own, and an independent connection
//! that tells what is really in the file.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use factum::{
    AggregateRoot, BoxError, Dispatcher, DomainEvent, DomainEvents, IntegrationEvent, Loaded, Outcome,
    Persist, UnitOfWork, Version, Work, Written,
};
use factum_store_sqlite::{Sqlite, Synchronous};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Row as _};

pub(crate) const SOURCE: &str = "https://tests.example/notes";

/// Text `bad` ends the transaction, `big` needs much room.
const SCHEMA: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TRIGGER refuse BEFORE INSERT ON notes WHEN new.text = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'refused'); END";

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

impl Persist<Sqlite> for Note {
    async fn load(id: &String, db: &mut SqliteConnection) -> Result<Option<Loaded<Self>>, BoxError> {
        let row =
            sqlx::query("SELECT text, version FROM notes WHERE id = ?").bind(id).fetch_optional(db).await?;
        let Some(row) = row else { return Ok(None) };
        let note = Self { id: id.clone(), text: row.try_get(0)?, events: DomainEvents::new() };
        Ok(Some(Loaded::new(note, row.try_get(1)?)))
    }

    async fn insert(&self, db: &mut SqliteConnection) -> Result<Written, BoxError> {
        insert(db, &self.id, &self.text).await?;
        Ok(Written::Fresh)
    }

    async fn update(&self, version: Version, db: &mut SqliteConnection) -> Result<Written, BoxError> {
        let sql = "UPDATE notes SET text = ?, version = version + 1 WHERE id = ? AND version = ?";
        let done = sqlx::query(sql).bind(&self.text).bind(&self.id).bind(version).execute(db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }

    async fn delete(&self, version: Version, db: &mut SqliteConnection) -> Result<Written, BoxError> {
        let sql = "DELETE FROM notes WHERE id = ? AND version = ?";
        let done = sqlx::query(sql).bind(&self.id).bind(version).execute(db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }
}

/// A handler's own SQL.
pub(crate) async fn insert(db: &mut SqliteConnection, id: &str, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO notes VALUES (?, ?, 1)").bind(id).bind(text).execute(db).await.map(drop)
}

/// A file of its own, gone with its test.
pub(crate) struct File {
    folder: tempfile::TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("test.db")
    }

    /// A store in it, with the table of the tests.
    pub(crate) async fn store(&self) -> Sqlite {
        let store = self.open().await;
        sqlx::raw_sql(SCHEMA).execute(&mut self.look().await).await.unwrap();
        store
    }

    pub(crate) async fn open(&self) -> Sqlite {
        Sqlite::options(self.path()).synchronous(Synchronous::Off).open().await.unwrap()
    }

    /// A connection that has nothing to do with a store.
    pub(crate) async fn look(&self) -> SqliteConnection {
        let options =
            SqliteConnectOptions::new().filename(self.path()).busy_timeout(Duration::from_millis(500));
        options.connect().await.unwrap()
    }

    /// How many notes and how many outbox rows are really in the file.
    pub(crate) async fn counts(&self) -> (i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM factum_outbox)";
        sqlx::query_as(sql).fetch_one(&mut self.look().await).await.unwrap()
    }

    pub(crate) async fn has_note(&self, id: &str) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM notes WHERE id = ?)";
        sqlx::query_scalar(sql).bind(id).fetch_one(&mut self.look().await).await.unwrap()
    }

    /// Fails if anybody has a transaction open that writes.
    pub(crate) async fn assert_nobody_writes(&self) {
        let mut db = self.look().await;
        sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK").execute(&mut db).await.expect("the writer is free");
    }
}

pub(crate) fn work(store: &Sqlite, dispatcher: Dispatcher<Sqlite>) -> Work<Sqlite> {
    Work::new(SOURCE, store.clone(), dispatcher)
}

/// Writes one note and announces it.
pub(crate) async fn write_note(work: &Work<Sqlite>, id: &str) -> Result<(), factum::Error> {
    let mut uow = work.begin().await?;
    uow.add(Note::written(id, "well"));
    uow.announce(&NoteWrittenV1 { id: id.into() })?;
    uow.save_changes().await.map(drop)
}

/// An acknowledged write is really in the file, and nobody has left a transaction behind.
pub(crate) async fn assert_works(file: &File, work: &Work<Sqlite>, id: &str) {
    write_note(work, id).await.expect("the store works");
    assert!(file.has_note(id).await, "the acknowledged write {id} is not in the file");
    file.assert_nobody_writes().await;
}

pub(crate) async fn announce(written: &NoteWritten, uow: &mut UnitOfWork<Sqlite>) -> Outcome {
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
