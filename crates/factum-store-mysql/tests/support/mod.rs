//! What the tests of this store share: a database of its own for each, a domain in a table of its own, and an independent
//! connection that tells what is really in the tables.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

use std::str::FromStr as _;
use std::time::Duration;

use factum::port::{Access, Asked, BucketSet, Intent, Leased, OutboxStore as _, Read, Store as _};
use factum::{BoxError, Envelope, Version};
use factum_conformance::service;
use factum_conformance::store::notes::{self, Notes};
pub(crate) use factum_conformance::store::notes::{
    NoteWritten, NoteWrittenV1, SOURCE, announce, assert_works, work, write_note,
};
use factum_store_mysql::{Connection, MySql, Options};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

pub(crate) type Note = notes::Note<Database>;

/// A page from the start, of all buckets.
pub(crate) const ALL: Read =
    Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 1_000, bytes_max: 1 << 22 };

/// The one of a key with this number.
pub(crate) fn envelope(key: &str, n: usize) -> Envelope {
    let mut envelope = Envelope::new(format!("{key}/{n}").as_str(), SOURCE, "com.example.a.v1", &b"{}"[..]);
    envelope.partitionkey = Some(key.into());
    envelope
}

pub(crate) async fn commit(store: &MySql, envelopes: Vec<Envelope>) {
    let tx = store.begin(&Intent { access: Access::Write, who: "a test".into() }).await.unwrap();
    MySql::commit(tx, envelopes).await.expect("it commits");
}

/// All that is free.
pub(crate) async fn lease(store: &MySql, owner: &str, duration: Duration) -> Leased {
    store.lease(owner, Asked { duration, most: 64, give_back: BucketSet::default() }).await.unwrap()
}

/// A database of its own, gone with its test.
#[derive(Debug)]
pub(crate) struct Database {
    server: MySqlConnectOptions,
    name: String,
    /// Not this one's to drop.
    borrowed: bool,
}

/// Runs on a thread and a runtime of its own, so that it can be waited for anywhere.
fn at_once(server: MySqlConnectOptions, sql: String) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut db = server.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.map(drop)
        })
    };
    let done = std::thread::spawn(run).join();
    done.expect("no panic").expect("the server does what it is told");
}

/// Differs from every other, on this machine and on others.
fn unique() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    format!("factum_{:016x}", std::hash::RandomState::new().build_hasher().finish())
}

impl Database {
    /// On the shared server; `None`, after saying so, where there is none.
    pub(crate) fn or_skip(test: &str) -> Option<Self> {
        service::MYSQL.url_or_skip(test).map(|url| Self::on(&url))
    }

    /// On the server of a URL.
    pub(crate) fn on(url: &str) -> Self {
        let server = MySqlConnectOptions::from_str(url).expect("a URL");
        let name = unique();
        at_once(server.clone(), format!("CREATE DATABASE {name}"));
        Self { server, name, borrowed: false }
    }

    /// The same one; it stays where it is.
    pub(crate) fn again(&self) -> Self {
        Self { server: self.server.clone(), name: self.name.clone(), borrowed: true }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn server(&self) -> MySqlConnectOptions {
        self.server.clone().database(&self.name)
    }

    pub(crate) fn options(&self) -> Options {
        Options::with(self.server())
    }

    /// A store in it, with the table of the tests.
    pub(crate) async fn store(&self) -> MySql {
        self.store_with(|options| options).await
    }

    pub(crate) async fn store_with(&self, with: impl FnOnce(Options) -> Options) -> MySql {
        let options = with(self.options());
        options.migrate().await.expect("it is migrated");
        let sql = "CREATE TABLE IF NOT EXISTS notes
            (id VARCHAR(255) PRIMARY KEY, text TEXT NOT NULL, version BIGINT NOT NULL) ENGINE = InnoDB";
        self.run(sql).await;
        options.connect().await.expect("it connects")
    }

    /// A connection that has nothing to do with a store.
    pub(crate) async fn look(&self) -> MySqlConnection {
        self.server().connect().await.expect("it connects")
    }

    pub(crate) async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.look().await).await.expect("it runs");
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.look().await).await.expect("a number")
    }

    /// How many notes and how many outbox rows are really there.
    pub(crate) async fn counts(&self) -> (i64, i64) {
        let count = "SELECT count(*) FROM ";
        (self.number(&format!("{count}notes")).await, self.number(&format!("{count}factum_outbox")).await)
    }

    /// Lets a statement on this connection be the victim of a deadlock, so that its transaction is rolled back.
    pub(crate) async fn deadlock(&self, victim: &mut MySqlConnection) -> sqlx::Error {
        self.run(
            "CREATE TABLE IF NOT EXISTS careless (n INT PRIMARY KEY, x INT NOT NULL) ENGINE = InnoDB;
             INSERT IGNORE INTO careless WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 500)
                 SELECT n, 0 FROM r",
        )
        .await;
        let mut other = self.look().await;
        // Who has changed more survives.
        let many = "START TRANSACTION; UPDATE careless SET x = x + 1 WHERE n > 1";
        sqlx::raw_sql(many).execute(&mut other).await.expect("it runs");
        sqlx::query("UPDATE careless SET x = 1 WHERE n = 1").execute(&mut *victim).await.expect("it runs");
        let other = tokio::spawn(async move {
            let done = sqlx::raw_sql("UPDATE careless SET x = 2 WHERE n = 1").execute(&mut other).await;
            done.expect("the other goes on");
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("it rolls back");
        });
        let error = sqlx::query("UPDATE careless SET x = 1 WHERE n = 2").execute(victim).await;
        other.await.expect("no panic");
        error.expect_err("somebody must give way")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.borrowed {
            at_once(self.server.clone(), format!("DROP DATABASE {}", self.name));
        }
    }
}

impl Notes for Database {
    type Store = MySql;

    async fn or_skip(test: &str) -> Option<Self> {
        Self::or_skip(test)
    }

    /// With one connection: who has it next has waited until whatever was dropped is over.
    async fn patient_store(&self) -> MySql {
        self.store_with(|options| options.connections(1)).await
    }

    async fn select(db: &mut Connection, id: &str) -> Result<Option<(String, Version)>, BoxError> {
        let sql = "SELECT text, version FROM notes WHERE id = ?";
        Ok(sqlx::query_as(sql).bind(id).fetch_optional(&mut **db).await?)
    }

    async fn insert(db: &mut Connection, id: &str, text: &str) -> Result<(), BoxError> {
        Ok(insert(db, id, text).await?)
    }

    async fn update(db: &mut Connection, id: &str, text: &str, version: Version) -> Result<u64, BoxError> {
        let sql = "UPDATE notes SET text = ?, version = version + 1 WHERE id = ? AND version = ?";
        Ok(sqlx::query(sql).bind(text).bind(id).bind(version).execute(&mut **db).await?.rows_affected())
    }

    async fn delete(db: &mut Connection, id: &str, version: Version) -> Result<u64, BoxError> {
        let sql = "DELETE FROM notes WHERE id = ? AND version = ?";
        Ok(sqlx::query(sql).bind(id).bind(version).execute(&mut **db).await?.rows_affected())
    }

    async fn has_note(&self, id: &str) -> bool {
        self.number(&format!("SELECT count(*) FROM notes WHERE id = '{id}'")).await == 1
    }

    async fn announced(&self, key: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM factum_outbox WHERE partitionkey = '{key}'")).await
    }

    /// Waits for every lock that is left, and fails if one is not given back.
    async fn assert_nobody_writes(&self) {
        self.run("SET innodb_lock_wait_timeout = 5; SELECT count(*) FROM notes FOR UPDATE").await;
    }
}

/// A handler's own SQL.
pub(crate) async fn insert(db: &mut MySqlConnection, id: &str, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO notes VALUES (?, ?, 1)").bind(id).bind(text).execute(db).await.map(drop)
}
