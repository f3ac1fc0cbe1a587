//! The tables, and how a database gets them: in numbered steps, each applied once, by an explicit call.
//!
//! `{prefix}outbox` is a public contract: any language may insert into it by plain SQL.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::error::Error;
use crate::names::Names;
use crate::partitioned::{self, Partitions};

/// Each step brings a database from the version that is its index to the next.
const STEPS: [&str; 1] = [FIRST];

/// What this program needs.
const KNOWN: i32 = STEPS.len() as i32;

/// The oldest server that will do, as libpq numbers them.
const OLDEST_SERVER: u32 = 13_00_00;

const MIGRATIONS: &str = "
CREATE TABLE IF NOT EXISTS {prefix}migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)";

/// Whatever it is made of.
const OUTBOX_COMMENT: &str = "COMMENT ON TABLE {prefix}outbox IS
    'Integration events to be told. Insert source, id, type and data (bytes, e.g. convert_to(json, ''UTF8'')), and any other CloudEvents attribute; never seq, bucket, synchronous, attempts, next_attempt or reason.';";

const FIRST: &str = r#"
CREATE TABLE {prefix}meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    buckets integer NOT NULL DEFAULT 64,
    incarnation text NOT NULL DEFAULT left(replace(gen_random_uuid()::text, '-', ''), 16),
    generation bigint NOT NULL DEFAULT 0,
    partition_rows bigint
) WITH (fillfactor = 50);
COMMENT ON TABLE {prefix}meta IS 'The life of this database, and how often a dead letter was requeued or discarded.';
INSERT INTO {prefix}meta DEFAULT VALUES;

CREATE TABLE {prefix}outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    bucket smallint NOT NULL GENERATED ALWAYS AS
        (('x' || left(md5(coalesce(partitionkey, id)), 2))::bit(8)::integer % 64) STORED,
    synchronous boolean NOT NULL DEFAULT (current_setting('synchronous_commit') <> 'off'),
    attempts integer NOT NULL DEFAULT 0,
    source text COLLATE "C" NOT NULL CONSTRAINT {bare}outbox_source_is_not_empty CHECK (source <> ''),
    id text COLLATE "C" NOT NULL CONSTRAINT {bare}outbox_id_1_to_255_bytes CHECK (octet_length(id) BETWEEN 1 AND 255),
    type text NOT NULL CONSTRAINT {bare}outbox_type_1_to_255_bytes CHECK (octet_length(type) BETWEEN 1 AND 255),
    subject text,
    partitionkey text COLLATE "C"
        CONSTRAINT {bare}outbox_key_1_to_512_bytes CHECK (octet_length(partitionkey) BETWEEN 1 AND 512),
    time timestamptz NOT NULL DEFAULT clock_timestamp(),
    datacontenttype text NOT NULL DEFAULT 'application/json',
    dataschema text,
    correlationid text,
    causationid text,
    traceparent text,
    tracestate text,
    extensions jsonb CONSTRAINT {bare}outbox_ext_is_an_object CHECK (jsonb_typeof(extensions) = 'object'),
    data bytea NOT NULL
        CONSTRAINT {bare}outbox_data_16_mib CHECK (octet_length(data) <= 16777216),
    next_attempt timestamptz,
    reason text,
    UNIQUE (source, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000, autovacuum_vacuum_cost_delay = 0);

-- lasts: how long the lease was asked for; one that ends later than that from now has expired, the clock was set back.
CREATE TABLE {prefix}lease (
    bucket smallint PRIMARY KEY,
    owner text,
    epoch bigint NOT NULL DEFAULT 0,
    until timestamptz NOT NULL DEFAULT '-infinity',
    lasts interval NOT NULL DEFAULT '0'
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO {prefix}lease (bucket) SELECT generate_series(0, 63);

CREATE TABLE {prefix}relay (
    owner text PRIMARY KEY,
    until timestamptz NOT NULL,
    lasts interval NOT NULL
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE {prefix}inbox (
    subscription text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    partitionkey text,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subscription, source, id)
);

CREATE TABLE {prefix}attempt (
    subscription text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    attempts integer NOT NULL,
    PRIMARY KEY (subscription, source, id)
) WITH (fillfactor = 70);

CREATE TABLE {prefix}checkpoint (
    projection text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    events bigint NOT NULL,
    last text NOT NULL,
    PRIMARY KEY (projection, source)
) WITH (fillfactor = 50);

-- side: ':relay', or the name of a subscription. seq, bucket: where a row of the relay's side was in the outbox.
-- holds: 0 nothing, 1 its key, 2 its whole side.
CREATE TABLE {prefix}dead_letter (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    side text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('dead', 'waiting', 'released')),
    holds smallint NOT NULL CHECK (holds BETWEEN 0 AND 2),
    ordering_key text COLLATE "C" NOT NULL,
    seq bigint,
    bucket smallint,
    sequence text,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    subject text,
    partitionkey text COLLATE "C",
    time timestamptz NOT NULL,
    datacontenttype text NOT NULL,
    dataschema text,
    correlationid text,
    causationid text,
    traceparent text,
    tracestate text,
    extensions jsonb,
    data bytea NOT NULL,
    attempts integer NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    UNIQUE (side, source, id)
);
CREATE INDEX {bare}dead_letter_ordering_key ON {prefix}dead_letter (side, source, ordering_key);

-- Not prefixed: all that share a schema share their documents.
CREATE TABLE IF NOT EXISTS {schema}.factum_document (
    collection text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    body json NOT NULL,
    PRIMARY KEY (collection, id)
) WITH (fillfactor = 70);
"#;

pub(crate) fn check_server(version: u32) -> Result<(), Error> {
    match version < OLDEST_SERVER {
        true => Err(Error::OldServer { found: version / 10_000, needed: OLDEST_SERVER / 10_000 }),
        false => Ok(()),
    }
}

/// Brings the tables up to date. Several processes may do it at once: whoever comes second finds it done.
pub(crate) async fn migrate(
    db: &mut PgConnection,
    names: &Names,
    partitions: Option<Partitions>,
) -> Result<(), Error> {
    // All in one transaction: behind a pooler two statements might be in two sessions.
    let mut tx = db.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    check_encoding(&mut tx).await?;
    // Gone with the transaction, whatever happens. One for all prefixes of a schema: they make the schema, and share the
    // documents, and `IF NOT EXISTS` is no help to two at a time.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    sqlx::query(lock).persistent(false).bind(names.fill("{schema}.factum")).execute(&mut *tx).await?;
    let exists = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)";
    if !sqlx::query_scalar(exists).persistent(false).bind(names.schema()).fetch_one(&mut *tx).await? {
        run(&mut tx, names, "CREATE SCHEMA {schema}").await?;
    }
    let found = match version(&mut tx, names).await? {
        Some(found) => found,
        None => {
            run(&mut tx, names, MIGRATIONS).await?;
            0
        }
    };
    if found > KNOWN {
        return Err(Error::NewerSchema { tables: names.to_string(), found, known: KNOWN });
    }
    let is_new = found == 0;
    for (version, step) in (1..).zip(STEPS).skip_while(|(version, _)| *version <= found) {
        run(&mut tx, names, step).await?;
        let note = names.fill("INSERT INTO {prefix}migrations (version) VALUES ($1)");
        sqlx::query(AssertSqlSafe(note)).persistent(false).bind(version).execute(&mut *tx).await?;
    }
    if let Some(partitions) = partitions {
        partitioned::make(&mut tx, names, partitions, is_new).await?;
    }
    if is_new {
        run(&mut tx, names, OUTBOX_COMMENT).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The text is a constant with checked names in it.
pub(crate) async fn run(db: &mut PgConnection, names: &Names, text: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(names.fill(text))).execute(db).await?;
    Ok(())
}

/// Keys of other letters than ASCII would have other buckets.
async fn check_encoding(db: &mut PgConnection) -> Result<(), Error> {
    let found: String =
        sqlx::query_scalar("SHOW server_encoding").persistent(false).fetch_one(&mut *db).await?;
    if found == "UTF8" { Ok(()) } else { Err(Error::NotUtf8 { found }) }
}

/// Whether a table is there, and whether this role may read it.
async fn sight(db: &mut PgConnection, table: String) -> Result<(bool, bool), Error> {
    let sql =
        "SELECT to_regclass($1) IS NOT NULL, coalesce(has_table_privilege(to_regclass($1), 'SELECT'), false)";
    let row = sqlx::query(sql).persistent(false).bind(table).fetch_one(db).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// `None`: there is no table of versions.
async fn version(db: &mut PgConnection, names: &Names) -> Result<Option<i32>, Error> {
    let (is_there, _) = sight(&mut *db, names.fill("{prefix}migrations")).await?;
    if !is_there {
        return Ok(None);
    }
    let newest = names.fill("SELECT coalesce(max(version), 0) FROM {prefix}migrations");
    Ok(Some(sqlx::query_scalar(AssertSqlSafe(newest)).persistent(false).fetch_one(db).await?))
}

/// What a database says of itself.
pub(crate) struct Life {
    pub(crate) incarnation: String,
    /// None: its outbox is one table.
    pub(crate) partitions: Option<Partitions>,
}

/// Fails unless the tables are what this program needs; answers what the database says of itself. A role that may only
/// announce reads no table: `None`, if there is an outbox at all.
pub(crate) async fn verify(db: &mut PgConnection, names: &Names) -> Result<Option<Life>, Error> {
    let tables = || names.to_string();
    let (is_there, may_read) = sight(&mut *db, names.fill("{prefix}migrations")).await?;
    if is_there && !may_read {
        return match sight(db, names.fill("{prefix}outbox")).await? {
            (true, _) => Ok(None),
            (false, _) => Err(Error::NoTables { tables: tables() }),
        };
    }
    match version(&mut *db, names).await? {
        None => Err(Error::NoTables { tables: tables() }),
        Some(found) if found < KNOWN => Err(Error::OlderSchema { tables: tables(), found, known: KNOWN }),
        Some(found) if found > KNOWN => Err(Error::NewerSchema { tables: tables(), found, known: KNOWN }),
        Some(_) => life(db, names).await,
    }
}

async fn life(db: &mut PgConnection, names: &Names) -> Result<Option<Life>, Error> {
    let (_, may_read) = sight(&mut *db, names.fill("{prefix}meta")).await?;
    if !may_read {
        return Ok(None);
    }
    let sql = names.fill("SELECT incarnation, partition_rows FROM {prefix}meta");
    let row = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_one(db).await?;
    Ok(Some(Life { incarnation: row.try_get(0)?, partitions: Partitions::found(row.try_get(1)?) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused_by_name() {
        assert!(check_server(13_00_00).is_ok() && check_server(15_00_20).is_ok());
        let error = check_server(12_00_22).expect_err("12 is too old").to_string();
        assert!(error.contains("PostgreSQL 12") && error.contains("13"), "{error}");
    }
}
