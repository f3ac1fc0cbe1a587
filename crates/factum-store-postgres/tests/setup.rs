//! The tables: made by an explicit call, by any number of processes at once; looked at on connecting; reached by any
//! role, under any name, in any time zone, whatever the database does by default.

#[path = "support/database.rs"]
mod database;
mod support;

use std::time::Duration;

use database::Database;
use factum::Dispatcher;
use factum::port::{FailedTry, OutboxStore as _, Settlement};
use factum_store_postgres::{Error, Options, Postgres};
use support::{
    LONG, Schema, all_above, assert_works, envelope, lease_all, plain_insert, run, scalar, work, write_note,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_that_migrate_at_once_do_it_once() {
    let Some(schema) = Schema::new("eight_that_migrate_at_once_do_it_once").await else { return };
    run(&mut schema.look().await, &format!("DROP SCHEMA {} CASCADE", schema.name)).await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let options = schema.options();
        all.spawn(async move { options.migrate().await });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap().unwrap();
    }
    schema.options().migrate().await.unwrap();
    assert_eq!(scalar(&mut schema.look().await, "SELECT count(*) FROM factum_migrations").await, 1);
    assert!(schema.options().connect().await.is_ok());
}

async fn refused(options: Options) -> Error {
    options.connect().await.expect_err("it is refused")
}

#[tokio::test]
async fn a_database_without_tables_is_refused_with_the_call_that_makes_them() {
    let name = "a_database_without_tables_is_refused_with_the_call_that_makes_them";
    let Some(schema) = Schema::new(name).await else { return };
    let error = refused(schema.options()).await;
    assert!(matches!(&error, Error::NoTables { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&schema.name) && text.contains("migrate()"), "{text}");
    let error = refused(schema.options().schema("no_such_schema")).await;
    assert!(matches!(&error, Error::NoTables { .. }), "{error}");
}

#[tokio::test]
async fn tables_of_another_version_are_refused() {
    let Some(schema) = Schema::new("tables_of_another_version_are_refused").await else { return };
    schema.options().migrate().await.unwrap();
    let mut db = schema.look().await;
    run(&mut db, "INSERT INTO factum_migrations VALUES (1000)").await;
    assert!(matches!(refused(schema.options()).await, Error::NewerSchema { found: 1000, .. }));
    assert!(matches!(schema.options().migrate().await.unwrap_err(), Error::NewerSchema { .. }));
    run(&mut db, "DELETE FROM factum_migrations").await;
    assert!(matches!(refused(schema.options()).await, Error::OlderSchema { found: 0, .. }));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_before_a_server_is_asked() {
    let options = || Postgres::options("postgres://127.0.0.1:1/x");
    for options in [
        options().schema("a\"; DROP TABLE notes; --"),
        options().prefix("Factum_"),
        options().prefix("x".repeat(40)),
        options().prefix(""),
    ] {
        let error = options.migrate().await.unwrap_err();
        assert!(matches!(&error, Error::BadName { .. }), "{error}");
        assert!(matches!(refused(options).await, Error::BadName { .. }));
    }
    let error = refused(Postgres::options("no URL")).await;
    assert!(matches!(&error, Error::Postgres(sqlx::Error::Configuration(_))), "{error}");
}

/// No RETURNING, no ON CONFLICT on a column, no sequence, no other table.
#[tokio::test]
async fn a_role_that_may_only_insert_can_announce() {
    let Some(schema) = Schema::new("a_role_that_may_only_insert_can_announce").await else { return };
    let owner = schema.store().await;
    let mut db = schema.look().await;
    let role = format!("announcer_{}", schema.name);
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {0} TO {role};
         GRANT INSERT ON {0}.factum_outbox TO {role}; GRANT INSERT ON {0}.notes TO {role}",
        schema.name
    );
    run(&mut db, &grants).await;
    let options: sqlx::postgres::PgConnectOptions = schema.url.parse().unwrap();
    let options = Options::with(options.username(&role).password("x")).schema(&schema.name);
    let store = options.connect().await.unwrap();
    assert_eq!(store.incarnation(), None);
    let work = work(&store, Dispatcher::new());
    write_note::<Schema>(&work, "one").await.unwrap();
    let mut uow = work.begin().await.unwrap();
    for n in 0..3 {
        uow.announce(&support::NoteWrittenV1 { id: format!("many {n}") }).unwrap();
    }
    let _ = uow.save_changes().await.unwrap();
    assert_eq!(owner.read(all_above(0)).await.unwrap().rows.len(), 4);
    run(&mut db, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// Serialisable by default, in another time zone: relay and units of work say what they need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_38_f_39_what_a_database_does_by_default_changes_nothing() {
    let name = "f_38_f_39_what_a_database_does_by_default_changes_nothing";
    let Some(outer) = Schema::new(name).await else { return };
    let settings = [
        "default_transaction_isolation = 'serializable'",
        "timezone = 'Asia/Kolkata'",
        "datestyle = 'SQL, DMY'",
    ];
    let (_database, url) = Database::new(&outer, &settings).await;
    let schema = Schema::at(&url).await;
    let store = schema.store().await;
    for n in 0..20 {
        write_note::<Schema>(&work(&store, Dispatcher::new()), &format!("{n}")).await.unwrap();
    }
    let mut early = envelope("early", "key");
    early.time = factum::Timestamp::from_micros(-1);
    store.append(&mut schema.look().await, &[early.clone()]).await.unwrap();
    let before = now();
    let mut client = schema.look().await;
    // Not every client says UTC as sqlx does.
    run(&mut client, "SET timezone = 'Asia/Kolkata'; SET datestyle = 'SQL, DMY'").await;
    plain_insert(&mut client, "plain", "key").await;
    let found = store.read(all_above(0)).await.unwrap();
    assert_eq!((found.rows.len(), found.rows[20].envelope.time), (22, early.time));
    let told = found.rows[21].envelope.time.as_micros();
    assert!((before - 1_000_000..now() + 1_000_000).contains(&told), "{told} is not now, {before}");
    // Two relays that settle and read at the same time as others write do not fail as serialisable ones would.
    let leases = lease_all(&store, "relay").await.leases;
    let seqs: Vec<_> = found.rows.iter().map(|row| row.seq).collect();
    let writing = work(&store, Dispatcher::new());
    for seqs in seqs.chunks(2) {
        let settlement = Settlement { confirmed: seqs.to_vec(), ..Settlement::default() };
        let id = format!("beside {}", seqs[0]);
        let (settled, read, written) = tokio::join!(
            store.settle("relay", &leases, &settlement),
            store.read(all_above(0)),
            write_note::<Schema>(&writing, &id)
        );
        settled.unwrap();
        read.unwrap();
        written.unwrap();
    }
    assert_works(&schema, &writing, "afterwards").await;
}

/// Does something that has to wait for a change of another session, which commits then.
async fn overtaken<T>(schema: &Schema, change: &str, work: impl Future<Output = T>) -> T {
    let mut other = schema.look().await;
    run(&mut other, &format!("BEGIN; {change}")).await;
    let mut db = schema.look().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let overtake = async {
        while scalar(&mut db, waiting).await == 0 {}
        run(&mut other, "COMMIT").await;
    };
    let both = tokio::time::timeout(LONG, async { tokio::join!(work, overtake).0 });
    both.await.expect("it waits for the other")
}

/// A serialisable one would fail.
#[tokio::test]
async fn f_38_who_is_overtaken_by_a_change_goes_on_with_what_it_finds() {
    let name = "f_38_who_is_overtaken_by_a_change_goes_on_with_what_it_finds";
    let Some(outer) = Schema::new(name).await else { return };
    let (_database, url) = Database::new(&outer, &["default_transaction_isolation = 'serializable'"]).await;
    let schema = Schema::at(&url).await;
    let store = schema.store().await;
    let mut uow = work(&store, Dispatcher::new()).begin().await.unwrap();
    let level: String = sqlx::query_scalar("SHOW transaction_isolation")
        .fetch_one(uow.connection().await.unwrap())
        .await
        .unwrap();
    assert_eq!(level, "read committed");
    drop(uow);
    plain_insert(&mut schema.look().await, "plain", "key").await;
    let last = store.read(all_above(0)).await.unwrap().rows[0].seq;
    let change = "UPDATE factum_lease SET lasts = lasts";
    let leases = overtaken(&schema, change, lease_all(&store, "relay")).await.leases;
    let change = "UPDATE factum_outbox SET reason = 'none'";
    let failed = FailedTry { seq: last, attempts: 1, again_after: Duration::ZERO, reason: "no".into() };
    let settlement = Settlement { failed: vec![failed], ..Settlement::default() };
    assert_eq!(overtaken(&schema, change, store.settle("relay", &leases, &settlement)).await.unwrap(), 1);
    let settlement = Settlement { confirmed: vec![last], ..Settlement::default() };
    assert_eq!(overtaken(&schema, change, store.settle("relay", &leases, &settlement)).await.unwrap(), 1);
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let Some(outer) = Schema::new("a_database_in_another_encoding_is_refused").await else { return };
    let name = format!("latin_{}", outer.name);
    let mut db = outer.look().await;
    run(&mut db, &format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")).await;
    let (server, _) = outer.url.rsplit_once('/').unwrap();
    let error = Postgres::options(&format!("{server}/{name}")).migrate().await.unwrap_err();
    assert!(matches!(&error, Error::NotUtf8 { found } if found == "LATIN1"), "{error}");
    run(&mut db, &format!("DROP DATABASE {name}")).await;
}

#[tokio::test]
async fn buckets_are_the_same_in_the_database_and_in_the_library() {
    let name = "buckets_are_the_same_in_the_database_and_in_the_library";
    let Some(schema) = Schema::new(name).await else { return };
    let store = schema.store().await;
    let mut db = schema.look().await;
    for n in 0..200 {
        plain_insert(&mut db, &format!("{n}"), &format!("schlüssel {n} ☃")).await;
    }
    for row in store.read(all_above(0)).await.unwrap().rows {
        assert_eq!(row.bucket, row.envelope.bucket(), "{:?}", row.envelope.partitionkey);
    }
}

#[tokio::test]
async fn a_pool_of_the_application_says_where_the_database_is() {
    let Some(schema) = Schema::new("a_pool_of_the_application_says_where_the_database_is").await else {
        return;
    };
    schema.options().migrate().await.unwrap();
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(2).connect_lazy(&schema.url).unwrap();
    let store = Options::like(&pool).schema(&schema.name).connect().await.unwrap();
    assert_works(&schema, &work(&store, Dispatcher::new()), "first").await;
}

/// A read of a long outbox would be compiled each time, which takes longer than the read.
#[tokio::test]
async fn nothing_is_compiled_just_in_time_unless_the_application_says_so() {
    let name = "nothing_is_compiled_just_in_time_unless_the_application_says_so";
    let Some(schema) = Schema::new(name).await else { return };
    schema.options().migrate().await.unwrap();
    let asked = |options: Options| async move {
        let store = options.connect().await.unwrap();
        let work = work(&store, Dispatcher::new());
        let mut uow = work.begin().await.unwrap();
        let jit = sqlx::query_scalar("SHOW jit").fetch_one(uow.connection().await.unwrap()).await;
        jit.unwrap()
    };
    let jit: String = asked(schema.options()).await;
    assert_eq!(jit, "off");
    let theirs = schema.url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().options([("jit", "on")]);
    let jit: String = asked(Options::with(theirs).schema(&schema.name)).await;
    assert_eq!(jit, "on");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_and_no_wait() {
    let began = std::time::Instant::now();
    let error = Postgres::connect("postgres://postgres@127.0.0.1:1/x").await.unwrap_err();
    assert!(matches!(&error, Error::Postgres(_)), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// As it stands in the guide.
#[tokio::test]
async fn what_the_guide_says_to_other_languages_is_true() {
    let Some(schema) = Schema::new("what_the_guide_says_to_other_languages_is_true").await else { return };
    let store = schema.store().await;
    let guide = include_str!("../../../docs/guides/any-language.md");
    let (_, part) = guide.split_once("## PostgreSQL").expect("a part on PostgreSQL");
    let sql = part.split("```").nth(1).and_then(|block| block.strip_prefix("sql")).expect("an example");
    run(&mut schema.look().await, sql).await;
    let found = store.read(all_above(0)).await.unwrap();
    let envelope = &found.rows[0].envelope;
    assert_eq!((found.rows.len(), envelope.check_limits().is_ok()), (1, true));
    assert_eq!(envelope.partitionkey.as_deref(), Some("order-17"));
    assert_eq!(&*envelope.data, br#"{"order": "order-17", "total": 4200}"#);
    assert!(envelope.time.as_micros() > 1_700_000_000_000_000);
}

#[tokio::test]
async fn bad_rows_of_other_languages_are_refused_with_the_name_of_what_is_wrong() {
    let name = "bad_rows_of_other_languages_are_refused_with_the_name_of_what_is_wrong";
    let Some(schema) = Schema::new(name).await else { return };
    let _store = schema.store().await;
    let mut db = schema.look().await;
    for (columns, values, wrong) in [
        ("id", "''", "factum_outbox_id_1_to_255_bytes"),
        ("id", "repeat('x', 256)", "factum_outbox_id_1_to_255_bytes"),
        ("id, partitionkey", "'1', ''", "factum_outbox_key_1_to_512_bytes"),
        ("id, extensions", "'1', '[1]'", "factum_outbox_ext_is_an_object"),
    ] {
        let sql = format!(
            "INSERT INTO factum_outbox (source, type, data, {columns}) VALUES ('s', 't', '', {values})"
        );
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut db).await.unwrap_err();
        let error = error.into_database_error().unwrap();
        assert_eq!(error.constraint(), Some(wrong), "{error}");
    }
}

/// What is in flight at once never needs more connections than there are, however few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_14_two_connections_are_enough_for_everything_at_once() {
    let Some(schema) = Schema::new("f_14_two_connections_are_enough_for_everything_at_once").await else {
        return;
    };
    schema.options().migrate().await.unwrap();
    let store = schema.options().connections(2).wait(support::LONG).connect().await.unwrap();
    let bus = factum_runtime::memory_bus();
    let subscription = factum::Subscription::named("seen").on(see);
    let service = factum_runtime::Service::new(work(&store, Dispatcher::new())).subscription(subscription);
    let running = service.start(&bus).await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for n in 0..200 {
        let work = work(&store, Dispatcher::new());
        all.spawn(async move { write_note::<Schema>(&work, &format!("{n}")).await.unwrap() });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    running.drain().await.unwrap();
    assert_eq!(schema.counts().await, (400, 0));
}

async fn see(
    received: &factum::integration::Received<support::NoteWrittenV1>,
    uow: &mut factum::UnitOfWork<Postgres>,
) -> factum::Outcome {
    support::insert(uow.connection().await?, &format!("seen {}", received.id), "well").await?;
    Ok(())
}
