//! The suite that every store must pass, behind PgBouncer in transaction mode with two connections (F-36): nothing is
//! kept in a session, because the next transaction is in another.

#[path = "support/fixture.rs"]
mod fixture;
mod support;

use std::sync::OnceLock;
use std::time::Duration;

use factum::port::{OutboxStore as _, Settlement};
use factum_launcher::{PgBouncer, Postgres, or_skip};
use fixture::Schemas;
use support::{Schema, all_above, ids, lease_all, plain_insert, run, scalar};

/// Started once for all cases, and gone with the process.
struct Servers {
    direct: String,
    pooled: String,
    _running: (Postgres, PgBouncer, tokio::runtime::Runtime),
}

fn servers() -> Option<&'static Servers> {
    static SERVERS: OnceLock<Option<Servers>> = OnceLock::new();
    let start = || {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.expect("a runtime");
            let (postgres, bouncer) = runtime.block_on(async {
                let postgres = or_skip("the suite behind PgBouncer", Postgres::start().await)?;
                let bouncer = PgBouncer::over(&postgres, 2).await;
                Some((postgres, or_skip("the suite behind PgBouncer", bouncer)?))
            })?;
            let (direct, pooled) = (postgres.url().to_owned(), bouncer.url().to_owned());
            Some(Servers { direct, pooled, _running: (postgres, bouncer, runtime) })
        })
        .join()
        .expect("servers, or none")
    };
    SERVERS.get_or_init(start).as_ref()
}

fn schemas() -> Schemas {
    match servers() {
        Some(servers) => Schemas::at(&servers.direct, &servers.pooled),
        // It has been said; where nothing is there every case would fail.
        None => std::process::exit(0),
    }
}

factum_conformance::store_suite!(schemas());

#[tokio::test]
async fn f_36_a_pooler_is_found_out_and_nobody_listens_behind_one() {
    let Some(servers) = servers() else { return };
    let schema = Schema::at(&servers.direct).await;
    assert!(!schema.store().await.is_pooled());
    let store = schema.options_at(&servers.pooled).connect().await.unwrap();
    assert!(store.is_pooled());
    store.wake();
    store.hint().await;
    // Who has begun to listen gives another.
    let another = tokio::time::timeout(Duration::from_millis(500), store.hint()).await;
    assert!(another.is_err(), "somebody listens");
    plain_insert(&mut schema.look().await, "from outside", "a").await;
    assert_eq!(ids(&store.read(all_above(0)).await.unwrap()), ["from outside"]);
}

#[tokio::test]
async fn f_36_partitions_are_emptied_behind_a_pooler_too() {
    let Some(servers) = servers() else { return };
    let schema = Schema::at(&servers.direct).await;
    schema.options_at(&servers.pooled).partitioned(1024).migrate().await.unwrap();
    let store = schema.options_at(&servers.pooled).connect().await.unwrap();
    let leases = lease_all(&store, "relay").await.leases;
    let mut db = schema.look().await;
    let fill = "INSERT INTO factum_outbox (source, id, type, data)
        SELECT 'https://other.example', n::text, 'com.example.other.v1', '' FROM generate_series(1, 1500) AS n";
    run(&mut db, fill).await;
    let confirmed: Vec<_> = store.read(all_above(0)).await.unwrap().rows.iter().map(|row| row.seq).collect();
    let settlement = Settlement { confirmed, ..Settlement::default() };
    assert_eq!(store.settle("relay", &leases, &settlement).await.unwrap(), 1500);
    store.clean_up().await.unwrap();
    assert_eq!(scalar(&mut db, "SELECT pg_relation_size('factum_outbox_0')").await, 0);
}

/// One that passes on what sessions begin with, or swallows it without a word.
#[tokio::test]
async fn f_36_a_pooler_that_ignores_what_a_session_begins_with_is_found_out_too() {
    let Some(servers) = servers() else { return };
    let postgres = &servers._running.0;
    let quiet = [("ignore_startup_parameters", "extra_float_digits, options")];
    let bouncer = PgBouncer::over_with(postgres, 2, &quiet).await.unwrap();
    let schema = Schema::at(&servers.direct).await;
    schema.options_at(bouncer.url()).migrate().await.unwrap();
    assert!(schema.options_at(bouncer.url()).connect().await.unwrap().is_pooled());
}
