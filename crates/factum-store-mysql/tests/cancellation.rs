//! Every future of the store is dropped at every poll, under notes in a table of the tests' own; and a wait for a lock,
//! which the server goes on with, is ended there.

mod support;

use std::time::Duration;

use factum::Dispatcher;
use factum_conformance::store::notes::Notes as _;
use support::{Database, assert_works, insert, work};

factum_conformance::drops_suite!(Database);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_10_a_dropped_wait_for_a_lock_gives_the_other_locks_back() {
    let name = "f_10_a_dropped_wait_for_a_lock_gives_the_other_locks_back";
    let Some(database) = Database::or_skip(name) else { return };
    let store = database.patient_store().await;
    database.run("INSERT INTO notes VALUES ('held', 'well', 1)").await;
    let mut holder = database.look().await;
    let hold = "START TRANSACTION; UPDATE notes SET text = 'mine' WHERE id = 'held'";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let mut uow = work(&store, Dispatcher::new()).begin().await.unwrap();
    insert(uow.connection().await.unwrap(), "taken", "well").await.unwrap();
    let wait = async {
        let sql = "UPDATE notes SET text = 'theirs' WHERE id = 'held'";
        sqlx::raw_sql(sql).execute(&mut **uow.connection().await.unwrap()).await
    };
    let waited = tokio::time::timeout(Duration::from_millis(300), wait).await;
    assert!(waited.is_err(), "it did not wait: {waited:?}");
    drop(uow);
    // The first is the wait for the lock on "taken"; the other would be the wait for "held", for 10 s.
    let mut other = database.look().await;
    let took = async {
        sqlx::raw_sql("SET innodb_lock_wait_timeout = 5").execute(&mut other).await?;
        insert(&mut other, "taken", "well").await
    };
    took.await.expect("the lock was given back");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_works(&database, &work(&store, Dispatcher::new()), "afterwards").await;
}
