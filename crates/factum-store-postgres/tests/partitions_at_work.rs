//! An outbox in a ring of partitions at work: who may do what, what is read of it, and what holds under load.

#[path = "support/divided.rs"]
mod divided;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use divided::{Divided, ROWS, fill};
use factum::integration::{Received, Subscription};
use factum::port::OutboxStore as _;
use factum::{Dispatcher, IntegrationEvent as _, Outcome, UnitOfWork, Work};
use factum_runtime::Service;
use factum_store_postgres::{Options, Postgres};
use sqlx::{PgConnection, Row as _};
use support::{Schema, all_above, run, scalar, scans, scans_after, work_through};

/// As it stands in the guide, and by a role that may do nothing else.
#[tokio::test]
async fn other_languages_insert_as_into_any_outbox() {
    let Some(all) = Divided::new("other_languages_insert_as_into_any_outbox").await else { return };
    let mut db = all.schema.look().await;
    let role = format!("announcer_{}", all.schema.name);
    let grants = format!(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA {0} TO {role}; GRANT INSERT ON {0}.factum_outbox TO {role}",
        all.schema.name
    );
    run(&mut db, &grants).await;
    let guide = include_str!("../../../docs/guides/any-language.md");
    let (_, part) = guide.split_once("## PostgreSQL").expect("a part on PostgreSQL");
    let sql = part.split("```").nth(1).and_then(|block| block.strip_prefix("sql")).expect("an example");
    run(&mut db, &format!("SET ROLE {role}; {sql}; RESET ROLE")).await;
    let found = all.store.read(all_above(0)).await.unwrap();
    let row = &found.rows[0];
    assert_eq!((found.rows.len(), row.envelope.partitionkey.as_deref()), (1, Some("order-17")));
    assert_eq!(row.bucket, row.envelope.bucket());
    let bad = "INSERT INTO factum_outbox (source, type, data, id) VALUES ('s', 't', '', '')";
    let error = sqlx::raw_sql(bad).execute(&mut db).await.unwrap_err();
    assert_eq!(error.into_database_error().unwrap().constraint(), Some("factum_outbox_id_1_to_255_bytes"));
    run(&mut db, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_relay_needs_no_more_rights_than_the_guide_says() {
    let Some(all) = Divided::new("a_relay_needs_no_more_rights_than_the_guide_says").await else { return };
    let mut db = all.schema.look().await;
    fill(&mut db, "", 2000).await;
    let (role, schema) = (format!("relay_{}", all.schema.name), &all.schema.name);
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
         GRANT TRUNCATE ON factum_outbox_0, factum_outbox_1, factum_outbox_2, factum_outbox_3 TO {role};
         GRANT SELECT ON SEQUENCE factum_outbox_seq_seq TO {role}"
    );
    run(&mut db, &grants).await;
    let options: sqlx::postgres::PgConnectOptions = all.schema.url.parse().unwrap();
    let options = Options::with(options.username(&role).password("x")).schema(schema);
    let store = options.connect().await.unwrap();
    let all = Divided { store, ..all };
    assert_eq!(all.publish().await.len(), 2000);
    all.clean_up().await;
    assert!(all.empty().await[0]);
    run(&mut db, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// Their names.
const PARTITIONS: &str = "factum_outbox_[0-9]";

/// With the statistics of full tables, and with those of empty ones; and while an old number is left.
#[tokio::test]
async fn f_26_what_has_left_is_not_walked_over() {
    let name = "f_26_what_has_left_is_not_walked_over";
    for is_analysed in [false, true] {
        let Some(schema) = Schema::new(name).await else { return };
        let all = Divided::of(schema, 16 * ROWS).await;
        let mut db = all.schema.look().await;
        fill(&mut db, "", 60_000).await;
        assert_eq!(all.publish_but(&[" 77"]).await.len(), 59_999);
        fill(&mut db, "new", 50_000).await;
        if is_analysed {
            run(&mut db, "ANALYZE").await;
        }
        let Divided { schema, store, leases } = all;
        drop(store);
        let before = scans(&schema, PARTITIONS).await;
        let store = schema.options().connect().await.unwrap();
        let shown = work_through(&store, &leases, (0..32).collect(), 77).await;
        drop(store);
        let after = scans_after(&schema, PARTITIONS, before.1 + 40).await;
        assert_eq!(after.0, before.0, "analysed: {is_analysed}");
        let fetched = after.2 - before.2;
        assert!(fetched < 8 * shown, "analysed: {is_analysed}: {fetched} rows fetched for {shown}");
    }
}

const EVENTS: usize = 6_000;

async fn note_order(received: &Received<support::NoteWrittenV1>, uow: &mut UnitOfWork<Postgres>) -> Outcome {
    let key = received.envelope.partitionkey.as_deref().unwrap_or_default();
    let query = sqlx::query("INSERT INTO seen (key, id) VALUES ($1, $2::text::bigint)");
    query.bind(key).bind(&received.id).execute(uow.connection().await?).await?;
    Ok(())
}

/// Writes events of keys of its own, some of which it takes back, as fast as they leave.
async fn write(mut db: PgConnection, writer: usize) {
    let mut n = 0;
    for round in 0..EVENTS / 40 {
        while scalar(&mut db, "SELECT count(*) FROM factum_outbox_unsettled").await > 500 {}
        run(&mut db, "BEGIN").await;
        let sql = format!(
            "INSERT INTO factum_outbox (source, id, type, partitionkey, data)
             SELECT '{}', '{writer} ' || n, '{}', '{writer} ' || n % 10, convert_to('{{\"id\":\"' || n || '\"}}', 'UTF8')
             FROM generate_series({n}, {}) AS n ORDER BY n",
            support::SOURCE, support::NoteWrittenV1::TYPE, n + 9
        );
        run(&mut db, &sql).await;
        if round % 7 == 3 {
            run(&mut db, "ROLLBACK; BEGIN").await;
            run(&mut db, &sql).await;
        }
        run(&mut db, "COMMIT").await;
        n += 10;
    }
}

/// Two relays, four writers, and two that clean up all the time: the ring goes round several times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_is_lost_or_doubled_and_each_key_keeps_its_order() {
    let name = "under_load_nothing_is_lost_or_doubled_and_each_key_keeps_its_order";
    let Some(schema) = Schema::new(name).await else { return };
    schema.options().partitioned(ROWS).migrate().await.unwrap();
    let store = schema.options().connect().await.unwrap();
    let mut db = schema.look().await;
    run(&mut db, "CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, key text, id bigint)").await;
    let bus = factum_runtime::memory_bus();
    let at = |store| Work::new(support::SOURCE, store, Dispatcher::new());
    let subscription = Subscription::named("seen").on(note_order);
    let receiving =
        Service::new(at(store.clone())).without_relay().subscription(subscription).start(&bus).await.unwrap();
    let mut relaying = Vec::new();
    let mut cleaning = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let store = schema.options().connections(4).connect().await.unwrap();
        relaying.push(Service::new(at(store.clone())).start(&bus).await.unwrap());
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        cleaning.spawn(async move {
            loop {
                pause.tick().await;
                store.clean_up().await.unwrap();
            }
        });
    }
    let mut files = BTreeMap::<i64, i64>::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        writers.spawn(write(schema.look().await, writer));
    }
    // How often a partition has another file.
    let sql = "SELECT relname, relfilenode::bigint FROM pg_class WHERE relname ~ '^factum_outbox_[0-9]$'
        AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())";
    let mut emptied = 0;
    while !writers.is_empty() {
        while writers.try_join_next().is_some_and(|done| done.map(|()| true).unwrap()) {}
        for row in sqlx::query(sql).fetch_all(&mut db).await.unwrap() {
            let slot = row.get::<&str, _>(0).bytes().last().map_or(0, i64::from);
            let now: i64 = row.get(1);
            emptied += i64::from(files.insert(slot, now).is_some_and(|before| before != now));
        }
    }
    for relay in relaying {
        relay.drain().await.unwrap();
    }
    cleaning.shutdown().await;
    let duplicates = receiving.counters().read().duplicates;
    receiving.stop().await.unwrap();
    let wrong =
        "SELECT count(*) FROM seen AS a JOIN seen AS b ON a.key = b.key AND a.n < b.n AND a.id > b.id";
    let found =
        (scalar(&mut db, "SELECT count(*) FROM seen").await, duplicates, scalar(&mut db, wrong).await);
    assert_eq!(found, (EVENTS as i64, 0, 0), "seen, seen twice, out of order");
    println!("{emptied} times a partition was emptied meanwhile");
    assert!(emptied >= 3, "{emptied}");
}
