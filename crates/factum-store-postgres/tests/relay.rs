//! A real relay over the outbox, and what it rests on: fences, plans, locks that never wait in a circle.

mod support;

use std::time::Duration;

use factum::integration::{Inspect as _, OnDeadLetter, Received};
use factum::port::{Asked, BucketSet, FailedTry, GivenUp, OutboxStore as _, Settlement};
use factum::{Dispatcher, IntegrationEvent as _, Outcome, Subscription, UnitOfWork, Work};
use factum_conformance::store::notes::Notes as _;
use factum_runtime::Service;
use factum_store_postgres::Postgres;
use support::{
    Schema, all_above, lease_all, plain_insert, run, scalar, scans, scans_after, work, work_through,
    write_note,
};

/// Its name, and no other.
const OUTBOX: &str = "^factum_outbox$";

/// Enough for a plan to matter.
const MANY: i64 = 100_000;

async fn fill(schema: &Schema) {
    let sql = format!(
        "INSERT INTO factum_outbox (source, id, type, partitionkey, data)
         SELECT 'https://other.example', n::text, 'com.example.other.v1', (n % 500)::text, convert_to(n::text, 'UTF8')
         FROM generate_series(1, {MANY}) AS n"
    );
    run(&mut schema.look().await, &sql).await;
}

/// With the statistics of a full table, and with those of an empty one.
#[tokio::test]
async fn f_26_reading_and_settling_never_walk_the_whole_table() {
    let name = "f_26_reading_and_settling_never_walk_the_whole_table";
    for is_analysed in [false, true] {
        let Some(schema) = Schema::new(name).await else { return };
        schema.options().migrate().await.unwrap();
        fill(&schema).await;
        if is_analysed {
            run(&mut schema.look().await, "ANALYZE").await;
        }
        let before = scans(&schema, OUTBOX).await;
        let store = schema.options().connect().await.unwrap();
        let leases = lease_all(&store, "relay").await.leases;
        work_through(&store, &leases, (0..8).collect(), MANY).await;
        drop(store);
        let after = scans_after(&schema, OUTBOX, before.1 + 20).await;
        assert_eq!(after.0, before.0, "analysed: {is_analysed}");
    }
}

#[tokio::test]
async fn f_43_a_late_completion_changes_nothing() {
    let Some(schema) = Schema::new("f_43_a_late_completion_changes_nothing").await else { return };
    let store = schema.store().await;
    let mut db = schema.look().await;
    for n in 0..4 {
        plain_insert(&mut db, &n.to_string(), "key").await;
    }
    let seqs: Vec<_> = store.read(all_above(0)).await.unwrap().rows.iter().map(|row| row.seq).collect();
    let late = lease_all(&store, "late").await.leases;
    run(&mut db, "UPDATE factum_lease SET until = now() - interval '1 s'").await;
    lease_all(&store, "early").await;
    let failed = FailedTry { seq: seqs[1], attempts: 7, again_after: Duration::ZERO, reason: "late".into() };
    let given_up = GivenUp { seq: seqs[2], attempts: 9, reason: "late".into(), policy: OnDeadLetter::Halt };
    let confirmed = Settlement { confirmed: vec![seqs[0]], ..Settlement::default() };
    let all = Settlement { confirmed: vec![seqs[0]], failed: vec![failed], given_up: vec![given_up] };
    for settlement in [&confirmed, &all] {
        assert_eq!(store.settle("late", &late, settlement).await.unwrap(), 0);
    }
    // It gets them back, under higher epochs: what it still has to say of the time before counts no more.
    store.release("early").await.unwrap();
    lease_all(&store, "late").await;
    for settlement in [&confirmed, &all] {
        assert_eq!(store.settle("late", &late, settlement).await.unwrap(), 0);
    }
    let found = store.read(all_above(0)).await.unwrap();
    assert!(found.rows.iter().all(|row| row.attempts == 0) && found.rows.len() == 4);
    assert_eq!(store.backlog().await.unwrap().dead_letters, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_28_leases_settlements_and_inserts_never_wait_in_a_circle() {
    let name = "f_28_leases_settlements_and_inserts_never_wait_in_a_circle";
    let Some(schema) = Schema::new(name).await else { return };
    schema.options().migrate().await.unwrap();
    let store = schema.options().connections(24).connect().await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for relay in 0..8 {
        let store = store.clone();
        all.spawn(async move {
            let owner = format!("relay {relay}");
            for round in 0..25_u8 {
                let give_back: BucketSet =
                    (0..64).filter(|bucket| (bucket + round + relay) % 3 == 0).collect();
                let asked = Asked { duration: Duration::from_millis(40), most: 24, give_back };
                let leases = store.lease(&owner, asked).await.unwrap().leases;
                let buckets = leases.iter().map(|lease| lease.bucket).collect();
                let read = factum::port::Read { buckets, rows_max: 10, ..all_above(0) };
                let rows = store.read(read).await.unwrap().rows;
                let (mut settlement, mut rest) =
                    (Settlement::default(), rows.iter().map(|row| row.seq).rev());
                settlement.confirmed = rest.by_ref().take(5).collect();
                if round % 2 == 0 {
                    let failed = |seq| FailedTry {
                        seq,
                        attempts: 1,
                        again_after: Duration::ZERO,
                        reason: "no".into(),
                    };
                    settlement.failed = rest.map(failed).collect();
                }
                store.settle(&owner, &leases, &settlement).await.unwrap();
                if round % 10 == 9 {
                    store.release(&owner).await.unwrap();
                }
            }
        });
    }
    for writer in 0..8 {
        let store = store.clone();
        all.spawn(async move {
            let work = work(&store, Dispatcher::new());
            for n in 0..25 {
                write_note::<Schema>(&work, &format!("{writer} {n}")).await.unwrap();
            }
        });
    }
    // A deadlock would be an error of one of them.
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

/// Sees what comes, in order.
async fn receive(received: &Received<support::NoteWrittenV1>, uow: &mut UnitOfWork<Postgres>) -> Outcome {
    support::insert(uow.connection().await?, &format!("seen {}", received.id), "well").await?;
    Ok(())
}

/// `psql` knows nothing of this library.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_psql_inserts_is_published_by_a_relay() {
    let Some(schema) = Schema::new("what_psql_inserts_is_published_by_a_relay").await else { return };
    let store = schema.store().await;
    let sql = format!(
        "INSERT INTO {}.factum_outbox (source, id, type, partitionkey, data) VALUES
         ('https://legacy.example/crm', '1', 'com.example.notes.note-written.v1', 'a', convert_to('{{\"id\":\"1\"}}', 'UTF8')),
         ('https://legacy.example/crm', '2', 'com.example.notes.note-written.v1', 'a', convert_to('{{\"id\":\"2\"}}', 'UTF8'))",
        schema.name
    );
    let psql =
        std::process::Command::new("psql").args([&schema.url, "-v", "ON_ERROR_STOP=1", "-c", &sql]).output();
    match psql {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
        Err(error) => return eprintln!("SKIPPED: what_psql_inserts_is_published_by_a_relay: psql: {error}"),
    }
    let bus = factum_runtime::memory_bus();
    let work = Work::new(support::SOURCE, store.clone(), Dispatcher::new());
    let subscription = Subscription::named("seen").on(receive);
    let running = Service::new(work).subscription(subscription).start(&bus).await.unwrap();
    running.drain().await.unwrap();
    assert!(schema.has_note("seen 1").await && schema.has_note("seen 2").await);
    assert_eq!(store.backlog().await.unwrap().outbox, 0);
}

const EVENTS: usize = 2_000;

/// Four relays of one database, each with a store of its own as in processes of their own, and writers beside them: no
/// event comes twice, none is missing, and each key's come in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_41_relays_that_share_the_buckets_publish_each_event_once_and_in_order() {
    let name = "f_41_relays_that_share_the_buckets_publish_each_event_once_and_in_order";
    let Some(schema) = Schema::new(name).await else { return };
    let store = schema.store().await;
    run(
        &mut schema.look().await,
        "CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, key text, id bigint)",
    )
    .await;
    let bus = factum_runtime::memory_bus();
    let at = |store| Work::new(support::SOURCE, store, Dispatcher::new());
    let subscription = Subscription::named("seen").on(note_order);
    let receiving =
        Service::new(at(store.clone())).without_relay().subscription(subscription).start(&bus).await.unwrap();
    let mut relaying = Vec::new();
    for _ in 0..4 {
        let store = schema.options().connections(3).connect().await.unwrap();
        relaying.push(Service::new(at(store)).start(&bus).await.unwrap());
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let mut db = schema.look().await;
        writers.spawn(async move {
            for n in 0..EVENTS / 4 {
                let sql = format!(
                    "INSERT INTO factum_outbox (source, id, type, partitionkey, data) VALUES ('{}', '{writer} {n}', '{}',
                     '{writer} {}', convert_to('{{\"id\":\"{n}\"}}', 'UTF8'))",
                    support::SOURCE, support::NoteWrittenV1::TYPE, n % 10
                );
                run(&mut db, &sql).await;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    for relay in relaying {
        relay.drain().await.unwrap();
    }
    let duplicates = receiving.counters().read().duplicates;
    receiving.stop().await.unwrap();
    let mut db = schema.look().await;
    let wrong =
        "SELECT count(*) FROM seen AS a JOIN seen AS b ON a.key = b.key AND a.n < b.n AND a.id > b.id";
    let found =
        (scalar(&mut db, "SELECT count(*) FROM seen").await, duplicates, scalar(&mut db, wrong).await);
    assert_eq!(found, (EVENTS as i64, 0, 0), "seen, seen twice, out of order");
}

async fn note_order(received: &Received<support::NoteWrittenV1>, uow: &mut UnitOfWork<Postgres>) -> Outcome {
    let key = received.envelope.partitionkey.as_deref().unwrap_or_default();
    let query = sqlx::query("INSERT INTO seen (key, id) VALUES ($1, $2::text::bigint)");
    query.bind(key).bind(&received.id).execute(uow.connection().await?).await?;
    Ok(())
}
