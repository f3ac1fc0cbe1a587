//! What can go wrong with the server, and how it is sorted: by its error numbers, never by the text of a message.

use std::time::Duration;

use factum::Sort;
use factum::port::BadIdentifier;
use sqlx::mysql::MySqlDatabaseError;

/// Why MariaDB or MySQL did not do what a unit of work or a relay asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A prefix that cannot be used.
    #[error("the {what} of the tables: {source}")]
    BadName {
        /// `prefix`.
        what: &'static str,
        /// What is wrong with it.
        source: BadIdentifier,
    },
    /// Every connection of this store is in use.
    #[error(
        "waited {waited:?} for one of {connections} connections: end units of work sooner, or allow more connections"
    )]
    ConnectionsHeld {
        /// How many there are.
        connections: usize,
        /// How long this one waited.
        waited: Duration,
    },
    /// The transaction was over before its commit.
    #[error(
        "the transaction of this unit of work was ended by the server before its commit, and nothing of it remains: a handler swallowed the error of a statement that rolled everything back, such as a deadlock: {0}"
    )]
    Ended(#[source] sqlx::Error),
    /// The server's answers to the commit were not the ones that were asked for.
    #[error(
        "the answers to the commit are not its own, so nobody can vouch for it: do not stop waiting for a query half-way and go on with its connection"
    )]
    Unseen,
    /// A read-only unit of work was asked to commit something.
    #[error("a read-only unit of work has nothing to commit: open it for writing")]
    ReadOnly,
    /// The inbox was asked to keep what a relay gave up.
    #[error("what a relay gives up goes through `settle`, not through the inbox")]
    NotOfASubscription,
    /// Two claims wrote inbox rows in the same microsecond, and cannot be told apart.
    #[error("two claims of the same subscription met in the same microsecond: claim again")]
    ClaimsMet,
    /// The server does not answer any more.
    #[error("the server has not answered for {waited:?}; its connection was given up")]
    Silent {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The tables are not there.
    #[error("there are no tables {tables}: `MySql::options(url).migrate().await` creates them")]
    NoTables {
        /// How their names begin.
        tables: String,
    },
    /// The tables are those of an older version of this library.
    #[error(
        "the tables {tables} have version {found}, and this program needs {known}: `MySql::options(url).migrate().await` brings them up to date"
    )]
    OlderSchema {
        /// How their names begin.
        tables: String,
        /// Their version.
        found: i64,
        /// What this program needs.
        known: i64,
    },
    /// The tables are those of a newer version of this library.
    #[error(
        "the tables {tables} have version {found}, and this program knows {known} at most: use a newer program"
    )]
    NewerSchema {
        /// How their names begin.
        tables: String,
        /// Their version.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// The server is older than what is supported, or not one that is known.
    #[error("the server says that it is {found:?}; MariaDB 10.6 or MySQL 8.0.17 is needed, or a later one")]
    OldServer {
        /// What it says of itself.
        found: String,
    },
    /// The server acknowledges commits that are not on its disk.
    #[error(
        "{variable} is {found}, so a crash of the server takes back commits whose events have left: SET GLOBAL {variable} = 1, in its configuration file too; or `accept_lazy_flush(true)`, for data that can be rebuilt"
    )]
    LazyFlush {
        /// The server's variable.
        variable: &'static str,
        /// Its value.
        found: String,
    },
    /// The server is a node of a cluster in which every node writes.
    #[error(
        "wsrep_on is ON: Galera knows no XA transactions, and its nodes draw numbers that say nothing about each other's; use a server that replicates from one primary"
    )]
    Cluster,
    /// The connection has no database.
    #[error("the URL names no database to put the tables in: write mysql://host/database")]
    NoDatabase,
    /// Another process is at the tables.
    #[error(
        "another process has been changing the tables {tables} for {seconds} s: wait for it, and migrate again"
    )]
    Migrating {
        /// What their names begin with.
        tables: String,
        /// How long it was waited for.
        seconds: i64,
    },
    /// More than the server takes in one statement.
    #[error(
        "an envelope needs {bytes} bytes in one statement, and max_allowed_packet is {allowed}: SET GLOBAL max_allowed_packet to more, in the server's configuration file too, and connect again"
    )]
    TooLarge {
        /// About what it needs.
        bytes: usize,
        /// What the server takes.
        allowed: usize,
    },
    /// Longer than the column that it is kept in.
    #[error("{what} has {found} characters, and {most} at most can be kept")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// How many characters it has.
        found: usize,
        /// How many it may have.
        most: usize,
    },
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
    /// The server refused, or cannot be reached.
    #[error("MySQL: {0}")]
    MySql(#[from] sqlx::Error),
}

/// The server's number of an error, where it answered at all.
pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

pub(crate) const NO_SUCH_TABLE: u16 = 1146;
pub(crate) const DUPLICATE: u16 = 1062;

/// A lock was waited for too long; a deadlock.
const LOCKS: [u16; 2] = [1205, 1213];

/// Somebody changed a row since the snapshot was taken (MariaDB's `innodb_snapshot_isolation`).
const CHANGED: u16 = 1020;

/// Too many connections, shutting down, killed, interrupted; locks or deadlock in an XA transaction; out of room for
/// locks; a statement that took too long, in MariaDB and in MySQL.
const PASSING: [u16; 11] = [1040, 1053, 1203, 1206, 1226, 1317, 1613, 1614, 1927, 1969, 3024];

/// The server takes no changes, as one that is no primary any more.
const READ_ONLY: [u16; 2] = [1290, 1836];

/// What an XA transaction says that is not, or no longer, the one that was begun, or that can only be rolled back.
const NOT_OURS: [u16; 6] = [1397, 1399, 1400, 1402, 1613, 1614];

/// Whether the server says that a transaction is over, or is another one.
pub(crate) fn is_ended(error: &sqlx::Error) -> bool {
    number(error).is_some_and(|number| NOT_OURS.contains(&number))
}

/// Whether an answer to a commit says for certain that nothing was committed.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    number(error).is_some_and(|number| NOT_OURS.contains(&number) || LOCKS.contains(&number))
}

/// Whether the connection is of no use any more, or never came about.
pub(crate) fn is_disconnected(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed)
}

fn sort_sqlx(error: &sqlx::Error) -> Option<Sort> {
    match number(error) {
        Some(CHANGED) => Some(Sort::Conflict),
        Some(number) if [&LOCKS[..], &PASSING, &READ_ONLY].iter().any(|some| some.contains(&number)) => {
            Some(Sort::Transient)
        }
        Some(_) => None,
        None if matches!(error, sqlx::Error::PoolTimedOut) => Some(Sort::Transient),
        None => is_disconnected(error).then_some(Sort::Transient),
    }
}

pub(crate) fn sort(error: &(dyn std::error::Error + 'static)) -> Option<Sort> {
    if let Some(error) = error.downcast_ref::<sqlx::Error>() {
        return sort_sqlx(error);
    }
    match error.downcast_ref()? {
        Error::ConnectionsHeld { .. } | Error::ClaimsMet | Error::Silent { .. } | Error::Migrating { .. } => {
            Some(Sort::Transient)
        }
        Error::Unseen
        | Error::NoDatabase
        | Error::ReadOnly
        | Error::NotOfASubscription
        | Error::BadName { .. }
        | Error::NoTables { .. }
        | Error::OlderSchema { .. }
        | Error::NewerSchema { .. } => Some(Sort::Misuse),
        Error::MySql(error) => sort_sqlx(error),
        _ => None,
    }
}

/// Whether a connection was waited for as long as the options allow.
pub(crate) fn has_waited(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(Error::ConnectionsHeld { .. }))
}
