//! How a database is reached, and which of its tables are ours.

use std::fmt;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool};

use crate::error::Error;
use crate::prefix::Prefix;
use crate::{MySql, schema};

/// Statements that stay prepared on a connection: ours, and what handlers prepare.
const STATEMENTS_KEPT: usize = 256;

/// Where the database is.
#[derive(Clone)]
enum Origin {
    Url(String),
    Server(Box<MySqlConnectOptions>),
}

/// How a database is reached. Begin with [`MySql::options`].
#[derive(Clone)]
#[must_use = "options reach nothing until `connect` or `migrate` is called"]
pub struct Options {
    origin: Origin,
    prefix: String,
    pub(crate) connections: u32,
    pub(crate) own_connections: u32,
    pub(crate) wait: Duration,
    pub(crate) trail: Duration,
    pub(crate) accepts_lazy_flush: bool,
    pub(crate) only_announces: bool,
}

impl Options {
    pub(crate) fn new(url: &str) -> Self {
        Self::at(Origin::Url(url.to_owned()))
    }

    fn at(origin: Origin) -> Self {
        Self {
            origin,
            prefix: "factum_".into(),
            connections: 8,
            own_connections: 2,
            wait: Duration::from_secs(10),
            trail: Duration::from_secs(5),
            accepts_lazy_flush: false,
            only_announces: false,
        }
    }

    /// The server and database of sqlx's options, for what a URL does not say.
    pub fn with(server: MySqlConnectOptions) -> Self {
        Self::at(Origin::Server(Box::new(server)))
    }

    /// The server and database of a pool that the application has already, with as many connections as that may have.
    /// They are the store's own: nothing that another user of the pool leaves behind on a connection (a transaction, an
    /// isolation level) can reach a unit of work.
    pub fn like(pool: &MySqlPool) -> Self {
        let server = MySqlConnectOptions::clone(&pool.connect_options());
        Self::with(server).connections(pool.options().get_max_connections())
    }

    /// What the names of the tables begin with; `factum_` by default. Lower-case letters, digits and `_`, at most 39.
    /// Several services can share a database under different ones.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The most connections for units of work, and so how many of them run at once; 8 by default, and 1 at least.
    pub fn connections(mut self, most: u32) -> Self {
        self.connections = most.max(1);
        self
    }

    /// How many connections the store keeps for itself: for relays, for what subscriptions do outside of their units of
    /// work, for tools; 2 by default, and 1 at least. Nobody else ever has them.
    pub fn own_connections(mut self, most: u32) -> Self {
        self.own_connections = most.max(1);
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
    /// The URL or the prefix cannot be used; the server cannot be reached, is too old, or flushes lazily; the tables are missing, older or newer.
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

    /// Checked before anything is asked of a server.
    pub(crate) fn names(&self) -> Result<Prefix, Error> {
        Prefix::new(&self.prefix)
    }

    pub(crate) fn server(&self) -> Result<MySqlConnectOptions, Error> {
        let server = match &self.origin {
            Origin::Url(url) => url.parse()?,
            Origin::Server(server) => MySqlConnectOptions::clone(server),
        };
        Ok(server
            .charset("utf8mb4")
            .set_names(true)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .no_engine_substitution(true))
    }
}

/// Without the server, which may hold a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("own_connections", &self.own_connections)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_error_and_no_debug_output() {
        for url in ["mysql://user:secret@host:port/x", "mysql://user:secret@host/x"] {
            let options = Options::new(url);
            let said = format!("{options:?} {:?}", options.server().map(|_server| ()));
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
