//! How a store reaches its database: where, under which names, with how many connections.

use std::fmt;
use std::time::Duration;

use factum::port::Identifier;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::error::Error;
use crate::partitioned::Partitions;
use crate::{Postgres, connect, names};

/// What a unit of work that writes sees of transactions that commit meanwhile. Whatever the server's default is, each
/// transaction says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it. Versions find lost updates.
    #[default]
    ReadCommitted,
    /// All statements see one snapshot; whoever writes what somebody else has changed since is run again.
    RepeatableRead,
    /// As if one after the other; whoever cannot be fitted in is run again.
    Serializable,
}

/// Where the database is.
#[derive(Clone)]
enum Origin {
    Url(String),
    Server(Box<PgConnectOptions>),
}

/// Checked names.
pub(crate) struct Chosen {
    pub(crate) schema: Option<Identifier>,
    pub(crate) prefix: Identifier,
}

/// How a store reaches its database. Begin with [`Postgres::options`].
#[derive(Clone)]
#[must_use = "options reach nothing until `connect` or `migrate` is called"]
pub struct Options {
    origin: Origin,
    schema: Option<String>,
    prefix: String,
    pub(crate) connections: u32,
    pub(crate) wait: Duration,
    pub(crate) isolation: Isolation,
    pub(crate) pooled: Option<bool>,
    pub(crate) partitions: Option<Partitions>,
}

impl Options {
    pub(crate) fn new(url: &str) -> Self {
        Self::at(Origin::Url(url.to_owned()))
    }

    fn at(origin: Origin) -> Self {
        Self {
            origin,
            schema: None,
            prefix: "factum_".into(),
            connections: 10,
            wait: Duration::from_secs(10),
            isolation: Isolation::default(),
            pooled: None,
            partitions: None,
        }
    }

    /// The server and database of sqlx's options, for what a URL does not say.
    pub fn with(server: PgConnectOptions) -> Self {
        Self::at(Origin::Server(Box::new(server)))
    }

    /// The server and database of a pool that the application has already, with as many connections as that may have.
    /// They are the store's own: on those of a pool sqlx up to 0.9.0 leaves a transaction open where a `begin` is
    /// dropped half-way, and who borrows one next loses what he writes.
    pub fn like(pool: &PgPool) -> Self {
        let server = PgConnectOptions::clone(&pool.connect_options());
        Self::with(server).connections(pool.options().get_max_connections())
    }

    /// The schema of the tables; by default the first of the connection's `search_path`. Lower-case letters, digits and
    /// `_`, at most 63.
    ///
    /// Where it is not on the `search_path`, units of work have it there as well, last; or first, if another schema of the
    /// path has a `factum_document` of its own when the store connects. Services whose schemas share a path do best to
    /// name their own in it, as in `?options[search_path]=billing`.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// What the names of the tables begin with; `factum_` by default. Lower-case letters, digits and `_`, at most 39. The
    /// table of documents is always called `factum_document`: who shares a schema shares it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The most connections, 10 by default, and 1 at least. A service whose relay and subscriptions run too needs 2 at
    /// least. A relay takes one more to listen on, and a process that announces one to tell others.
    pub fn connections(mut self, most: u32) -> Self {
        self.connections = most.max(1);
        self
    }

    /// How long to wait for a connection; 10 s by default. Less than the deadline of a subscription, so that a delivery
    /// that had to wait is not taken for one that failed.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// What units of work that write see of others; [`Isolation::ReadCommitted`] by default. One that only reads sees one
    /// snapshot in any case.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Whether a pooler that shares sessions between transactions is in between (PgBouncer in transaction mode). Found
    /// out by itself, unless this says so. Behind one nothing is kept in a session: each statement is in a
    /// transaction, none stays prepared, and nobody is told of the commits of other processes: relays find them when
    /// they look.
    pub fn pooled(mut self, pooled: bool) -> Self {
        self.pooled = Some(pooled);
        self
    }

    /// For [`migrate`](Self::migrate): makes the outbox as a ring of four partitions of so many rows each, rounded
    /// up to a multiple of 1024; 1,000,000 is a good number. What has left is then not deleted row by row: relays note it, and
    /// empty a partition when all in it has left, so that nothing is to be vacuumed and the disk is given back. `source`
    /// and `id` are not unique in such an outbox.
    ///
    /// It is decided when the tables are made, and for good: an outbox that is one table stays so, and the number of rows
    /// is not changed. Whoever connects finds out by itself. The role of a relay needs `TRUNCATE` on the partitions and
    /// `SELECT` on the sequence of the outbox.
    pub fn partitioned(mut self, rows_per_partition: u64) -> Self {
        self.partitions = Some(Partitions::of(rows_per_partition));
        self
    }

    /// Connects, and makes sure that the tables are there and are those that this program needs. Changes nothing.
    ///
    /// # Errors
    /// The URL, the schema or the prefix cannot be used; the database cannot be reached, is too old, or its tables are
    /// missing, older or newer: [`migrate`](Self::migrate).
    pub async fn connect(self) -> Result<Postgres, Error> {
        connect::connect(self).await
    }

    /// Creates the tables, or brings them up to date: once for a new version of the library, by a role that may. Several
    /// processes may do it at once, and doing it again changes nothing.
    ///
    /// # Errors
    /// The URL, the schema or the prefix cannot be used; the database cannot be reached, is too old, is not encoded as
    /// UTF-8, or its tables are newer; or they are there already, and not [`partitioned`](Self::partitioned) as was asked.
    pub async fn migrate(&self) -> Result<(), Error> {
        connect::migrate(self).await
    }

    /// The names, checked before anything is asked of a server.
    pub(crate) fn names(&self) -> Result<Chosen, Error> {
        let schema = self.schema.as_deref().map(names::schema).transpose()?;
        Ok(Chosen { schema, prefix: names::prefix(&self.prefix)? })
    }

    pub(crate) fn server(&self) -> Result<PgConnectOptions, Error> {
        match &self.origin {
            Origin::Url(url) => Ok(url.parse()?),
            Origin::Server(server) => Ok(PgConnectOptions::clone(server)),
        }
    }
}

/// Without the server, which may hold a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("schema", &self.schema)
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_error_and_no_debug_output() {
        for url in ["postgres://user:secret@host:port/x", "postgres://user:secret@host/x"] {
            let options = Options::new(url);
            let said = format!("{options:?} {:?}", options.server().map(|_server| ()));
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
