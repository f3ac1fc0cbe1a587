//! The suite that every store must pass, on files of their own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use factum::port::{Access, Intent, Mark, Store as _};
use factum_conformance::store::{FailingCommit, StoreCapabilities, StoreFixture};
use factum_store_sqlite::{Sqlite, Synchronous, Tx};
use sqlx::SqliteConnection;

/// Keeps the folders of its stores until the case is over.
#[derive(Default)]
struct Files(Mutex<Vec<tempfile::TempDir>>);

async fn begin(store: &Sqlite, access: Access) -> Tx {
    store.begin(&Intent { access, who: "the fixture".into() }).await.expect("a transaction")
}

/// Lets leases, and the presence of relays, end so many milliseconds later.
async fn postpone(store: &Sqlite, by: i64) {
    let mut tx = begin(store, Access::Write).await;
    let db = Sqlite::connection(&mut tx).await.expect("a connection");
    let sql = "UPDATE factum_lease SET until = until + ?1; UPDATE factum_relay SET until = until + ?1";
    sqlx::query(sql).bind(by).execute(db).await.expect("leases");
    Sqlite::commit(tx, Vec::new()).await.expect("it commits");
}

impl StoreFixture for Files {
    type Store = Sqlite;

    async fn fresh(&self) -> Sqlite {
        let folder = tempfile::tempdir().expect("a folder");
        let options =
            Sqlite::options(folder.path().join("store.db")).synchronous(Synchronous::Off).readers(4);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
        options.open().await.expect("a store")
    }

    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities { breaks_transactions: true, ..StoreCapabilities::default() }
    }

    async fn checkpoint(&self, store: &Sqlite, projection: &str, source: &str) -> Option<Mark> {
        let mut tx = begin(store, Access::Read).await;
        let db = Sqlite::connection(&mut tx).await.expect("a connection");
        let sql = "SELECT events, last FROM factum_checkpoint WHERE projection = ? AND source = ?";
        let query = sqlx::query_as(sql).bind(projection).bind(source);
        let found: Option<(i64, String)> = query.fetch_optional(db).await.expect("a checkpoint");
        found.map(|(events, last)| Mark {
            source: source.into(),
            events: events.unsigned_abs(),
            last: last.into(),
        })
    }

    async fn age_leases(&self, store: &Sqlite, by: Duration) {
        postpone(store, -(by.as_millis() as i64)).await;
    }

    async fn postpone_leases(&self, store: &Sqlite, by: Duration) -> bool {
        postpone(store, by.as_millis() as i64).await;
        true
    }

    async fn break_transaction(&self, _: &Sqlite, connection: &mut SqliteConnection) {
        let sql = "CREATE TABLE careless (x);
            CREATE TRIGGER refuse BEFORE INSERT ON careless BEGIN SELECT RAISE(ROLLBACK, 'refused'); END;
            INSERT INTO careless VALUES (1)";
        sqlx::raw_sql(sql).execute(connection).await.expect_err("the trigger refuses");
    }

    async fn fail_next_commit(&self, _: &Sqlite, how: FailingCommit) {
        unreachable!("asked to fail a commit ({how:?}), which this fixture does not offer")
    }
}

factum_conformance::store_suite!(Files::default());
