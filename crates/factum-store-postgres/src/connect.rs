//! From options to a store: what is in between, what the server is, and whether the tables are there.

use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use crate::error::{Error, code};
use crate::names::{self, Names};
use crate::options::{Chosen, Options};
use crate::partitioned::{Partitioned, Partitions};
use crate::session::{Manners, Path, Sessions};
use crate::texts::Texts;
use crate::{Postgres, Shared, schema};

/// A setting of no meaning that only a session of the server's own has.
const DIRECT: &str = "factum.direct";

/// What every session of ours begins with, where sessions are ours.
const SESSION: [(&str, &str); 2] = [(DIRECT, "yes"), ("default_transaction_isolation", "read committed")];

/// A read of the outbox is short, and costs much by the planner's count, which takes a `LIMIT` that it does not see for a
/// tenth of the table: above some 350,000 rows PostgreSQL would compile each one, which takes ten times as long as the read.
const NO_JIT: (&str, &str) = ("jit", "off");

/// `protocol_violation`: what a pooler answers to settings that it cannot keep apart.
const PROTOCOL_VIOLATION: &str = "08P01";

/// Statements that stay prepared on a connection, the application's included.
const STATEMENTS_KEPT: usize = 256;

/// A connection to look through, and what it has shown.
struct Setting {
    names: Names,
    manners: Manners,
    life: Option<schema::Life>,
}

/// How to connect, and whether sessions are shared by a pooler.
struct Way {
    options: PgConnectOptions,
    pooled: bool,
}

impl Way {
    fn direct(options: &PgConnectOptions) -> Self {
        let says_it = options.get_options().is_some_and(|options| options.contains("jit="));
        let jit = Some(NO_JIT).filter(|_| !says_it);
        let options = options.clone().options(SESSION.into_iter().chain(jit));
        let options = options.statement_cache_capacity(STATEMENTS_KEPT);
        Self { options, pooled: false }
    }

    /// Such a pooler refuses, or ignores, what it does not know.
    fn pooled(options: &PgConnectOptions) -> Self {
        Self { options: options.clone().extra_float_digits(None).statement_cache_capacity(0), pooled: true }
    }

    async fn find(options: &PgConnectOptions, asked: Option<bool>) -> Result<(Self, PgConnection), Error> {
        if asked == Some(true) {
            return Self::pooled(options).connect().await;
        }
        let (way, mut db) = match Self::direct(options).connect().await {
            Err(Error::Postgres(error)) if asked.is_none() && is_pooler(&error) => {
                return Self::pooled(options).connect().await;
            }
            other => other?,
        };
        if asked.is_none() && !is_direct(&mut db).await? {
            let _ = db.close().await;
            return Self::pooled(options).connect().await;
        }
        Ok((way, db))
    }

    async fn connect(self) -> Result<(Self, PgConnection), Error> {
        let db = self.options.connect().await?;
        Ok((self, db))
    }
}

fn is_pooler(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == PROTOCOL_VIOLATION)
}

/// By the simple protocol, as all that is asked before it is known whether a session is ours.
async fn is_direct(db: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT current_setting('factum.direct', true)").fetch_one(db).await?;
    Ok(row.try_get::<Option<&str>, _>(0)? == Some("yes"))
}

pub(crate) async fn migrate(options: &Options) -> Result<(), Error> {
    let chosen = options.names()?;
    let (_, mut db) = Way::find(&options.server()?, options.pooled).await?;
    schema::check_server(db.server_version_num().unwrap_or(u32::MAX))?;
    let names = names_of(&mut db, chosen).await?;
    let migrated = schema::migrate(&mut db, &names, options.partitions).await;
    let _ = db.close().await;
    migrated
}

pub(crate) async fn connect(options: Options) -> Result<Postgres, Error> {
    let chosen = options.names()?;
    let (way, mut db) = Way::find(&options.server()?, options.pooled).await?;
    schema::check_server(db.server_version_num().unwrap_or(u32::MAX))?;
    let setting = look(&mut db, chosen, way.pooled).await?;
    let _ = db.close().await;
    let pooled = way.pooled;
    let line = way.options.clone();
    let connections = usize::try_from(options.connections).unwrap_or(usize::MAX);
    let sessions = Sessions::new(way.options, connections, options.wait, setting.manners);
    let wake = crate::wake::Wake::new(line, options.wait, setting.names.channel(), pooled);
    let mut texts = Texts::new(&setting.names, options.isolation, setting.manners);
    let partitions = setting.life.as_ref().and_then(|life| life.partitions);
    if partitions.is_some() {
        Partitions::instead(&setting.names, &mut texts);
    }
    let partitioned = partitions.map(|partitions| Partitioned::new(partitions, &setting.names));
    let incarnation = setting.life.map(|life| life.incarnation.into());
    let shared = Shared::new(sessions, texts, incarnation, wake, partitioned);
    Ok(Postgres { shared: Arc::new(shared), seen: factum::port::Seen::default() })
}

/// All in one transaction: behind a pooler two statements might be in two sessions.
async fn look(db: &mut PgConnection, chosen: Chosen, pooled: bool) -> Result<Setting, Error> {
    let mut tx = db.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY").await?;
    let names = names_of(&mut tx, chosen).await?;
    let asked = "SELECT current_setting('default_transaction_isolation') = 'read committed',
        $1 = ANY (current_schemas(false)), to_regclass('factum_document') IS NULL OR to_regclass('factum_document') = to_regclass($2)";
    let query = sqlx::query(asked).persistent(false).bind(names.schema());
    let row: PgRow = query.bind(names.fill("{schema}.factum_document")).fetch_one(&mut *tx).await?;
    let reads_committed: bool = row.try_get(0)?;
    let path = match (row.try_get(1)?, row.try_get::<Option<bool>, _>(2)?) {
        (true, Some(true)) => Path::AsItIs,
        (false, Some(true)) => Path::Last,
        _ => Path::First,
    };
    let life = schema::verify(&mut tx, &names).await;
    tx.rollback().await?;
    let manners = Manners { pooled, begins_each: pooled || !reads_committed, path };
    Ok(Setting { names, manners, life: life? })
}

/// Where no schema was chosen the connection says which.
async fn names_of(db: &mut PgConnection, chosen: Chosen) -> Result<Names, Error> {
    let Chosen { schema, prefix } = chosen;
    if let Some(schema) = schema {
        return Ok(Names::new(schema, prefix));
    }
    let row = sqlx::raw_sql("SELECT current_schema()::text").fetch_one(db).await?;
    match row.try_get::<Option<&str>, _>(0)? {
        Some(schema) => Ok(Names::new(names::schema(schema)?, prefix)),
        None => Err(Error::NoSchema),
    }
}
