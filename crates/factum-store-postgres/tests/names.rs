//! Schemas and prefixes: several stores in one database, made at the same time, under any name.

#[path = "support/database.rs"]
mod database;
mod support;

use std::time::Duration;

use database::Database;
use factum::integration::Inspect as _;
use factum::port::OutboxStore as _;
use factum::{Dispatcher, Documents as _, Written};
use factum_store_postgres::Postgres;
use support::{Schema, all_above, lease_all, run, scalar, work, write_note};

#[tokio::test]
async fn two_prefixes_in_one_schema_are_two_stores() {
    let Some(schema) = Schema::new("two_prefixes_in_one_schema_are_two_stores").await else { return };
    let mut stores = Vec::new();
    for prefix in ["a_", "b_"] {
        schema.options().prefix(prefix).migrate().await.unwrap();
        stores.push(schema.options().prefix(prefix).connect().await.unwrap());
    }
    write_note::<Schema>(&work(&stores[0], Dispatcher::new()), "first").await.unwrap();
    let found = [stores[0].read(all_above(0)).await.unwrap(), stores[1].read(all_above(0)).await.unwrap()];
    assert_eq!([found[0].rows.len(), found[1].rows.len()], [1, 0]);
    assert_eq!(
        (lease_all(&stores[0], "x").await.leases.len(), lease_all(&stores[1], "y").await.relays),
        (64, 1)
    );
}

/// They make the schema, and share the documents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_prefixes_that_migrate_at_once_do_not_meet() {
    let Some(schema) = Schema::new("several_prefixes_that_migrate_at_once_do_not_meet").await else { return };
    let mut db = schema.look().await;
    for _ in 0..5 {
        run(&mut db, &format!("DROP SCHEMA {} CASCADE", schema.name)).await;
        let mut all = tokio::task::JoinSet::new();
        for n in 0..8 {
            let options = schema.options().prefix(format!("p{n}_"));
            all.spawn(async move { options.migrate().await });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_schema_may_have_a_word_of_sql_for_a_name() {
    let Some(outer) = Schema::new("a_schema_may_have_a_word_of_sql_for_a_name").await else { return };
    let (_database, url) = Database::new(&outer, &[]).await;
    for name in ["order", "user", "window"] {
        let options = || Postgres::options(&url).schema(name);
        options().migrate().await.unwrap();
        let store = options().connect().await.unwrap();
        let mut db = support::connect(&url, &format!("\"{name}\"")).await;
        run(&mut db, "CREATE TABLE notes (id text, text text, version bigint)").await;
        write_note::<Schema>(&work(&store, Dispatcher::new()), "first").await.unwrap();
        assert_eq!(store.read(all_above(0)).await.unwrap().rows.len(), 1);
        assert_eq!(lease_all(&store, "x").await.leases.len(), 64);
        assert_eq!(scalar(&mut db, "SELECT count(*) FROM notes").await, 1);
        options().prefix("parts_").partitioned(1024).migrate().await.unwrap();
        let store = options().prefix("parts_").connect().await.unwrap();
        store.clean_up().await.unwrap();
    }
}

/// A service that came later keeps its own in a schema that is found before ours.
#[tokio::test]
async fn documents_are_in_the_schema_of_the_store_whatever_else_is_on_the_path() {
    let name = "documents_are_in_the_schema_of_the_store_whatever_else_is_on_the_path";
    let Some(outer) = Schema::new(name).await else { return };
    let (_database, url) = Database::new(&outer, &[]).await;
    Postgres::options(&url).migrate().await.unwrap();
    Postgres::options(&url).schema("billing").migrate().await.unwrap();
    let stores = [
        Postgres::options(&url).connect().await.unwrap(),
        Postgres::options(&url).schema("billing").connect().await.unwrap(),
    ];
    for (store, body) in stores.iter().zip(["{\"of\": 1}", "{\"of\": 2}"]) {
        let work = work(store, Dispatcher::new());
        let put = async |uow: &mut factum::UnitOfWork<Postgres>| {
            let db = uow.connection().await?;
            let written = Postgres::put(db, "things", "1", None, body.into()).await?;
            assert_eq!(written, Written::Fresh);
            Ok(())
        };
        let _ = work.run(put).await.unwrap();
    }
    let mut db = support::connect(&url, "billing").await;
    let sql = "SELECT (body->>'of')::bigint FROM factum_document";
    assert_eq!(scalar(&mut db, sql).await, 2);
    assert_eq!(scalar(&mut db, "SELECT count(*) FROM public.factum_document").await, 1);
}

/// Whoever asks for the backlog may lose patience, and the next one must not wait for what is still being answered.
#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_holds_up_nobody() {
    let name = "a_question_that_nobody_waits_for_any_more_holds_up_nobody";
    let Some(schema) = Schema::new(name).await else { return };
    schema.options().migrate().await.unwrap();
    let store = schema.options().connections(2).connect().await.unwrap();
    let work = work(&store, Dispatcher::new());
    let mut holder = schema.look().await;
    run(&mut holder, "BEGIN; LOCK TABLE factum_dead_letter IN ACCESS EXCLUSIVE MODE").await;
    let waits =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'factum_dead_letter'::regclass";
    {
        let mut looking = schema.look().await;
        let mut asked = std::pin::pin!(store.backlog());
        while scalar(&mut looking, waits).await == 0 {
            assert!(futures_util::future::poll_immediate(asked.as_mut()).await.is_none());
            tokio::task::yield_now().await;
        }
    }
    let note = write_note::<Schema>(&work, "beside it");
    tokio::time::timeout(Duration::from_secs(4), note).await.expect("it waits for nobody").unwrap();
    run(&mut holder, "ROLLBACK").await;
}
