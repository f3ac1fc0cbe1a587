//! factum's store on MariaDB and MySQL: units of work, outbox, inbox and documents in tables beside your own.
//!
//! Every unit of work is an XA transaction, though it is never prepared: inside one the server refuses whatever would
//! commit half of it, and a commit proves itself by the name that the transaction was begun with. The store has
//! connections of its own, and needs a tokio runtime. MariaDB 10.6 and later (tested on 10.11) and MySQL 8.0.17 and later
//! (untested); it refuses older ones, clusters in which every node writes, and servers that acknowledge a commit before it
//! is on the disk.
//!
//! ```no_run
//! # async fn open() -> Result<(), factum_store_mysql::Error> {
//! use factum::{Dispatcher, Work};
//! use factum_store_mysql::MySql;
//!
//! let options = MySql::options("mysql://shop@db.example/shop");
//! // Once, by whoever may create tables:
//! options.migrate().await?;
//! let store = options.connect().await?;
//! let work = Work::new("https://shop.example/ordering", store, Dispatcher::default());
//! # Ok(())
//! # }
//! ```
//!
//! # What it needs of the server
//!
//! - **Rights:** `SELECT`, `INSERT`, `UPDATE` and `DELETE` on its tables; `INSERT` into the outbox alone for a service that
//!   [only announces](Options::only_announce); `CREATE`, `ALTER` and `INDEX` for [`Options::migrate`]. None on the server.
//! - **Durability:** `innodb_flush_log_at_trx_commit = 1`, and `sync_binlog = 1` where there is a binary log; both are looked
//!   at when it connects. It cannot know what is set later.
//! - **A binary log** in the format `ROW` or `MIXED`: transactions are `READ COMMITTED`.
//! - **One writer:** rows are announced on one primary. Replicas may follow it; Galera is refused.
//! - **TLS** is the application's choice: a feature of sqlx, and `?ssl-mode=VERIFY_IDENTITY` in the URL. Without them sqlx
//!   speaks plain text, and says nothing of it. Plain text to MySQL 8 needs sqlx's feature `mysql-rsa`.
//! - **`max_allowed_packet`** above the largest envelope; 16 MiB is usual. What is too large is refused with what to set.
//!
//! Isolation level, time zone, language, character set and `sql_mode` of the server make no difference.
//!
//! # What differs from other stores
//!
//! - What a handler gets is a [`Connection`], which derefs to sqlx's: `sqlx::query("..").execute(&mut **connection)`.
//! - A statement that commits by itself (`CREATE TABLE`, `TRUNCATE`, ..) is an error inside a unit of work, and so are
//!   `COMMIT` and `BEGIN`; `begin()` by sqlx is a savepoint.
//! - A `source`, an id and the name of a subscription have 255 characters at most, because together they are a key.
//! - Nobody tells relays of other processes that something was announced: they look, within a second by default.

mod dead_letters;
mod documents;
mod error;
mod horizon;
mod inbox;
mod inspect;
mod lease;
mod options;
mod outbox;
mod pool;
mod prefix;
mod readers;
mod rows;
mod schema;
mod server;
mod session;
mod settle;
mod texts;
mod to_the_end;
mod transaction;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::Error;
pub use options::Options;
pub use session::Connection;
pub use transaction::Tx;

use factum::port::{Hint, Seen};
use horizon::Horizon;
use pool::{Held, Pool};
use readers::Readers;
use server::Server;
use sqlx::ConnectOptions as _;
use texts::Texts;

/// A database that holds units of work. Cheap to clone; clones share its connections.
#[derive(Clone, Debug)]
pub struct MySql {
    shared: Arc<Shared>,
    seen: Seen,
    readers: Readers,
}

#[derive(Debug)]
struct Shared {
    /// For units of work: what handlers leave behind on a connection stays among them.
    units: Pool,
    /// For the store itself: nobody else ever has them.
    own: Pool,
    texts: Arc<Texts>,
    incarnation: Option<Arc<str>>,
    packet_max: usize,
    is_lazy: bool,
    /// For so long at most an answer is waited for.
    patience: Duration,
    hint: Hint,
    horizon: tokio::sync::Mutex<Horizon>,
    known: lease::Known,
    measures: factum::port::Measures,
    began: Instant,
}

impl MySql {
    /// Connects with the default options to a database whose tables are there.
    ///
    /// # Errors
    /// As for [`Options::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::options(url).connect().await
    }

    /// How to reach a database: a URL as in `mysql://user:password@host:3306/database`.
    pub fn options(url: &str) -> Options {
        Options::new(url)
    }

    async fn connect_with(options: Options) -> Result<Self, Error> {
        let (prefix, connect) = (options.names()?, Arc::new(options.server()?));
        let mut db = connect.connect().await?;
        let server = Server::ask(&mut db).await?;
        let make = server.check(&options)?;
        let incarnation = match options.only_announces {
            true => None,
            false => Some(schema::verify(&mut db, &prefix).await?),
        };
        let texts = Arc::new(Texts::new(&prefix, make));
        let pool = |connections| {
            let connections = usize::try_from(connections).unwrap_or(usize::MAX);
            Pool::new(Arc::clone(&connect), Arc::clone(&texts), connections, options.wait)
        };
        let shared = Shared {
            units: pool(options.connections),
            own: pool(options.own_connections),
            texts: Arc::clone(&texts),
            incarnation,
            packet_max: server.packet_max,
            is_lazy: options.accepts_lazy_flush,
            patience: options.patience(),
            hint: Hint::default(),
            known: lease::Known::default(),
            measures: factum::port::Measures::default(),
            horizon: tokio::sync::Mutex::new(Horizon::new(options.trail)),
            began: Instant::now(),
        };
        Ok(Self { shared: Arc::new(shared), seen: Seen::default(), readers: Readers::default() })
    }

    /// Tells the relays of this process that something may be in the outbox. A unit of work does it by itself; call it
    /// after the commit of a transaction of your own that [`append`](Self::append) took part in.
    pub fn wake(&self) {
        self.shared.hint.give();
    }

    /// The life of this database: the first half of every `sequence` that it gives out. `None`: this store
    /// [only announces](Options::only_announce).
    pub fn incarnation(&self) -> Option<&str> {
        self.shared.incarnation.as_deref()
    }

    /// Waits for what the store does by itself, but not without end: a connection that somebody swallowed stays silent.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, factum::BoxError>> + Send,
    ) -> Result<T, factum::BoxError> {
        let waited = self.shared.patience;
        match tokio::time::timeout(waited, work).await {
            Ok(done) => done,
            Err(_) => Err(Error::Silent { waited }.into()),
        }
    }

    /// Ends a transaction of the store's own.
    async fn finish(&self, held: Held) -> Result<(), factum::BoxError> {
        use factum::port::NotCommitted::{RolledBack, Unknown};
        held.commit(self.shared.patience).await.map_err(|failure| match failure {
            RolledBack(error) | Unknown(error) => error,
        })
    }
}
