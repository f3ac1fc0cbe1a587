//! One connection and its transaction, which is an XA transaction, though it is never prepared: inside one the server
//! itself refuses `COMMIT`, `ROLLBACK`, `BEGIN` and every statement that commits by itself, and once it has rolled one
//! back it refuses all else. So a unit of work ends in one way only, by the name that it was begun with.
//!
//! What was asked of a connection and not waited for leaves it in an unknown state, in the protocol too. It is never
//! lent again before it has echoed a name that was never used before; then whatever came before it has been read.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use factum::port::{Access, NotCommitted};
use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlTransactionManager};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Either, Row as _, SqlSafeStr as _};
use sqlx_core::transaction::TransactionManager as _;

use crate::error::{Error, is_ended, is_refusal, number};
use crate::texts::Texts;

/// A connection that was not used for so long is asked whether it still is one.
const STALE: Duration = Duration::from_secs(5);

/// How long it may take to answer that.
const PING: Duration = Duration::from_secs(2);

/// A connection of a store's own, on which a transaction of a unit of work is open. It derefs to sqlx's
/// [`MySqlConnection`]: `sqlx::query("..").execute(&mut **connection)`. A `begin` on it is a savepoint.
#[derive(Debug)]
pub struct Connection {
    db: MySqlConnection,
    texts: Arc<Texts>,
    /// The server's number for it.
    id: u64,
    /// Makes names that were never used before on this connection; with `id`, on this server.
    names: u64,
    used: Instant,
}

/// Why a commit gave no proof, and whether the transaction is still open.
pub(crate) enum Failure {
    /// It was refused, and is to be rolled back.
    Refused(sqlx::Error),
    /// Nobody knows.
    Unknown(Error),
}

/// Sets what every transaction of ours relies on. Strict: nothing is cut off to fit.
pub(crate) async fn prepare(db: &mut MySqlConnection, wait: Duration) -> Result<(), sqlx::Error> {
    let text = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
         SET SESSION autocommit = 1, innodb_lock_wait_timeout = {},
             sql_mode = concat(@@sql_mode, ',STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION')",
        wait.as_secs().clamp(1, 1_000_000)
    );
    sqlx::raw_sql(AssertSqlSafe(text)).execute(db).await?;
    Ok(())
}

impl Deref for Connection {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.db
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.db
    }
}

impl Connection {
    pub(crate) async fn open(
        options: &MySqlConnectOptions,
        wait: Duration,
        texts: Arc<Texts>,
    ) -> Result<Self, sqlx::Error> {
        let mut db = options.connect().await?;
        prepare(&mut db, wait).await?;
        // sqlx counts depth; from now on it is 1 for good, so that a `begin` of the application is a savepoint.
        MySqlTransactionManager::begin(&mut db, Some("START TRANSACTION".into_sql_str())).await?;
        let id = sqlx::raw_sql("ROLLBACK; SELECT connection_id()").fetch_one(&mut db).await?.try_get(0)?;
        Ok(Self { db, texts, id, names: 0, used: Instant::now() })
    }

    /// Our SQL, and what it is sent on.
    pub(crate) fn parts(&mut self) -> (&Texts, &mut MySqlConnection) {
        (&self.texts, &mut self.db)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether a connection that lay idle can be used.
    pub(crate) async fn is_there(&mut self) -> bool {
        let stale = self.used.elapsed() > STALE;
        self.used = Instant::now();
        // A firewall may have forgotten it, and swallow what is said.
        !stale || matches!(tokio::time::timeout(PING, self.db.ping()).await, Ok(Ok(())))
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("factum {} {}", self.id, self.names)
    }

    /// Begins a transaction, and answers its name.
    pub(crate) async fn begin(&mut self, access: Access) -> Result<String, sqlx::Error> {
        let name = self.name();
        let text = match access {
            // As the session was prepared to: READ COMMITTED.
            Access::Write => format!("XA START '{name}'"),
            Access::Read => {
                format!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; XA START '{name}'")
            }
        };
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut self.db).await?;
        Ok(name)
    }

    /// Commits the transaction of this name, and proves that it did: by two answers, of which the first says that the
    /// other follows. No answer to something else that nobody has waited for looks like that and is followed by none.
    pub(crate) async fn commit(&mut self, name: &str) -> Result<(), Failure> {
        let text = format!("XA END '{name}'; XA COMMIT '{name}' ONE PHASE");
        let mut answers = sqlx::raw_sql(AssertSqlSafe(text)).fetch_many(&mut self.db);
        let (mut done, mut rows) = (0, 0);
        loop {
            match answers.try_next().await {
                Ok(Some(Either::Left(_))) => done += 1,
                Ok(Some(Either::Right(_))) => rows += 1,
                Ok(None) if (done, rows) == (2, 0) => return Ok(()),
                Ok(None) => return Err(Failure::Unknown(Error::Unseen)),
                Err(error) if done == 0 && number(&error).is_some() || is_refusal(&error) => {
                    return Err(Failure::Refused(error));
                }
                Err(error) => return Err(Failure::Unknown(error.into())),
            }
        }
    }

    /// Ends whatever is open; `name` is that of the transaction that may be. `false`: the connection is of no use.
    pub(crate) async fn clean(&mut self, name: Option<&str>) -> bool {
        let Some(name) = name else { return self.echoes("ROLLBACK").await };
        // One that the server has rolled back already can no longer be ended, and one that never began is not known.
        self.echoes(&format!("XA END '{name}'; XA ROLLBACK '{name}'")).await
            || self.echoes(&format!("XA ROLLBACK '{name}'")).await
            || self.echoes("ROLLBACK").await
    }

    /// Whether all of a text succeeds, and everything that was asked before has been answered.
    async fn echoes(&mut self, text: &str) -> bool {
        let name = self.name();
        let text = format!("{text}; SELECT '{name}'");
        let rows = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut self.db).await;
        rows.is_ok_and(|rows| rows.last().is_some_and(|row| is(row, &name)))
    }
}

fn is(row: &MySqlRow, name: &str) -> bool {
    row.try_get::<&str, _>(0).is_ok_and(|found| found == name)
}

impl Failure {
    /// As the port says it. What the server had ended is told as that.
    pub(crate) fn into_not_committed(self) -> NotCommitted {
        match self {
            Self::Refused(error) if is_ended(&error) => Error::Ended(error).into(),
            Self::Refused(error) => Error::from(error).into(),
            Self::Unknown(error) => NotCommitted::Unknown(error.into()),
        }
    }
}
