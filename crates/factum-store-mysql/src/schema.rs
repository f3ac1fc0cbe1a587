//! The tables, and how a database gets them: in numbered steps, by an explicit call. MariaDB and MySQL commit every
//! `CREATE TABLE` by itself, so each statement of a step can be run again.
//!
//! The outbox is a public contract: any language may insert into it by plain SQL.

use std::sync::Arc;

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::error::{Error, NO_SUCH_TABLE, number};
use crate::options::Options;
use crate::prefix::Prefix;
use crate::server::{Make, Server};
use crate::session;

/// Each step brings the tables from the version that is its index to the next.
const STEPS: [&str; 1] = [FIRST];

const MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS {p}migrations (
    version BIGINT NOT NULL PRIMARY KEY,
    applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB";

/// Texts are compared by their bytes. The first of the inbox's keys takes 3,060 of the 3,072 bytes that InnoDB allows.
/// `size` lets a read add up what it will bring before it touches data.
const FIRST: &str = "
CREATE TABLE IF NOT EXISTS {p}meta (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value VARCHAR(255) NOT NULL DEFAULT '',
    number BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
INSERT IGNORE INTO {p}meta (name, value, number) VALUES
    ('buckets', '', 64), ('incarnation', left(md5(concat(uuid(), rand())), 16), 0), ('generation', '', 0), ('barrier', '', 0);

CREATE TABLE IF NOT EXISTS {p}outbox (
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    bucket TINYINT AS (conv(left(md5(coalesce(partitionkey, id)), 2), 16, 10) & 63) STORED,
    source VARCHAR(255) NOT NULL,
    id VARCHAR(255) NOT NULL,
    type VARCHAR(255) NOT NULL,
    subject TEXT,
    partitionkey VARCHAR(512),
    time BIGINT NOT NULL DEFAULT (timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6))),
    datacontenttype TEXT NOT NULL DEFAULT ('application/json'),
    dataschema TEXT,
    correlationid TEXT,
    causationid TEXT,
    traceparent TEXT,
    tracestate TEXT,
    extensions TEXT CHECK (extensions IS NULL OR (json_valid(extensions) AND json_type(extensions) = 'OBJECT')),
    data LONGBLOB NOT NULL,
    size BIGINT AS (octet_length(data)) STORED,
    attempts INT NOT NULL DEFAULT 0,
    next_attempt BIGINT,
    reason TEXT,
    UNIQUE KEY event (source, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

CREATE TABLE IF NOT EXISTS {p}lease (
    bucket TINYINT NOT NULL PRIMARY KEY,
    owner VARCHAR(255),
    epoch BIGINT NOT NULL DEFAULT 0,
    until BIGINT NOT NULL DEFAULT 0,
    lasts BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
INSERT IGNORE INTO {p}lease (bucket)
    WITH RECURSIVE bucket (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM bucket WHERE n < 63) SELECT n FROM bucket;

CREATE TABLE IF NOT EXISTS {p}relay (
    owner VARCHAR(255) NOT NULL PRIMARY KEY,
    until BIGINT NOT NULL,
    lasts BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

CREATE TABLE IF NOT EXISTS {p}inbox (
    subscription VARCHAR(255) NOT NULL,
    source VARCHAR(255) NOT NULL,
    id VARCHAR(255) NOT NULL,
    partitionkey VARCHAR(512),
    handled_at BIGINT NOT NULL,
    PRIMARY KEY (subscription, source, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

CREATE TABLE IF NOT EXISTS {p}attempt (
    subscription VARCHAR(255) NOT NULL,
    source VARCHAR(255) NOT NULL,
    id VARCHAR(255) NOT NULL,
    attempts INT NOT NULL,
    PRIMARY KEY (subscription, source, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

CREATE TABLE IF NOT EXISTS {p}checkpoint (
    projection VARCHAR(255) NOT NULL,
    source VARCHAR(255) NOT NULL,
    events BIGINT NOT NULL,
    last VARCHAR(255) NOT NULL,
    PRIMARY KEY (projection, source)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- side: ':relay', or the name of a subscription. seq: where a row of the relay's side was in the outbox.
-- holds: 0 nothing, 1 its key, 2 its whole side.
CREATE TABLE IF NOT EXISTS {p}dead_letter (
    n BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    side VARCHAR(255) NOT NULL,
    state VARCHAR(8) NOT NULL CHECK (state IN ('dead', 'waiting', 'released')),
    holds TINYINT NOT NULL CHECK (holds BETWEEN 0 AND 2),
    ordering_key VARCHAR(512) NOT NULL,
    seq BIGINT,
    sequence TEXT,
    source VARCHAR(255) NOT NULL,
    id VARCHAR(255) NOT NULL,
    type VARCHAR(255) NOT NULL,
    subject TEXT,
    partitionkey VARCHAR(512),
    time BIGINT NOT NULL,
    datacontenttype TEXT NOT NULL,
    dataschema TEXT,
    correlationid TEXT,
    causationid TEXT,
    traceparent TEXT,
    tracestate TEXT,
    extensions TEXT,
    data LONGBLOB NOT NULL,
    attempts INT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    UNIQUE KEY event (side, source, id),
    KEY ordering (side, source(100), ordering_key(200))
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

CREATE TABLE IF NOT EXISTS {p}document (
    collection VARCHAR(64) NOT NULL,
    id VARCHAR(512) NOT NULL,
    version BIGINT NOT NULL,
    body LONGTEXT NOT NULL,
    PRIMARY KEY (collection, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
";

/// Brings the tables up to date. Whoever comes second waits, and finds it done.
pub(crate) async fn migrate(options: &Options) -> Result<(), Error> {
    let prefix = options.names()?;
    let mut db = options.server()?.connect().await?;
    session::prepare(&mut db, options.wait).await?;
    let make = Server::ask(&mut db).await?.check(options)?;
    // Goes with the connection, whatever becomes of it. The name is that of this database and prefix, and short enough.
    let lock = "SELECT if(database() IS NULL, -1, coalesce(get_lock(left(concat('factum ', md5(concat(database(), ' ', ?))), 64), ?), 0))";
    let query = sqlx::query_scalar(lock).bind(prefix.sql("{p}")).bind(LOCK_SECONDS);
    match query.fetch_one(&mut db).await? {
        1_i64 => {}
        -1 => return Err(Error::NoDatabase),
        _ => return Err(Error::Migrating { tables: prefix.to_string(), seconds: LOCK_SECONDS }),
    }
    step_up(&mut db, &prefix, make).await
}

/// How long a migration waits for another.
const LOCK_SECONDS: i64 = 60;

async fn step_up(db: &mut MySqlConnection, prefix: &Prefix, make: Make) -> Result<(), Error> {
    let sql = |text: &str| AssertSqlSafe(prefix.sql(text).replace("{collation}", make.collation()));
    sqlx::raw_sql(sql(MIGRATIONS)).execute(&mut *db).await?;
    let found = version(db, prefix).await?;
    for (version, step) in (1..).zip(STEPS).skip_while(|(version, _)| *version <= found) {
        sqlx::raw_sql(sql(step)).execute(&mut *db).await?;
        let applied = sql("INSERT INTO {p}migrations VALUES (?, utc_timestamp(6))");
        sqlx::query(applied).bind(version).execute(&mut *db).await?;
    }
    Ok(())
}

/// The version of the tables; none that is newer than what is known.
async fn version(db: &mut MySqlConnection, prefix: &Prefix) -> Result<i64, Error> {
    let sql = prefix.sql("SELECT coalesce(max(version), 0) FROM {p}migrations");
    let found = match sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(db).await {
        Err(error) if number(&error) == Some(NO_SUCH_TABLE) => {
            return Err(Error::NoTables { tables: prefix.to_string() });
        }
        found => found?,
    };
    let known = STEPS.len() as i64;
    match found > known {
        true => Err(Error::NewerSchema { tables: prefix.to_string(), found, known }),
        false => Ok(found),
    }
}

/// Whether the tables are what this program works with; answers their incarnation.
pub(crate) async fn verify(db: &mut MySqlConnection, prefix: &Prefix) -> Result<Arc<str>, Error> {
    let (found, known) = (version(db, prefix).await?, STEPS.len() as i64);
    if found < known {
        return Err(match found {
            0 => Error::NoTables { tables: prefix.to_string() },
            _ => Error::OlderSchema { tables: prefix.to_string(), found, known },
        });
    }
    let sql = prefix.sql("SELECT value FROM {p}meta WHERE name = 'incarnation'");
    let incarnation: String = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(db).await?;
    Ok(incarnation.into())
}
