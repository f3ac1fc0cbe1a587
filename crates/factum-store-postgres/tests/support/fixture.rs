//! The fixture of the store suite: every store in a schema of its own, reached through a proxy that can lose answers.
#![allow(dead_code, reason = "one of three files of tests makes it with its own servers")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use factum::port::Mark;
use factum_conformance::service::{POSTGRES, Server};
use factum_conformance::store::{FailingCommit, StoreCapabilities, StoreFixture};
use factum_launcher::{End, Proxy, Way};
use factum_store_postgres::Postgres;
use sqlx::PgConnection;

use crate::support::{Schema, run, scalar};

/// Keeps the schemas of its stores until the case is over.
#[derive(Default)]
pub(crate) struct Schemas {
    kept: Mutex<Vec<Kept>>,
    /// Where schemas are made, and how stores get there, if not as the environment says.
    urls: Option<(String, String)>,
    /// How large the partitions of their outboxes are.
    partitions: Option<u64>,
}

struct Kept {
    schema: Schema,
    proxy: Arc<Proxy>,
}

/// Once a commit waits for the trigger's lock.
async fn interfere(mut db: PgConnection, how: FailingCommit, proxy: Arc<Proxy>) {
    let waits = "SELECT coalesce(max(pid), 0)::bigint FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND objid = (SELECT l.objid FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted AND l.pid = pg_backend_pid())";
    let mut pid = 0;
    while pid == 0 {
        pid = scalar(&mut db, waits).await;
    }
    if how == FailingCommit::UnknownAndLost {
        return run(&mut db, &format!("SELECT pg_terminate_backend({pid}::integer)")).await;
    }
    proxy.stall(Way::ToClient, true);
    run(&mut db, "SELECT pg_advisory_unlock_all()").await;
    while scalar(&mut db, "SELECT count(*) FROM factum_outbox").await == 0 {}
    let all = proxy.counts().accepted;
    proxy.end_all(End::Reset);
    proxy.until(|counts| counts.ended >= all).await;
    proxy.heal();
}

impl Schemas {
    /// In this database; stores get there by the second URL.
    pub(crate) fn at(direct: &str, stores: &str) -> Self {
        Self { urls: Some((direct.to_owned(), stores.to_owned())), ..Self::default() }
    }

    /// With outboxes of such partitions.
    pub(crate) fn partitioned(rows_per_partition: u64) -> Self {
        Self { partitions: Some(rows_per_partition), ..Self::default() }
    }

    /// The last one made is the one that is asked about.
    fn last<T>(&self, of: impl FnOnce(&Kept) -> T) -> T {
        of(self.kept.lock().unwrap_or_else(PoisonError::into_inner).last().expect("a store"))
    }

    async fn look(&self) -> PgConnection {
        let (url, name) = self.last(|kept| (kept.schema.url.clone(), kept.schema.name.clone()));
        crate::support::connect(&url, &name).await
    }
}

impl StoreFixture for Schemas {
    type Store = Postgres;

    fn server(&self) -> Option<Server> {
        self.urls.is_none().then_some(POSTGRES)
    }

    async fn fresh(&self) -> Postgres {
        let (direct, stores) = self.urls.clone().unwrap_or_else(|| (POSTGRES.url(), POSTGRES.url()));
        let schema = Schema::at(&direct).await;
        let address = crate::support::address(&stores);
        let proxy = Arc::new(Proxy::to(address).await.expect("a proxy"));
        let options = schema.options();
        let options = match self.partitions {
            Some(rows) => options.partitioned(rows),
            None => options,
        };
        options.migrate().await.expect("tables");
        let store = schema.options_at(&proxy.instead_of(&stores)).connect().await.expect("a store");
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(Kept { schema, proxy });
        store
    }

    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities {
            concurrent_writers: true,
            breaks_transactions: true,
            fails_commits: self.urls.is_none(),
        }
    }

    async fn checkpoint(&self, _: &Postgres, projection: &str, source: &str) -> Option<Mark> {
        let sql = "SELECT events, last FROM factum_checkpoint WHERE projection = $1 AND source = $2";
        let query = sqlx::query_as(sql).bind(projection).bind(source);
        let found: Option<(i64, String)> = query.fetch_optional(&mut self.look().await).await.expect("one");
        found.map(|(events, last)| Mark {
            source: source.into(),
            events: events.unsigned_abs(),
            last: last.into(),
        })
    }

    async fn age_leases(&self, _: &Postgres, by: Duration) {
        postpone(&mut self.look().await, -(by.as_millis() as i64)).await;
    }

    async fn postpone_leases(&self, _: &Postgres, by: Duration) -> bool {
        postpone(&mut self.look().await, by.as_millis() as i64).await;
        true
    }

    async fn break_transaction(&self, _: &Postgres, connection: &mut PgConnection) {
        sqlx::raw_sql("SELECT 1 / 0").execute(connection).await.expect_err("nobody divides by zero");
    }

    /// A trigger stops the next commit at the last moment. What then becomes of it is decided from outside.
    async fn fail_next_commit(&self, _: &Postgres, how: FailingCommit) {
        let mut db = self.look().await;
        let act = match how {
            FailingCommit::RolledBack => "RAISE EXCEPTION 'refused'",
            _ => "PERFORM pg_advisory_xact_lock(hashtext(TG_TABLE_SCHEMA))",
        };
        let sql = format!(
            "CREATE SEQUENCE commits;
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval(TG_TABLE_SCHEMA || '.commits') = 1 THEN {act}; END IF; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON factum_outbox DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION fail();
             SELECT pg_advisory_lock(hashtext(current_schema()))"
        );
        run(&mut db, &sql).await;
        if how != FailingCommit::RolledBack {
            tokio::spawn(interfere(db, how, self.last(|kept| Arc::clone(&kept.proxy))));
        }
    }
}

async fn postpone(db: &mut PgConnection, millis: i64) {
    for table in ["factum_lease", "factum_relay"] {
        run(db, &format!("UPDATE {table} SET until = until + interval '{millis} ms'")).await;
    }
}
