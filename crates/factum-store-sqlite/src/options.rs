//! How a database file is opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::Sqlite;
use crate::error::Error;
use crate::writer::STEP;

/// The writer's page cache, as SQLite wants it: negative is KiB. 16 MiB keep the pages that a busy outbox, inbox and
/// document table touch again and again.
const CACHE_KIB: &str = "-16384";

/// Statements that stay prepared on the writer; texts for many rows take a place for each number of rows.
const STATEMENTS_KEPT: usize = 256;

/// When SQLite waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// At every commit: what was committed survives power loss.
    #[default]
    Full,
    /// At checkpoints: power loss may undo the last commits, including ones whose events have left. For data that can
    /// be rebuilt.
    Normal,
    /// Never: power loss may damage the file. For tests and measurements.
    Off,
}

/// How a database file is opened. Begin with [`Sqlite::options`].
#[derive(Clone, Debug)]
#[must_use = "options open nothing until `open` is called"]
pub struct Options {
    file: PathBuf,
    synchronous: Synchronous,
    wait: Duration,
    readers: u32,
}

impl Options {
    pub(crate) fn new(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            synchronous: Synchronous::default(),
            wait: Duration::from_secs(10),
            readers: 2,
        }
    }

    /// When SQLite waits for the disk; [`Synchronous::Full`] by default.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long to wait for the writer, for a reader, and for other processes; 10 s by default. Less than the deadline of
    /// a subscription, so that a delivery that had to wait is not taken for one that failed.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// The most connections for read-only units of work, and so how many of them run at once; 2 by default, and 1 at least.
    pub fn readers(mut self, most: u32) -> Self {
        self.readers = most.max(1);
        self
    }

    /// Opens the file, creating it and bringing its tables up to date as needed.
    ///
    /// # Errors
    /// The file cannot be opened or written, another process holds it for too long, or it has a newer schema.
    pub async fn open(self) -> Result<Sqlite, Error> {
        Sqlite::open_with(self).await
    }

    pub(crate) fn wait_limit(&self) -> Duration {
        self.wait
    }

    pub(crate) fn reader_count(&self) -> usize {
        usize::try_from(self.readers).unwrap_or(usize::MAX)
    }

    pub(crate) fn writer(&self) -> SqliteConnectOptions {
        let synchronous = match self.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
            Synchronous::Off => SqliteSynchronous::Off,
        };
        SqliteConnectOptions::new()
            .filename(&self.file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .pragma("temp_store", "memory")
            .pragma("cache_size", CACHE_KIB)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .busy_timeout(STEP)
    }

    /// Opened read-only, so that no `PRAGMA` of the application makes it a second writer.
    pub(crate) fn reader(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(&self.file).read_only(true).busy_timeout(self.wait)
    }
}
