//! The suite that every store must pass, on databases of their own.

mod support;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use factum::port::{Access, Intent, Mark, Store as _};
use factum_conformance::service::{MYSQL, Server};
use factum_conformance::store::{FailingCommit, StoreCapabilities, StoreFixture};
use factum_store_mysql::{Connection, MySql, Tx};
use support::Database;

/// Keeps the databases of its stores until the case is over.
#[derive(Default)]
struct Databases(Mutex<Vec<Database>>);

async fn begin(store: &MySql, access: Access) -> Tx {
    store.begin(&Intent { access, who: "the fixture".into() }).await.expect("a transaction")
}

async fn shift(store: &MySql, by: i64) {
    let mut tx = begin(store, Access::Write).await;
    let db = MySql::connection(&mut tx).await.expect("a connection");
    for sql in ["UPDATE factum_lease SET until = until + ?", "UPDATE factum_relay SET until = until + ?"] {
        sqlx::query(sql).bind(by).execute(&mut **db).await.expect("leases");
    }
    MySql::commit(tx, Vec::new()).await.expect("it commits");
}

impl StoreFixture for Databases {
    type Store = MySql;

    fn server(&self) -> Option<Server> {
        Some(MYSQL)
    }

    async fn fresh(&self) -> MySql {
        let database = Database::on(&MYSQL.url());
        let store = database.store_with(|options| options.connections(4)).await;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(database);
        store
    }

    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities { concurrent_writers: true, breaks_transactions: true, fails_commits: false }
    }

    async fn checkpoint(&self, store: &MySql, projection: &str, source: &str) -> Option<Mark> {
        let mut tx = begin(store, Access::Read).await;
        let db = MySql::connection(&mut tx).await.expect("a connection");
        let sql = "SELECT events, last FROM factum_checkpoint WHERE projection = ? AND source = ?";
        let query = sqlx::query_as(sql).bind(projection).bind(source);
        let found: Option<(i64, String)> = query.fetch_optional(&mut **db).await.expect("a checkpoint");
        found.map(|(events, last)| Mark {
            source: source.into(),
            events: events.unsigned_abs(),
            last: last.into(),
        })
    }

    async fn age_leases(&self, store: &MySql, by: Duration) {
        shift(store, -(by.as_micros() as i64)).await;
    }

    async fn postpone_leases(&self, store: &MySql, by: Duration) -> bool {
        shift(store, by.as_micros() as i64).await;
        true
    }

    async fn break_transaction(&self, _: &MySql, connection: &mut Connection) {
        let server = self.0.lock().unwrap_or_else(PoisonError::into_inner).last().map(Database::again);
        let error = server.expect("a store").deadlock(connection).await;
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("40001"));
    }

    async fn fail_next_commit(&self, _: &MySql, how: FailingCommit) {
        unreachable!("asked to fail a commit ({how:?}), which this fixture does not offer")
    }
}

factum_conformance::store_suite!(Databases::default());
