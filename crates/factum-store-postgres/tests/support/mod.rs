//! What the tests of this store share: a schema of its own, a domain in a table of its own, and an independent
//! connection that tells what is really in the database.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use factum::port::{Asked, BucketSet, FailedTry, Found, Lease, Leased, OutboxStore as _, Read, Settlement};
use factum::{BoxError, Envelope, IntegrationEvent as _, Version};
use factum_conformance::service::POSTGRES;
use factum_conformance::store::notes::{self, Notes};
pub(crate) use factum_conformance::store::notes::{
    NoteWritten, NoteWrittenV1, SOURCE, announce, assert_works, work, write_note,
};
use factum_store_postgres::{Options, Postgres};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

pub(crate) type Note = notes::Note<Schema>;

/// Longer than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A handler's own SQL. Text `bad` fails.
pub(crate) async fn insert(db: &mut PgConnection, id: &str, text: &str) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO notes VALUES ($1, $2, 1)";
    // Behind a pooler that shares sessions a statement with a name would be somebody else's.
    sqlx::query(sql).persistent(false).bind(id).bind(text).execute(db).await.map(drop)
}

/// A schema of its own, gone with its test.
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Schema {
    /// In the database of the tests; `None`, after saying so, where there is none.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        Some(Self::at(&POSTGRES.url_or_skip(test)?).await)
    }

    /// In any database.
    pub(crate) async fn at(url: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let schema = Self { url: url.into(), name: format!("test_{}_{n}", std::process::id()) };
        let mut db = PgConnection::connect(url).await.expect("the server answers");
        let sql = format!(
            "DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0};
             CREATE TABLE {0}.notes (id text PRIMARY KEY, text text NOT NULL CHECK (text <> 'bad'), version bigint NOT NULL)",
            schema.name
        );
        run(&mut db, &sql).await;
        schema
    }

    pub(crate) fn options(&self) -> Options {
        self.options_at(&self.url)
    }

    /// On the way of another URL.
    pub(crate) fn options_at(&self, url: &str) -> Options {
        Postgres::options(url).schema(&self.name).wait(Duration::from_secs(5))
    }

    pub(crate) async fn store(&self) -> Postgres {
        self.options().migrate().await.expect("tables");
        self.options().connect().await.expect("a store")
    }

    /// A connection that has nothing to do with a store.
    pub(crate) async fn look(&self) -> PgConnection {
        connect(&self.url, &self.name).await
    }

    /// How many notes and how many outbox rows are really in the database.
    pub(crate) async fn counts(&self) -> (i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM factum_outbox)";
        sqlx::query_as(sql).fetch_one(&mut self.look().await).await.unwrap()
    }
}

impl Notes for Schema {
    type Store = Postgres;

    async fn or_skip(test: &str) -> Option<Self> {
        Self::new(test).await
    }

    async fn patient_store(&self) -> Postgres {
        self.store().await
    }

    async fn select(db: &mut PgConnection, id: &str) -> Result<Option<(String, Version)>, BoxError> {
        let sql = "SELECT text, version FROM notes WHERE id = $1";
        Ok(sqlx::query_as(sql).bind(id).fetch_optional(db).await?)
    }

    async fn insert(db: &mut PgConnection, id: &str, text: &str) -> Result<(), BoxError> {
        Ok(insert(db, id, text).await?)
    }

    async fn update(db: &mut PgConnection, id: &str, text: &str, version: Version) -> Result<u64, BoxError> {
        let sql = "UPDATE notes SET text = $1, version = version + 1 WHERE id = $2 AND version = $3";
        Ok(sqlx::query(sql).bind(text).bind(id).bind(version).execute(db).await?.rows_affected())
    }

    async fn delete(db: &mut PgConnection, id: &str, version: Version) -> Result<u64, BoxError> {
        let sql = "DELETE FROM notes WHERE id = $1 AND version = $2";
        Ok(sqlx::query(sql).bind(id).bind(version).execute(db).await?.rows_affected())
    }

    async fn has_note(&self, id: &str) -> bool {
        let sql = "SELECT EXISTS (SELECT 1 FROM notes WHERE id = $1)";
        sqlx::query_scalar(sql).bind(id).fetch_one(&mut self.look().await).await.unwrap()
    }

    async fn announced(&self, key: &str) -> i64 {
        let sql = "SELECT count(*) FROM factum_outbox WHERE partitionkey = $1";
        sqlx::query_scalar(sql).bind(key).fetch_one(&mut self.look().await).await.unwrap()
    }

    /// Waits for every lock on the tables of the tests.
    async fn assert_nobody_writes(&self) {
        let mut db = self.look().await;
        let sql = "SET lock_timeout = '30s'; BEGIN; LOCK TABLE notes, factum_outbox IN ACCESS EXCLUSIVE MODE; ROLLBACK";
        sqlx::raw_sql(sql).execute(&mut db).await.expect("nobody has a transaction open");
    }
}

impl Drop for Schema {
    /// On a thread of its own, because a test may be on any runtime, or on none any more.
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let Ok(mut db) = PgConnection::connect(&url).await else { return };
                let sql = format!("SET lock_timeout = '30s'; DROP SCHEMA IF EXISTS {name} CASCADE");
                let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await;
            });
        });
        let _ = dropping.join();
    }
}

pub(crate) async fn connect(url: &str, schema: &str) -> PgConnection {
    let mut db = PgConnection::connect(url).await.expect("the server answers");
    run(&mut db, &format!("SET search_path TO {schema}")).await;
    db
}

/// Where the server of a URL is.
pub(crate) fn address(url: &str) -> std::net::SocketAddr {
    use std::net::ToSocketAddrs as _;
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
    let mut found = (options.get_host(), options.get_port()).to_socket_addrs().expect("a host");
    found.next().expect("an address")
}

pub(crate) async fn run(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(db)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub(crate) async fn scalar(db: &mut PgConnection, sql: &str) -> i64 {
    let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(db).await;
    row.unwrap_or_else(|error| panic!("{sql}: {error}")).try_get(0).unwrap()
}

/// One of the notes' events, with data of its own.
pub(crate) fn envelope(id: &str, key: &str) -> Envelope {
    let mut envelope = Envelope::new(id, SOURCE, NoteWrittenV1::TYPE, id.as_bytes().to_vec());
    envelope.partitionkey = Some(key.into());
    envelope
}

/// As a program in any language would do it.
pub(crate) async fn plain_insert(db: &mut PgConnection, id: &str, key: &str) {
    let sql = "INSERT INTO factum_outbox (source, id, type, partitionkey, data) VALUES ($1, $2, $3, $4, $5)";
    let query = sqlx::query(sql).bind(SOURCE).bind(id).bind(NoteWrittenV1::TYPE).bind(key);
    query.bind(id.as_bytes()).execute(db).await.unwrap();
}

pub(crate) fn all_above(above: i64) -> Read {
    Read { buckets: BucketSet::ALL, above, except: Vec::new(), rows_max: 10_000, bytes_max: 64 << 20 }
}

/// The ids of what a read shows.
pub(crate) fn ids(found: &Found) -> Vec<String> {
    found.rows.iter().map(|row| row.envelope.id.to_string()).collect()
}

pub(crate) async fn lease_all(store: &Postgres, owner: &str) -> Leased {
    let asked = Asked { duration: LONG, most: 64, give_back: BucketSet::default() };
    store.lease(owner, asked).await.unwrap()
}

/// Reads pages of several sizes, of all buckets or of some, from the start now and then, and settles them but for one row,
/// which fails each time. How many rows were shown.
pub(crate) async fn work_through(store: &Postgres, leases: &[Lease], some: BucketSet, kept: i64) -> i64 {
    let (mut above, mut shown) = (0, 0);
    for round in 0..12 {
        let rows_max = [100, 1_000, 4_000][round % 3];
        let buckets = if round % 2 == 0 { BucketSet::ALL } else { some };
        let read = Read { rows_max, buckets, ..all_above(above) };
        let seqs: Vec<_> = store.read(read).await.unwrap().rows.iter().map(|row| row.seq).collect();
        assert_eq!(seqs.len(), rows_max);
        let confirmed: Vec<_> = seqs.iter().copied().filter(|seq| *seq != kept).collect();
        let settlement = Settlement { confirmed: confirmed.clone(), ..Settlement::default() };
        assert_eq!(store.settle("relay", leases, &settlement).await.unwrap(), confirmed.len());
        let failed =
            vec![FailedTry { seq: kept, attempts: 1, again_after: Duration::ZERO, reason: "no".into() }];
        let settlement = Settlement { failed, ..Settlement::default() };
        assert_eq!(store.settle("relay", leases, &settlement).await.unwrap(), 1);
        shown += rows_max as i64;
        above = if round % 4 == 3 { 0 } else { seqs.last().copied().unwrap_or(0) };
    }
    shown
}

/// How often sessions have walked tables whole and looked into an index, and how many rows that brought; of all tables
/// whose names match.
pub(crate) async fn scans(schema: &Schema, tables: &str) -> (i64, i64, i64) {
    let sql = format!(
        "SELECT sum(seq_scan)::bigint, sum(idx_scan)::bigint, sum(idx_tup_fetch)::bigint FROM pg_stat_user_tables
         WHERE schemaname = '{}' AND relname ~ '{tables}'",
        schema.name
    );
    let row = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut schema.look().await).await;
    row.unwrap()
}

/// The same once sessions have told of more looks than so many; they tell when they end at the latest.
pub(crate) async fn scans_after(schema: &Schema, tables: &str, looks: i64) -> (i64, i64, i64) {
    let watch = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let now = scans(schema, tables).await;
            if now.1 > looks {
                break now;
            }
        }
    });
    watch.await.expect("the sessions have told what they did")
}
