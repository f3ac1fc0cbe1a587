//! What can go wrong with the database, and how it is sorted: by SQLSTATE, never by the text of a message.

use factum::Sort;
use factum::port::BadIdentifier;

/// Why PostgreSQL did not do what a unit of work or a relay asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A schema or a prefix that cannot be used.
    #[error("the {what} of the tables: {source}")]
    BadName {
        /// `schema` or `prefix`.
        what: &'static str,
        /// What is wrong with it.
        source: BadIdentifier,
    },
    /// The connection has no schema to look in.
    #[error(
        "the search_path of this user names no schema that exists: give one, `Postgres::options(url).schema(..)`"
    )]
    NoSchema,
    /// The server is older than what is supported.
    #[error("this server is PostgreSQL {found}, and {needed} is the oldest that will do: use a newer server")]
    OldServer {
        /// Its version.
        found: u32,
        /// The oldest that will do.
        needed: u32,
    },
    /// The database has another encoding than UTF-8.
    #[error(
        "this database is encoded as {found}, in which other keys than PostgreSQL's own have other buckets: create it with ENCODING 'UTF8'"
    )]
    NotUtf8 {
        /// Its encoding.
        found: String,
    },
    /// The tables are not there.
    #[error("there are no tables {tables}: `Postgres::options(url).migrate().await` creates them")]
    NoTables {
        /// Schema and prefix.
        tables: String,
    },
    /// The tables are those of an older version of this library.
    #[error(
        "the tables {tables} have version {found}, and this program needs {known}: `Postgres::options(url).migrate().await` brings them up to date"
    )]
    OlderSchema {
        /// Schema and prefix.
        tables: String,
        /// Their version.
        found: i32,
        /// What this program needs.
        known: i32,
    },
    /// The tables are those of a newer version of this library.
    #[error(
        "the tables {tables} have version {found}, and this program knows {known} at most: use a newer program"
    )]
    NewerSchema {
        /// Schema and prefix.
        tables: String,
        /// Their version.
        found: i32,
        /// What this program knows.
        known: i32,
    },
    /// The outbox is one table already.
    #[error(
        "the outbox of {tables} is one table already, and stays so: for a partitioned one make new tables under another schema or prefix, let services announce there, and relays empty this one"
    )]
    NotPartitioned {
        /// Schema and prefix.
        tables: String,
    },
    /// The outbox has partitions of another size.
    #[error(
        "the outbox of {tables} has partitions of {found} rows, and not of {asked}: it keeps what it was made with"
    )]
    OtherPartitions {
        /// Schema and prefix.
        tables: String,
        /// What it has.
        found: i64,
        /// What was asked for.
        asked: i64,
    },
    /// The sequence of a partitioned outbox was set back.
    #[error(
        "the numbers of the outbox were set back from {before} to {found}, and what has a number that has left already is never shown: set its sequence above {before}"
    )]
    SetBack {
        /// How far it is.
        found: i64,
        /// How far it was.
        before: i64,
    },
    /// Every connection is in use.
    #[error(
        "waited {waited:?} for one of {connections} connections: end units of work sooner, or allow more connections"
    )]
    ConnectionsHeld {
        /// How many there may be.
        connections: usize,
        /// How long this one waited.
        waited: std::time::Duration,
    },
    /// The transaction was over, or another one, before its commit.
    #[error(
        "the transaction of this unit of work was ended before its commit, and nothing of it remains but what was committed by hand: a handler said ROLLBACK or COMMIT itself"
    )]
    Ended,
    /// The transaction had failed before its commit.
    #[error("nothing was committed, because a handler has swallowed the error of a statement: {0}")]
    Swallowed(#[source] sqlx::Error),
    /// A read-only unit of work was asked to commit something.
    #[error("a read-only unit of work has nothing to commit: open it for writing")]
    ReadOnly,
    /// A dead letter was requeued or discarded while a delivery was being put behind it.
    #[error("the dead letter of {key} was requeued or discarded at this moment: run again")]
    Moved {
        /// The ordering key.
        key: String,
    },
    /// The inbox was asked to keep what a relay gave up.
    #[error("what a relay gives up goes through `settle`, not through the inbox")]
    NotOfASubscription,
    /// A row that cannot be what a commit wrote.
    #[error("{table}: the row of event {id} cannot be read: {what}")]
    BadRow {
        /// Where it is.
        table: &'static str,
        /// The event's id.
        id: String,
        /// What is wrong with it.
        what: String,
    },
    /// PostgreSQL refused, or was not reached.
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] sqlx::Error),
}

/// The SQLSTATE, where the server answered at all.
pub(crate) fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// `in_failed_sql_transaction`
const FAILED_TRANSACTION: &str = "25P02";

pub(crate) fn is_failed_transaction(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == FAILED_TRANSACTION)
}

/// `division_by_zero`
pub(crate) fn is_zero_division(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "22012")
}

/// Whether the connection is of no further use: it broke, the server ended it (25P03, 25P04: a transaction that was idle or
/// open for too long), or the server behind it is no primary any more.
pub(crate) fn is_of_no_use(error: &sqlx::Error) -> bool {
    match code(error) {
        Some(code) => {
            code.starts_with("57P") || code.starts_with("08") || ["25006", "25P03", "25P04"].contains(&&*code)
        }
        None => is_broken(error),
    }
}

fn is_broken(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed
    )
}

/// Whether nobody knows what became of a commit. What the server answers is certain, but for a server or a connection
/// that is going down (57Pxx, 08xxx), and what says so itself (40003).
pub(crate) fn is_unanswered(error: &sqlx::Error) -> bool {
    match code(error) {
        Some(code) => code.starts_with("57P") || code.starts_with("08") || code == "40003",
        None => is_broken(error),
    }
}

/// Serialisation failures and deadlocks (40), locks that were not to be had (55P03), a cancelled statement (57014), a
/// server that is short of something (53), going down, coming up (57P) or no primary (25006), a transaction that took too
/// long (25P03, 25P04), a connection that broke (08): a new attempt may find it otherwise.
fn is_transient(code: &str) -> bool {
    ["40", "53", "57P", "08"].iter().any(|class| code.starts_with(class))
        || ["55P03", "57014", "25006", "25P03", "25P04"].contains(&code)
}

pub(crate) fn sort(error: &(dyn std::error::Error + 'static)) -> Option<Sort> {
    if let Some(error) = error.downcast_ref::<sqlx::Error>() {
        return match (code(error), error) {
            (Some(code), _) => is_transient(&code).then_some(Sort::Transient),
            (None, error) => is_broken(error).then_some(Sort::Transient),
        };
    }
    match error.downcast_ref()? {
        Error::Moved { .. } | Error::ConnectionsHeld { .. } => Some(Sort::Transient),
        Error::Swallowed(_) => Some(Sort::Permanent),
        Error::ReadOnly
        | Error::NotOfASubscription
        | Error::BadName { .. }
        | Error::NoTables { .. }
        | Error::OlderSchema { .. }
        | Error::NewerSchema { .. }
        | Error::NotPartitioned { .. }
        | Error::OtherPartitions { .. } => Some(Sort::Misuse),
        _ => None,
    }
}

/// Whether a connection was waited for as long as the options allow.
pub(crate) fn has_waited(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(|error| matches!(error, Error::ConnectionsHeld { .. }))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// What a server answers, as far as it is sorted by: the message is in no language at all.
    #[derive(Debug, thiserror::Error)]
    #[error("?")]
    struct Coded(&'static str);

    impl DatabaseError for Coded {
        fn message(&self) -> &str {
            "?"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
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

    fn coded(code: &'static str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Coded(code)))
    }

    #[test]
    fn f_38_errors_are_sorted_by_their_code_alone() {
        for code in ["40001", "40P01", "55P03", "57014", "53300", "57P01", "08006", "25006", "25P03"] {
            assert_eq!(sort(&coded(code)), Some(Sort::Transient), "{code}");
        }
        for code in ["25P02", "23505", "22012", "42P01", "42501"] {
            assert_eq!(sort(&coded(code)), None, "{code}");
        }
    }

    #[test]
    fn nobody_knows_of_a_commit_whose_server_went_down() {
        for code in ["57P01", "57P02", "08006", "40003"] {
            assert!(is_unanswered(&coded(code)), "{code}");
        }
        for code in ["23503", "40001", "57014", "25P03"] {
            assert!(!is_unanswered(&coded(code)), "{code}");
        }
    }
}
