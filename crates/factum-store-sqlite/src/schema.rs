//! The tables, and how a file gets them: in numbered steps, each applied once, whoever opens the file first.
//!
//! `factum_outbox` is a public contract: any language may insert into it by plain SQL, as long as it computes `bucket`
//! as documented there.

use std::path::Path;
use std::sync::Arc;

use sqlx::SqliteConnection;

use crate::Sqlite;
use crate::error::Error;
use crate::writer::Writer;

/// Each step brings a file from the version that is its index to the next.
const STEPS: [&str; 2] = [FIRST, RELAYS_SHARE];

const MIGRATIONS: &str = "
CREATE TABLE IF NOT EXISTS factum_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL) STRICT";

const FIRST: &str = "
CREATE TABLE factum_meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO factum_meta VALUES ('buckets', '64'), ('incarnation', lower(hex(randomblob(8))));

-- Insert all but seq, attempts, next_attempt and reason. bucket: first byte of MD5(coalesce(partitionkey, id)), modulo 64.
-- time: microseconds since 1970.
CREATE TABLE factum_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket INTEGER NOT NULL CHECK (bucket BETWEEN 0 AND 63),
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    partitionkey TEXT,
    time INTEGER NOT NULL,
    datacontenttype TEXT NOT NULL DEFAULT 'application/json',
    dataschema TEXT,
    correlationid TEXT,
    causationid TEXT,
    traceparent TEXT,
    tracestate TEXT,
    extensions TEXT CHECK (extensions IS NULL OR json_type(extensions) = 'object'),
    data BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt INTEGER,
    reason TEXT,
    UNIQUE (source, id)
) STRICT;

CREATE TABLE factum_lease (
    bucket INTEGER PRIMARY KEY,
    owner TEXT,
    epoch INTEGER NOT NULL DEFAULT 0,
    until INTEGER NOT NULL DEFAULT 0
) STRICT;
WITH RECURSIVE bucket(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM bucket WHERE n < 63)
INSERT INTO factum_lease (bucket) SELECT n FROM bucket;

CREATE TABLE factum_inbox (
    subscription TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    partitionkey TEXT,
    handled_at INTEGER NOT NULL,
    PRIMARY KEY (subscription, source, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE factum_attempt (
    subscription TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (subscription, source, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE factum_checkpoint (
    projection TEXT NOT NULL,
    source TEXT NOT NULL,
    events INTEGER NOT NULL,
    last TEXT NOT NULL,
    PRIMARY KEY (projection, source)
) STRICT, WITHOUT ROWID;

-- side: ':relay', or the name of a subscription. seq, bucket: where a row of the relay's side was in the outbox.
-- holds: 0 nothing, 1 its key, 2 its whole side.
CREATE TABLE factum_dead_letter (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    side TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('dead', 'waiting', 'released')),
    holds INTEGER NOT NULL CHECK (holds BETWEEN 0 AND 2),
    ordering_key TEXT NOT NULL,
    seq INTEGER,
    bucket INTEGER,
    sequence TEXT,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    partitionkey TEXT,
    time INTEGER NOT NULL,
    datacontenttype TEXT NOT NULL,
    dataschema TEXT,
    correlationid TEXT,
    causationid TEXT,
    traceparent TEXT,
    tracestate TEXT,
    extensions TEXT,
    data BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (side, source, id)
) STRICT;
CREATE INDEX factum_dead_letter_key ON factum_dead_letter (side, source, ordering_key);

-- With a rowid: documents of 1 KB cost a third of what they cost inside the primary key.
CREATE TABLE factum_document (
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (collection, id)
) STRICT;
";

/// Who is at work, so that relays divide the buckets; how long a lease lasts, so that a clock that was set back is
/// noticed; and how often dead letters were put back or discarded.
const RELAYS_SHARE: &str = "
CREATE TABLE factum_relay (
    owner TEXT PRIMARY KEY,
    until INTEGER NOT NULL,
    lasts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE factum_lease ADD COLUMN lasts INTEGER NOT NULL DEFAULT 0;
INSERT INTO factum_meta VALUES ('generation', '0');
";

/// Brings the tables up to date, and answers the file's incarnation. Several processes may do it at once: whoever comes
/// second finds it done.
pub(crate) async fn migrate(writer: &Writer) -> Result<Arc<str>, Error> {
    let mut held = writer.begin(&"opening the file".into()).await?;
    step_up(held.connection(), writer.file()).await?;
    let incarnation: String = sqlx::query_scalar("SELECT value FROM factum_meta WHERE name = 'incarnation'")
        .fetch_one(held.connection())
        .await?;
    Sqlite::finish(held).await.map_err(Error::Migration)?;
    Ok(incarnation.into())
}

async fn step_up(db: &mut SqliteConnection, file: &Path) -> Result<(), Error> {
    let known = STEPS.len() as i64;
    sqlx::raw_sql(MIGRATIONS).execute(&mut *db).await?;
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM factum_migrations")
        .fetch_one(&mut *db)
        .await?;
    if found > known {
        return Err(Error::NewerSchema { file: file.to_path_buf(), found, known });
    }
    for (version, step) in (1..).zip(STEPS).skip_while(|(version, _)| *version <= found) {
        sqlx::raw_sql(step).execute(&mut *db).await?;
        sqlx::query("INSERT INTO factum_migrations VALUES (?, datetime('now'))")
            .bind(version)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}
