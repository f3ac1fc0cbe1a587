//! What the tests of this store share: a file of its own, a domain in a table of its own, and an independent connection
//! that tells what is really in the file.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

use std::time::Duration;

use factum::{BoxError, Version};
use factum_conformance::store::notes::{self, Notes};
pub(crate) use factum_conformance::store::notes::{
    NoteWritten, NoteWrittenV1, SOURCE, announce, assert_works, work, write_note,
};
use factum_store_sqlite::{Sqlite, Synchronous};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

pub(crate) type Note = notes::Note<File>;

/// Text `bad` ends the transaction, `big` needs much room.
const SCHEMA: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TRIGGER refuse BEFORE INSERT ON notes WHEN new.text = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'refused'); END";

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

    /// Whether a process waits for another one's transaction to end.
    pub(crate) fn somebody_is_next(&self) -> bool {
        let turn = std::fs::File::open(self.path().with_extension("db-turn")).unwrap();
        matches!(turn.try_lock(), Err(std::fs::TryLockError::WouldBlock))
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
}

impl Notes for File {
    type Store = Sqlite;

    async fn or_skip(_: &str) -> Option<Self> {
        Some(Self::new())
    }

    async fn patient_store(&self) -> Sqlite {
        self.store().await
    }

    async fn select(db: &mut SqliteConnection, id: &str) -> Result<Option<(String, Version)>, BoxError> {
        let sql = "SELECT text, version FROM notes WHERE id = ?";
        Ok(sqlx::query_as(sql).bind(id).fetch_optional(db).await?)
    }

    async fn insert(db: &mut SqliteConnection, id: &str, text: &str) -> Result<(), BoxError> {
        Ok(insert(db, id, text).await?)
    }

    async fn update(
        db: &mut SqliteConnection,
        id: &str,
        text: &str,
        version: Version,
    ) -> Result<u64, BoxError> {
        let sql = "UPDATE notes SET text = ?, version = version + 1 WHERE id = ? AND version = ?";
        Ok(sqlx::query(sql).bind(text).bind(id).bind(version).execute(db).await?.rows_affected())
    }

    async fn delete(db: &mut SqliteConnection, id: &str, version: Version) -> Result<u64, BoxError> {
        let sql = "DELETE FROM notes WHERE id = ? AND version = ?";
        Ok(sqlx::query(sql).bind(id).bind(version).execute(db).await?.rows_affected())
    }

    async fn has_note(&self, id: &str) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM notes WHERE id = ?)";
        sqlx::query_scalar(sql).bind(id).fetch_one(&mut self.look().await).await.unwrap()
    }

    async fn announced(&self, key: &str) -> i64 {
        let sql = "SELECT count(*) FROM factum_outbox WHERE partitionkey = ?";
        sqlx::query_scalar(sql).bind(key).fetch_one(&mut self.look().await).await.unwrap()
    }

    async fn assert_nobody_writes(&self) {
        let mut db = self.look().await;
        sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK").execute(&mut db).await.expect("the writer is free");
    }
}
