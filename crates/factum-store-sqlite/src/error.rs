//! What can go wrong with the file, and how it is sorted: by SQLite's result codes, never by the text of a message.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use factum::Sort;

/// Why SQLite did not do what a unit of work or a relay asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another unit of work of this process holds the writer.
    #[error(
        "waited {waited:?} for the writer of {}; {by} has held it for {held:?}: end that unit of work sooner, or wait longer",
        file.display()
    )]
    WriterHeld {
        /// The database.
        file: PathBuf,
        /// Who holds it: the `who` of its context.
        by: Arc<str>,
        /// For how long.
        held: Duration,
        /// How long this one waited.
        waited: Duration,
    },
    /// Another process, or another handle opened on the same file, writes to it.
    #[error("waited {waited:?} while another process wrote to {}: {source}", file.display())]
    FileHeld {
        /// The database.
        file: PathBuf,
        /// How long this one waited.
        waited: Duration,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// Every reader connection is in use.
    #[error(
        "waited {waited:?} for one of the {readers} reader connections of {}: end read-only units of work sooner, or allow more readers",
        file.display()
    )]
    ReadersHeld {
        /// The database.
        file: PathBuf,
        /// How many there are.
        readers: usize,
        /// How long this one waited.
        waited: Duration,
    },
    /// The transaction was over before its commit.
    #[error(
        "the transaction of this unit of work was ended before its commit, and nothing of it remains: either a handler swallowed the error of a statement that rolled everything back (RAISE(ROLLBACK), a full disk), or it said ROLLBACK or COMMIT itself"
    )]
    Ended,
    /// A commit happened that the hooks of this store did not see.
    #[error(
        "the commit went past the hooks of this store, so nobody can vouch for it: leave the commit and rollback hooks of the connection alone, and put no other connection in its place"
    )]
    Unseen,
    /// A read-only unit of work was asked to commit something.
    #[error("a read-only unit of work has nothing to commit: open it for writing")]
    ReadOnly,
    /// The inbox was asked to keep what a relay gave up.
    #[error("what a relay gives up goes through `settle`, not through the inbox")]
    NotOfASubscription,
    /// The file was written by a newer version of this library.
    #[error("{} has schema version {found}, and this program knows {known} at most: use a newer program", file.display())]
    NewerSchema {
        /// The database.
        file: PathBuf,
        /// The version in the file.
        found: i64,
        /// The version that this program writes.
        known: i64,
    },
    /// The tables could not be brought up to date.
    #[error("the tables could not be brought up to date, and are as they were: {0}")]
    Migration(#[source] factum::BoxError),
    /// A row that cannot be what a commit of ours wrote.
    #[error("{table}: the row of event {id} cannot be read: {what}")]
    BadRow {
        /// Where it is.
        table: &'static str,
        /// The event's id.
        id: String,
        /// What is wrong with it.
        what: String,
    },
    /// SQLite refused, or its thread is gone.
    #[error("SQLite: {0}")]
    Sqlite(#[from] sqlx::Error),
}

/// `SQLITE_BUSY` and `SQLITE_LOCKED`, whatever their extension: somebody else is at it.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;

/// `SQLITE_IOERR`: the disk did not do what it was told.
const IO: i32 = 10;

/// `SQLITE_NOMEM`, `SQLITE_FULL` and `SQLITE_CANTOPEN`, which is also what SQLite says where a process has too many files
/// open: the machine is short of something.
const SHORT: [i32; 3] = [7, 13, 14];

/// The primary result code, where SQLite answered at all.
fn code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(BUSY | LOCKED))
}

/// Whether a new attempt may find it otherwise: as with an outage, a failure of the disk is nobody's fault who waits.
fn is_transient(error: &sqlx::Error) -> bool {
    let passes = |code| code == IO || SHORT.contains(&code);
    is_busy(error) || matches!(error, sqlx::Error::WorkerCrashed) || code(error).is_some_and(passes)
}

/// Whether the connection gave no answer that says whether a commit happened. What sqlx refuses before it asks SQLite,
/// and what SQLite answers, is certain, but for `SQLITE_IOERR`: the frames may be in the log already, and a process that
/// dies before they are written over leaves them for the next one to recover.
pub(crate) fn is_unanswered(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) | sqlx::Error::Protocol(_))
        || code(error) == Some(IO)
}

pub(crate) fn sort(error: &(dyn std::error::Error + 'static)) -> Option<Sort> {
    if let Some(error) = error.downcast_ref::<sqlx::Error>() {
        return is_transient(error).then_some(Sort::Transient);
    }
    match error.downcast_ref()? {
        Error::WriterHeld { .. } | Error::FileHeld { .. } | Error::ReadersHeld { .. } => {
            Some(Sort::Transient)
        }
        Error::Unseen | Error::ReadOnly | Error::NotOfASubscription => Some(Sort::Misuse),
        _ => None,
    }
}

/// Whether somebody was waited for as long as the options allow.
pub(crate) fn has_waited(error: &(dyn std::error::Error + 'static)) -> bool {
    let held = |error: &Error| {
        matches!(error, Error::WriterHeld { .. } | Error::FileHeld { .. } | Error::ReadersHeld { .. })
    };
    error.downcast_ref().is_some_and(held)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// What SQLite answers, as far as it is sorted by.
    #[derive(Debug, thiserror::Error)]
    #[error("SQLite's code {0}")]
    struct Coded(i32);

    impl DatabaseError for Coded {
        fn message(&self) -> &str {
            "refused"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn coded(code: i32) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Coded(code)))
    }

    #[test]
    fn f_38_errors_are_sorted_by_their_code_alone() {
        let [busy_snapshot, fsync, out_of_files] = [5 | 2 << 8, 10 | 4 << 8, 14];
        for code in [5, 6, 7, 10, 13, busy_snapshot, fsync, out_of_files] {
            assert_eq!(sort(&coded(code)), Some(Sort::Transient), "{code}");
        }
        let [error, read_only, corrupt, too_big, constraint, unique] = [1, 8, 11, 18, 19, 19 | 8 << 8];
        for code in [error, read_only, corrupt, too_big, constraint, unique] {
            assert_eq!(sort(&coded(code)), None, "{code}");
        }
    }

    #[test]
    fn nobody_knows_of_a_commit_that_the_disk_did_not_take() {
        let unanswered = |code| is_unanswered(&coded(code));
        let fsync = 10 | 4 << 8;
        assert!(unanswered(10) && unanswered(fsync));
        let [full, constraint, busy] = [13, 19, 5];
        assert!(![full, constraint, busy].into_iter().any(unanswered));
    }
}
