//! How a store finds its server and its tables, what it refuses, and what a server that crashes takes back.

mod support;

use factum::Dispatcher;
use factum::integration::Inspect as _;
use factum::port::{OutboxStore as _, Read};
use factum_launcher::{MariaDb, or_skip};
use factum_store_mysql::{Error, MySql, Options};
use sqlx::Executor as _;
use support::{ALL, Database, announce, assert_works, work, write_note};

#[tokio::test]
async fn a_database_without_tables_is_told_what_to_call() {
    let name = "a_database_without_tables_is_told_what_to_call";
    let Some(database) = Database::or_skip(name) else { return };
    let error = database.options().connect().await.unwrap_err();
    assert!(matches!(error, Error::NoTables { .. }), "{error}");
    assert!(error.to_string().contains("migrate().await` creates them"), "{error}");
    database.options().migrate().await.unwrap();
    database.run("UPDATE factum_migrations SET version = 99").await;
    let error = database.options().connect().await.unwrap_err();
    assert!(matches!(error, Error::NewerSchema { found: 99, .. }), "{error}");
    assert!(matches!(database.options().migrate().await, Err(Error::NewerSchema { .. })));
    // As after a crash in the middle of the first step.
    database.run("DELETE FROM factum_migrations; DROP TABLE factum_document, factum_inbox").await;
    assert!(matches!(database.options().connect().await, Err(Error::NoTables { .. })));
    let incarnation = "SELECT conv(value, 16, 10) & 1048575 FROM factum_meta WHERE name = 'incarnation'";
    let before = database.number(&format!("SELECT CAST(({incarnation}) AS SIGNED)")).await;
    database.options().migrate().await.unwrap();
    let after = database.number(&format!("SELECT CAST(({incarnation}) AS SIGNED)")).await;
    assert_eq!(before, after, "a database has one life");
    database.options().connect().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_before_a_server_is_asked() {
    for prefix in ["Factum_", "a`b", "2shop", "", &"x".repeat(40)] {
        let options = MySql::options("mysql://127.0.0.1:1/x").prefix(prefix);
        let error = options.migrate().await.unwrap_err();
        assert!(matches!(&error, Error::BadName { .. }), "{error}");
        assert!(matches!(options.connect().await, Err(Error::BadName { .. })), "{prefix}");
    }
    let error = MySql::connect("no URL").await.unwrap_err();
    assert!(matches!(&error, Error::MySql(sqlx::Error::Configuration(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_may_migrate_at_once() {
    let Some(database) = Database::or_skip("eight_processes_may_migrate_at_once") else { return };
    let all: Vec<_> = (0..8)
        .map(|_| {
            let options = database.options();
            tokio::spawn(async move {
                options.migrate().await?;
                options.connect().await
            })
        })
        .collect();
    let mut incarnations = std::collections::BTreeSet::new();
    for one in all {
        incarnations
            .insert(one.await.unwrap().expect("it migrates and connects").incarnation().map(str::to_owned));
    }
    assert_eq!(incarnations.len(), 1);
    assert_eq!(database.number("SELECT count(*) FROM factum_lease").await, 64);
    assert_eq!(database.number("SELECT count(*) FROM factum_migrations").await, 1);
}

#[tokio::test]
async fn services_with_prefixes_of_their_own_share_a_database() {
    let name = "services_with_prefixes_of_their_own_share_a_database";
    let Some(database) = Database::or_skip(name) else { return };
    let mut stores = Vec::new();
    for prefix in ["shop_", "bank_"] {
        stores.push(
            database.store_with(|options| options.prefix(prefix).connections(1).own_connections(1)).await,
        );
    }
    write_note::<Database>(&work(&stores[0], Dispatcher::new()), "one").await.unwrap();
    let outbox = async |store: &MySql| store.backlog().await.unwrap().outbox;
    assert_eq!((outbox(&stores[0]).await, outbox(&stores[1]).await), (1, 0));
    assert_eq!(stores[0].read(ALL).await.unwrap().rows.len(), 1);
    assert_ne!(stores[0].incarnation(), stores[1].incarnation());
}

#[tokio::test]
async fn a_service_that_only_announces_needs_only_insert() {
    let name = "a_service_that_only_announces_needs_only_insert";
    let Some(database) = Database::or_skip(name) else { return };
    let store = database.store().await;
    let user = database.name().replace("factum_", "u");
    let on = format!("ON {}", database.name());
    database
        .run(&format!(
            "CREATE USER {user}@'%' IDENTIFIED BY 'secret';
             GRANT INSERT {on}.factum_outbox TO {user}@'%'; GRANT ALL {on}.notes TO {user}@'%'"
        ))
        .await;
    let options = || Options::with(database.server().username(&user).password("secret"));
    assert!(options().connect().await.is_err(), "it may not look at the tables");
    let announcing = options().only_announce(true).connect().await.unwrap();
    let result = write_note::<Database>(&work(&announcing, Dispatcher::new().on(announce)), "one").await;
    assert!(announcing.read(ALL).await.is_err());
    database.run(&format!("DROP USER {user}@'%'")).await;
    result.unwrap();
    assert_eq!((database.counts().await, store.read(ALL).await.unwrap().rows.len()), ((1, 2), 2));
}

#[tokio::test]
async fn a_pool_of_the_applications_own_says_where_to_connect() {
    let name = "a_pool_of_the_applications_own_says_where_to_connect";
    let Some(database) = Database::or_skip(name) else { return };
    let _ = database.store().await;
    let pool = sqlx::mysql::MySqlPoolOptions::new().max_connections(1).connect_with(database.server()).await;
    let pool = pool.unwrap();
    let _held = pool.acquire().await.unwrap();
    let store = Options::like(&pool).connections(1).own_connections(1).connect().await.unwrap();
    assert_works(&database, &work(&store, Dispatcher::new()), "one").await;
    assert_eq!(store.read(ALL).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn what_the_server_does_not_take_in_one_statement_is_told_with_what_to_set() {
    let name = "what_the_server_does_not_take_in_one_statement_is_told_with_what_to_set";
    let settings = [("max_allowed_packet", "1048576")];
    let Some(server) = or_skip(name, MariaDb::start_with(&settings).await) else { return };
    let database = Database::on(server.url());
    let store = database.store().await;
    let envelope = |n: usize, bytes: usize| {
        factum::Envelope::new(n.to_string().as_str(), support::SOURCE, "com.example.a.v1", vec![0; bytes])
    };
    let mut db = database.look().await;
    // Together they are too much for one statement, and none of them is.
    let envelopes: Vec<_> = (0..10).map(|n| envelope(n, 250 << 10)).collect();
    store.append(&mut db, &envelopes).await.unwrap();
    let error = store.append(&mut db, &[envelope(10, 1 << 20)]).await.unwrap_err();
    assert!(error.to_string().contains("max_allowed_packet is 1048576: SET GLOBAL"), "{error}");
    let read = Read { bytes_max: 1 << 30, ..ALL };
    assert_eq!(store.read(read).await.unwrap().rows.len(), 10);
}

/// There a lock that was waited for too long takes the whole transaction with it.
#[tokio::test]
async fn f_07_a_swallowed_timeout_that_rolled_back_leaves_nothing() {
    let name = "f_07_a_swallowed_timeout_that_rolled_back_leaves_nothing";
    let settings = [("innodb_rollback_on_timeout", "ON")];
    let Some(server) = or_skip(name, MariaDb::start_with(&settings).await) else { return };
    let database = Database::on(server.url());
    let store = database.store_with(|options| options.wait(std::time::Duration::from_secs(1))).await;
    database.run("INSERT INTO notes VALUES ('held', 'well', 1)").await;
    let mut holder = database.look().await;
    holder.execute(sqlx::raw_sql("BEGIN; UPDATE notes SET version = 2 WHERE id = 'held'")).await.unwrap();
    let mut uow = work(&store, Dispatcher::new()).begin().await.unwrap();
    let db = uow.connection().await.unwrap();
    support::insert(db, "before", "well").await.unwrap();
    let waited = sqlx::query("UPDATE notes SET version = 3 WHERE id = 'held'").execute(&mut **db).await;
    assert_eq!(factum::Sort::of::<MySql>(&waited.unwrap_err()), factum::Sort::Transient);
    let _ = support::insert(db, "after", "well").await;
    let error = uow.save_changes().await.unwrap_err();
    assert!(error.to_string().contains("ended by the server"), "{error}");
    holder.execute("ROLLBACK").await.unwrap();
    assert_eq!(database.counts().await, (1, 0));
}

/// What is committed shows before it is flushed: here the server is made to leave it at that.
#[tokio::test]
async fn f_32_what_a_read_has_shown_survives_a_crash() {
    let name = "f_32_what_a_read_has_shown_survives_a_crash";
    let settings = [("innodb_flush_log_at_timeout", "2700")];
    let Some(mut server) = or_skip(name, MariaDb::start_with(&settings).await) else { return };
    let database = std::mem::ManuallyDrop::new(Database::on(server.url()));
    let store = database.store().await;
    let flush = async |how: &str| {
        database.run(&format!("SET GLOBAL innodb_flush_log_at_trx_commit = {how}")).await;
    };
    flush("0").await;
    let error = database.options().connect().await.unwrap_err();
    assert!(error.to_string().contains("SET GLOBAL innodb_flush_log_at_trx_commit = 1"), "{error}");
    let work = work(&store, Dispatcher::new());
    for n in 0..20 {
        write_note::<Database>(&work, &format!("shown {n}")).await.unwrap();
    }
    flush("1").await;
    let shown = store.read(ALL).await.unwrap().rows;
    flush("0").await;
    for n in 0..20 {
        write_note::<Database>(&work, &format!("never shown {n}")).await.unwrap();
    }
    server.kill().unwrap();
    server.start_again().await.unwrap();
    // Its connection is gone, and that is noticed once.
    let again = match store.read(ALL).await {
        Ok(found) => found.rows,
        Err(_) => store.read(ALL).await.unwrap().rows,
    };
    let seqs = |rows: &[factum::port::OutboxRow]| rows.iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(shown.len(), 20);
    assert!(seqs(&again).starts_with(&seqs(&shown)), "shown: {:?}, left: {:?}", seqs(&shown), seqs(&again));
    eprintln!("of 20 that were never shown the crash has left {}", again.len() - 20);
    assert_works(&*database, &support::work(&store, Dispatcher::new()), "afterwards").await;
}

#[tokio::test]
async fn a_server_that_was_started_again_costs_no_unit_of_work() {
    let name = "a_server_that_was_started_again_costs_no_unit_of_work";
    let Some(mut server) = or_skip(name, MariaDb::start().await) else { return };
    let database = std::mem::ManuallyDrop::new(Database::on(server.url()));
    let store = database.store().await;
    let work = work(&store, Dispatcher::new());
    for n in 0..3 {
        write_note::<Database>(&work, &format!("before {n}")).await.unwrap();
        server.kill().unwrap();
        let error = write_note::<Database>(&work, "meanwhile").await.unwrap_err();
        assert_eq!(error.sort::<MySql>(), factum::Sort::Transient, "{error}");
        server.start_again().await.unwrap();
        write_note::<Database>(&work, &format!("after {n}")).await.unwrap();
    }
    let mut db = database.look().await;
    db.execute("SELECT 1").await.unwrap();
    assert_eq!(database.counts().await, (6, 6));
}
