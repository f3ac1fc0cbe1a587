//! How a store reaches its database: where, under which names, with how many connections.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::Postgres;
use crate::connect;
use crate::error::Error;

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
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Url(String),
    Connect(Box<PgConnectOptions>),
}

/// How a store reaches its database. Begin with [`Postgres::options`].
#[derive(Clone, Debug)]
#[must_use = "options reach nothing until `connect` or `migrate` is called"]
pub struct Options {
    pub(crate) origin: Origin,
    pub(crate) schema: Option<String>,
    pub(crate) prefix: String,
    pub(crate) connections: u32,
    pub(crate) wait: Duration,
    pub(crate) isolation: Isolation,
    pub(crate) pooled: Option<bool>,
}

impl Options {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            schema: None,
            prefix: "factum_".into(),
            connections: 10,
            wait: Duration::from_secs(10),
            isolation: Isolation::default(),
            pooled: None,
        }
    }

    /// By sqlx's own options, for what a URL does not say.
    pub fn connect_options(options: PgConnectOptions) -> Self {
        Self::new(Origin::Connect(Box::new(options)))
    }

    /// To the database of a pool that the application has already, with as many connections as that may have. They are
    /// the store's own: on those of a pool sqlx up to 0.9.0 leaves a transaction open where a `begin` is dropped
    /// half-way, and who borrows one next loses what he writes.
    pub fn pool(pool: &PgPool) -> Self {
        let options = Self::connect_options((*pool.connect_options()).clone());
        options.connections(pool.options().get_max_connections())
    }

    /// The schema of the tables; by default the first of the connection's `search_path`. A lower-case name.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// What the names of the tables begin with; `factum_` by default. A lower-case name of 39 bytes at most. The table of
    /// documents is always called `factum_document`: who shares a schema shares it.
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

    /// Connects, and makes sure that the tables are there and are those that this program needs. Changes nothing.
    ///
    /// # Errors
    /// The database cannot be reached, is too old, or its tables are missing, older or newer: [`migrate`](Self::migrate).
    pub async fn connect(self) -> Result<Postgres, Error> {
        connect::connect(self).await
    }

    /// Creates the tables, or brings them up to date: once for a new version of the library, by a role that may. Several
    /// processes may do it at once, and doing it again changes nothing.
    ///
    /// # Errors
    /// The database cannot be reached, is too old, is not encoded as UTF-8, or its tables are newer.
    pub async fn migrate(self) -> Result<(), Error> {
        connect::migrate(self).await
    }
}
