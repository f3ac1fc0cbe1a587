//! How a database is reached, and which of its tables are ours.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool};

use crate::error::Error;
use crate::prefix::Prefix;
use crate::{MySql, schema};

/// Statements that stay prepared on a connection: ours, and what handlers prepare.
const STATEMENTS_KEPT: usize = 256;

/// How a database is reached. Begin with [`MySql::options`].
#[derive(Clone, Debug)]
#[must_use = "options reach nothing until `connect` or `migrate` is called"]
pub struct Options {
    server: MySqlConnectOptions,
    pub(crate) prefix: Prefix,
    pub(crate) connections: usize,
    pub(crate) own_connections: usize,
    pub(crate) wait: Duration,
    pub(crate) trail: Duration,
    pub(crate) accepts_lazy_flush: bool,
    pub(crate) only_announces: bool,
}

impl Options {
    /// The server and database of a URL, as in `mysql://user:password@host:3306/database`.
    ///
    /// # Errors
    /// It is not the URL of a MySQL database.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self::with(MySqlConnectOptions::from_str(url)?))
    }

    /// The server and database of sqlx's options.
    pub fn with(server: MySqlConnectOptions) -> Self {
        Self {
            server: server
                .charset("utf8mb4")
                .set_names(true)
                .statement_cache_capacity(STATEMENTS_KEPT)
                .no_engine_substitution(true),
            prefix: Prefix::default(),
            connections: 8,
            own_connections: 2,
            wait: Duration::from_secs(10),
            trail: Duration::from_secs(5),
            accepts_lazy_flush: false,
            only_announces: false,
        }
    }

    /// The server and database that a pool connects to, with connections of the store's own: nothing that another user
    /// of the pool leaves behind on a connection (a transaction, an isolation level) can reach a unit of work.
    pub fn like(pool: &MySqlPool) -> Self {
        Self::with(MySqlConnectOptions::clone(&pool.connect_options()))
    }

    /// How the names of the tables begin; `factum_` by default.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// How many units of work run at once; at least 1, 8 by default. Each has a connection of its own.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How many connections the store keeps for itself: for relays, for what subscriptions do outside of their units of
    /// work, for tools. At least 1, 2 by default. Nobody else ever has them.
    pub fn own_connections(mut self, connections: usize) -> Self {
        self.own_connections = connections.max(1);
        self
    }

    /// How long to wait for a connection, and for the lock of a row; 10 s by default. Less than the deadline of a
    /// subscription, so that a delivery that had to wait is not taken for one that failed. The answer to a commit, and to
    /// what relays ask, is waited for three times as long; then the connection is given up.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// For how long a number that the outbox has drawn, and that no row can be seen of, may still become one; 5 s by
    /// default. Between the two lie a few instructions of the server; how long this is costs relays a little reading,
    /// and nothing else.
    pub fn trail(mut self, trail: Duration) -> Self {
        self.trail = trail;
        self
    }

    /// Connects also to a server that acknowledges commits before they are on its disk. Then a crash of the server may
    /// take back commits whose events have left: for tests, and for data that can be rebuilt.
    pub fn accept_lazy_flush(mut self, accept: bool) -> Self {
        self.accepts_lazy_flush = accept;
        self
    }

    /// Expects the right to `INSERT` into the outbox, and no other on any table of ours: the version of the tables is
    /// not looked at. For services that announce, and leave relaying and receiving to others.
    pub fn only_announce(mut self, only: bool) -> Self {
        self.only_announces = only;
        self
    }

    /// Connects to tables that are there, and are of the version that this program works with.
    ///
    /// # Errors
    /// The server cannot be reached, is too old, or flushes lazily; the tables are missing, older or newer.
    pub async fn connect(self) -> Result<MySql, Error> {
        MySql::connect_with(self).await
    }

    /// Creates the tables, or brings them up to date. Several processes may do it at once; it can be repeated. It needs
    /// the rights to create, alter and index tables; `connect` does not.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect); or the tables are newer.
    pub async fn migrate(&self) -> Result<(), Error> {
        schema::migrate(self).await
    }

    /// For how long an answer is waited for: longer than any lock.
    pub(crate) fn patience(&self) -> Duration {
        self.wait.saturating_mul(3)
    }

    pub(crate) fn server(&self) -> &MySqlConnectOptions {
        &self.server
    }
}
