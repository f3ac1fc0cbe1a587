//! factum's store on SQLite: units of work, outbox, inbox and documents in one file.
//!
//! One connection of the process writes, and units of work take turns on it; a few others read. Every unit of work
//! proves at commit that its transaction is still its own: SQLite's hooks veto any other commit on that connection, so
//! a swallowed error cannot leave half of it behind. It needs a tokio runtime with a timer, and refuses databases in
//! memory: an outbox that dies with its process promises nothing.
//!
//! ```
//! # async fn open() -> Result<(), factum_store_sqlite::Error> {
//! use factum::{Dispatcher, Work};
//! use factum_store_sqlite::Sqlite;
//!
//! let store = Sqlite::open("shop.db").await?;
//! let work = Work::new("https://shop.example/ordering", store, Dispatcher::default());
//! # Ok(())
//! # }
//! ```

mod dead_letters;
mod documents;
mod error;
mod gate;
mod inbox;
mod inspect;
mod options;
mod outbox;
mod readers;
mod rows;
mod schema;
mod session;
mod texts;
mod to_the_end;
mod transaction;
mod turns;
mod writer;

use std::path::Path;
use std::sync::Arc;

pub use error::Error;
pub use options::{Options, Synchronous};
pub use transaction::Tx;

use factum::port::{Hint, Seen};
use readers::Readers;
use session::Held;
use texts::ByRows;
use writer::Writer;

/// A database file that holds units of work. Cheap to clone; every clone shares the one writer.
#[derive(Clone, Debug)]
pub struct Sqlite {
    shared: Arc<Shared>,
    seen: Seen,
}

#[derive(Debug)]
struct Shared {
    writer: Writer,
    /// The application's, whose snapshots may stay open for long.
    readers: Readers,
    /// For the single queries of relays, subscriptions and tools.
    own_reader: Readers,
    incarnation: Arc<str>,
    hint: Hint,
    texts: Texts,
}

/// Every text that depends on a number of rows.
#[derive(Debug)]
struct Texts {
    append: ByRows,
}

impl Sqlite {
    /// Opens a file with the default options, creating it as needed.
    ///
    /// # Errors
    /// As for [`Options::open`].
    pub async fn open(file: impl AsRef<Path>) -> Result<Self, Error> {
        Self::options(file).open().await
    }

    /// How to open a file.
    pub fn options(file: impl AsRef<Path>) -> Options {
        Options::new(file.as_ref())
    }

    async fn open_with(options: Options) -> Result<Self, Error> {
        let writer = Writer::new(options.writer(), options.wait_limit());
        let incarnation = schema::migrate(&writer).await?;
        let shared = Shared {
            writer,
            readers: Readers::new(options.reader(), options.reader_count(), options.wait_limit()),
            own_reader: Readers::new(options.reader(), 1, options.wait_limit()),
            incarnation,
            hint: Hint::default(),
            texts: Texts { append: ByRows::new(outbox::append_text) },
        };
        Ok(Self { shared: Arc::new(shared), seen: Seen::default() })
    }

    /// Tells the relays of this process that something may be in the outbox. A unit of work does it by itself; call it
    /// after the commit of a transaction of your own that [`append`](Self::append) took part in.
    pub fn wake(&self) {
        self.shared.hint.give();
    }

    /// The life of this database: the first half of every `sequence` that it gives out.
    pub fn incarnation(&self) -> &str {
        &self.shared.incarnation
    }

    /// A transaction of this store's own.
    async fn write(&self, who: &'static str) -> Result<Held, Error> {
        self.shared.writer.begin(&who.into()).await
    }

    /// Ends it.
    async fn finish(held: Held) -> Result<(), factum::BoxError> {
        use factum::port::NotCommitted::{RolledBack, Unknown};
        held.commit(None).await.map_err(|failure| match failure {
            RolledBack(error) | Unknown(error) => error,
        })
    }
}
