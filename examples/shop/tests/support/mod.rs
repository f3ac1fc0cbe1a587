//! The program as its caller sees it, and its databases as SQL sees them.
#![allow(dead_code)] // Each test file uses its own part of it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

/// The program with these arguments, in this folder.
pub(crate) fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(arguments).current_dir(folder);
    command
}

/// Runs the program to its end.
pub(crate) fn shop(arguments: &[&str], folder: &Path) -> Output {
    command(arguments, folder).output().unwrap()
}

/// The report that it prints with `--json`, which has to be one line and all that it prints.
pub(crate) fn report(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert_eq!((stdout.lines().count(), stdout.ends_with('\n')), (1, true), "{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// A report without the figures that are about one run alone.
pub(crate) fn totals(mut report: Value) -> Value {
    for key in ["domain_events", "redeliveries_absorbed", "elapsed_ms"] {
        report.as_object_mut().unwrap().remove(key).unwrap();
    }
    report
}

/// A database of a run that has ended.
pub(crate) struct Database {
    connection: SqliteConnection,
}

impl Database {
    pub(crate) async fn open(folder: &Path, service: &str) -> Self {
        Self::open_if_any(folder, service).await.unwrap()
    }

    /// `None` where a run was killed before it made the file.
    pub(crate) async fn open_if_any(folder: &Path, service: &str) -> Option<Self> {
        let options = SqliteConnectOptions::new().filename(folder.join(format!("{service}.db")));
        Some(Self { connection: SqliteConnection::connect_with(&options).await.ok()? })
    }

    /// Changes something, unless a run was killed before it made the table.
    pub(crate) async fn try_execute(&mut self, statement: &'static str) {
        let _ = sqlx::query(statement).execute(&mut self.connection).await;
    }

    /// The one number that a query answers.
    pub(crate) async fn number(&mut self, query: &'static str) -> i64 {
        sqlx::query(query).fetch_one(&mut self.connection).await.unwrap().get(0)
    }

    /// The documents of a collection.
    pub(crate) async fn documents(&mut self, collection: &str) -> Vec<Value> {
        let rows = sqlx::query("SELECT body FROM factum_document WHERE collection = ?")
            .bind(collection)
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
    }

    /// How many documents a collection has.
    pub(crate) async fn count(&mut self, collection: &str) -> usize {
        self.documents(collection).await.len()
    }

    /// Says that the file is sound.
    pub(crate) async fn assert_sound(&mut self) {
        let row = sqlx::query("PRAGMA integrity_check").fetch_one(&mut self.connection).await.unwrap();
        assert_eq!(row.get::<String, _>(0), "ok");
    }
}
