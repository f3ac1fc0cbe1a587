//! factum's store on PostgreSQL 13 or later: units of work, outbox, inbox and documents.
//!
//! Every unit of work proves at commit that its transaction is still its own: a mark is set when it begins, and what is
//! written last asks for it, so a swallowed error or a handler's own `ROLLBACK` cannot pass for a commit. A relay reads
//! by state, sees nothing that a crash could take back, and shows no younger event of a key before an older one, although
//! writers commit in any order. It needs a tokio runtime with time and io; it works behind PgBouncer in transaction mode.
//!
//! The tables are made by an explicit call, and only looked at on connecting.
//!
//! ```no_run
//! # async fn open() -> Result<(), factum_store_postgres::Error> {
//! use factum::{Dispatcher, Work};
//! use factum_store_postgres::Postgres;
//!
//! let options = Postgres::options("postgres://shop@db.example/shop");
//! // Once, by whoever may create tables:
//! options.migrate().await?;
//! let store = options.connect().await?;
//! let work = Work::new("https://shop.example/ordering", store, Dispatcher::default());
//! # Ok(())
//! # }
//! ```

mod connect;
mod dead_letters;
mod documents;
mod durable;
mod error;
mod inbox;
mod inspect;
mod lease;
mod names;
mod options;
mod outbox;
mod partitioned;
mod read;
mod relay;
mod rows;
mod schema;
mod session;
mod settle;
mod slots;
mod texts;
mod to_the_end;
mod transaction;
mod wake;
mod writers;

use std::sync::{Arc, Mutex};

pub use error::Error;
pub use options::{Isolation, Options};
pub use transaction::Tx;

use durable::Durable;
use factum::port::{Hint, Seen};
use partitioned::Partitioned;
use session::{Held, Sessions};
use texts::Texts;
use wake::Wake;
use writers::Writers;

/// A database that holds units of work. Cheap to clone; all clones share the connections.
#[derive(Clone, Debug)]
pub struct Postgres {
    shared: Arc<Shared>,
    seen: Seen,
}

#[derive(Debug)]
struct Shared {
    sessions: Sessions,
    texts: Texts,
    incarnation: Option<Arc<str>>,
    hint: Arc<Hint>,
    wake: Wake,
    writers: Mutex<Writers>,
    durable: Durable,
    measures: factum::port::Measures,
    /// Where the outbox is divided.
    partitioned: Option<Partitioned>,
}

impl Shared {
    fn new(
        sessions: Sessions,
        texts: Texts,
        incarnation: Option<Arc<str>>,
        wake: Wake,
        partitioned: Option<Partitioned>,
    ) -> Self {
        let (hint, writers) = (Arc::default(), Mutex::default());
        let (durable, measures) = (Durable::default(), factum::port::Measures::default());
        Self { sessions, texts, incarnation, hint, wake, writers, durable, measures, partitioned }
    }

    /// Something is in the outbox: the relays of this process know at once, others soon.
    fn announced(&self) {
        self.hint.give();
        self.wake.tell();
    }
}

impl Postgres {
    /// Connects with the default options to a database whose tables are there.
    ///
    /// # Errors
    /// As for [`Options::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::options(url).connect().await
    }

    /// How to reach a database: a URL as in `postgres://user:password@host:5432/database`.
    pub fn options(url: &str) -> Options {
        Options::new(url)
    }

    /// Tells relays, of this process and of others, that something may be in the outbox. A unit of work does it by
    /// itself; call it after the commit of a transaction of your own that [`append`](Self::append) took part in.
    pub fn wake(&self) {
        self.shared.announced();
    }

    /// The life of this database: the first half of every `sequence` that it gives out. `None`: this role may only
    /// announce.
    pub fn incarnation(&self) -> Option<&str> {
        self.shared.incarnation.as_deref()
    }

    /// Whether a pooler that shares sessions is in between: what was found out, or what
    /// [`Options::pooled`] said.
    pub fn is_pooled(&self) -> bool {
        self.shared.sessions.manners().pooled
    }

    /// A transaction of this store's own.
    async fn own(&self) -> Result<Held, Error> {
        self.shared.sessions.begin(&self.shared.texts.begin_own).await
    }
}
