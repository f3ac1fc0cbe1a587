//! Relays over this store: from plain SQL of any client, several at a time, frozen, and on servers that are set up oddly.

#[path = "support/bus.rs"]
mod bus;
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use bus::{Collector, Running, assert_drained};
use factum::integration::Inspect as _;
use factum::port::{Access, Intent, OutboxStore as _, Settlement, Store as _};
use factum_launcher::{MariaDb, or_skip};
use factum_store_mysql::{MySql, Options};
use sqlx::{Executor as _, Row as _};
use support::{ALL, Database, commit, envelope, lease};

/// The client program, with the settings of a careless user.
fn client(database: &Database, sql: &str) -> String {
    let url = factum_conformance::service::MYSQL.url();
    let url: &str = url.rsplit_once('@').map_or(&url, |(_, rest)| rest);
    let (host, port) = url.split('/').next().and_then(|host| host.split_once(':')).unwrap_or((url, "3306"));
    let client = Command::new("mariadb")
        .args([
            "-h",
            host,
            "-P",
            port,
            "-u",
            "root",
            "--default-character-set=utf8mb4",
            "-N",
            database.name(),
        ])
        .args(["-e", sql])
        .output()
        .expect("the client program `mariadb`");
    assert!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
    String::from_utf8(client.stdout).expect("UTF-8")
}

/// What the guide tells people to do.
fn of_the_guide() -> &'static str {
    let guide = include_str!("../../../docs/guides/any-language.md");
    let (_, ours) = guide.split_once("## MariaDB and MySQL").expect("a part of our own");
    let (_, sql) = ours.split_once("```sql").expect("SQL");
    sql.split_once("```").expect("its end").0
}

#[tokio::test]
async fn f_39_a_plain_insert_of_any_client_is_published() {
    let Some(database) = Database::or_skip("f_39_a_plain_insert_of_any_client_is_published") else { return };
    let store = database.store().await;
    let careless = "SET SESSION sql_mode = '', time_zone = '+05:30', lc_messages = 'ru_RU';";
    client(&database, &format!("{careless} {}", of_the_guide()));
    let bus = Collector::new();
    let relay = Running::start(store.clone(), &bus);
    bus.until(1).await;
    let others = "INSERT INTO factum_outbox (source, id, type, partitionkey, data) VALUES
        ('urn:x', 'a', 'a.b.v1', 'Schlüssel \u{1F4BF}', '');";
    let look = "SELECT bucket FROM factum_outbox WHERE source = 'urn:x'";
    let bucket = client(&database, &format!("START TRANSACTION; {others} {look}; COMMIT"));
    bus.until(2).await;
    relay.shut_down().await;
    let envelope = bus.seen()[0].clone();
    assert_eq!(&*envelope.data, br#"{"order": "order-17", "total": 4200}"#);
    assert_eq!(envelope.partitionkey.as_deref(), Some("order-17"));
    assert_eq!(&*envelope.datacontenttype, "application/json");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    assert!((now - envelope.time.as_micros()).abs() < 60_000_000, "{:?} is not now", envelope.time);
    let other = bus.seen()[1].clone();
    assert_eq!(other.partitionkey.as_deref(), Some("Schlüssel \u{1F4BF}"));
    assert_eq!(bucket.trim(), other.bucket().to_string(), "any language gets the bucket that we compute");
    let mut db = database.look().await;
    let list =
        "INSERT INTO factum_outbox (source, id, type, data, extensions) VALUES ('a', 'b', 'c', '', '[]')";
    let error = db.execute(list).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("23000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_41_relays_that_come_and_go_publish_each_event_once_and_in_order() {
    let name = "f_41_relays_that_come_and_go_publish_each_event_once_and_in_order";
    let Some(database) = Database::or_skip(name) else { return };
    const KEYS: usize = 64;
    const EACH: usize = 60;
    let store = database.store_with(|options| options.own_connections(4)).await;
    let bus = Collector::new();
    let first = Running::start(store.clone(), &bus);
    let writers = (0..4).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                for key in (0..KEYS).filter(|key| key % 4 == writer) {
                    commit(&store, vec![envelope(&format!("key {key}"), n)]).await;
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    bus.until(KEYS * EACH / 8).await;
    let others: Vec<_> = (0..3).map(|_| Running::start(store.clone(), &bus)).collect();
    bus.until(KEYS * EACH / 3).await;
    first.shut_down().await;
    for writer in writers {
        writer.await.unwrap();
    }
    bus.until(KEYS * EACH).await;
    for relay in others {
        relay.shut_down().await;
    }
    assert_drained(&store, &bus, KEYS, EACH).await;
}

#[tokio::test]
async fn f_43_a_late_completion_changes_nothing() {
    let Some(database) = Database::or_skip("f_43_a_late_completion_changes_nothing") else { return };
    let store = database.store().await;
    commit(&store, vec![envelope("a", 0), envelope("b", 0)]).await;
    let frozen = lease(&store, "frozen", Duration::from_millis(50)).await;
    let rows = store.read(ALL).await.unwrap().rows;
    let watchdog = Instant::now() + Duration::from_secs(10);
    while lease(&store, "other", Duration::from_secs(60)).await.leases.len() < 64 {
        assert!(Instant::now() < watchdog, "the lease does not expire");
    }
    let confirmed =
        Settlement { confirmed: rows.iter().map(|row| row.seq).collect(), ..Settlement::default() };
    let failed = vec![factum::port::FailedTry {
        seq: rows[0].seq,
        attempts: 3,
        again_after: Duration::ZERO,
        reason: "late".into(),
    }];
    let both = Settlement { failed, ..confirmed.clone() };
    for late in [&confirmed, &both] {
        assert_eq!(store.settle("frozen", &frozen.leases, late).await.unwrap(), 0);
    }
    // It gets them back, under higher epochs: what it still has to say of the time before counts no more.
    store.release("other").await.unwrap();
    assert_eq!(lease(&store, "frozen", Duration::from_secs(60)).await.leases.len(), 64);
    for late in [&confirmed, &both] {
        assert_eq!(store.settle("frozen", &frozen.leases, late).await.unwrap(), 0);
    }
    assert_eq!(store.backlog().await.unwrap().outbox, 2);
    assert_eq!(database.number("SELECT sum(attempts) + 0e0 = 0 FROM factum_outbox").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_38_f_39_a_server_that_is_set_up_oddly_changes_nothing() {
    let name = "f_38_f_39_a_server_that_is_set_up_oddly_changes_nothing";
    for isolation in ["SERIALIZABLE", "READ-UNCOMMITTED"] {
        let settings = [
            ("transaction-isolation", isolation),
            ("default-time-zone", "-03:30"),
            ("lc-messages", "ru_RU"),
            ("character-set-server", "latin1"),
            ("sql-mode", "ANSI_QUOTES"),
            ("autocommit", "0"),
            ("innodb_rollback_on_timeout", "ON"),
        ];
        let Some(server) = or_skip(name, MariaDb::start_with(&settings).await) else { return };
        let database = Database::on(server.url());
        let store = database.store().await;
        assert_eq!(isolation_of(&store).await, "READ-COMMITTED");
        let bus = Collector::new();
        let mut open = database.look().await;
        let uncommitted =
            "BEGIN; INSERT INTO factum_outbox (source, id, type, data) VALUES ('u', 'x/0', 'a.b.v1', '')";
        open.execute(sqlx::raw_sql(uncommitted)).await.unwrap();
        let relays = [Running::start(store.clone(), &bus), Running::start(store.clone(), &bus)];
        for n in 0..20 {
            commit(&store, (0..8).map(|key| envelope(&format!("key {key}"), n)).collect()).await;
        }
        bus.until(160).await;
        open.execute("ROLLBACK").await.unwrap();
        for relay in relays {
            relay.shut_down().await;
        }
        assert_drained(&store, &bus, 8, 20).await;
    }
}

/// What a unit of work runs under; the store's own connections are prepared alike.
async fn isolation_of(store: &MySql) -> String {
    let mut tx = store.begin(&Intent { access: Access::Write, who: "a test".into() }).await.unwrap();
    let asked = "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')";
    let row = MySql::connection(&mut tx).await.unwrap().fetch_one(asked).await.unwrap();
    MySql::rollback(tx).await;
    row.try_get(1).unwrap()
}

#[tokio::test]
async fn f_39_a_lease_is_the_same_to_sessions_of_other_time_zones() {
    let name = "f_39_a_lease_is_the_same_to_sessions_of_other_time_zones";
    let Some(database) = Database::or_skip(name) else { return };
    let _ = database.store().await;
    let at = async |zone: &str| {
        let server = database.server().timezone(Some(zone.into()));
        Options::with(server).connect().await.unwrap()
    };
    let (west, east) = (at("-11:00").await, at("+13:00").await);
    for (holder, other) in [(&west, &east), (&east, &west)] {
        assert_eq!(lease(holder, "holder", Duration::from_secs(60)).await.leases.len(), 64);
        let found = lease(other, "other", Duration::from_secs(60)).await;
        assert_eq!((found.leases.len(), found.relays), (0, 2));
        holder.release("holder").await.unwrap();
        other.release("other").await.unwrap();
    }
}
