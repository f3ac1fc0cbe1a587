//! Relays over this store: from plain SQL of any client, several at a time, frozen, on servers that are set up oddly, and
//! without ever standing in a writer's way.

#[path = "support/bus.rs"]
mod bus;
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use bus::{Collector, Running};
use factum::Envelope;
use factum::integration::Inspect as _;
use factum::port::{
    Access, Asked, BucketSet, Intent, Leased, OutboxStore as _, Read, Settlement, Store as _,
};
use factum_launcher::{MariaDb, or_skip};
use factum_store_mysql::{MySql, Options};
use sqlx::{Executor as _, Row as _};
use support::Database;

const ALL: Read =
    Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 1_000, bytes_max: 1 << 22 };

fn envelope(key: &str, n: usize) -> Envelope {
    let mut envelope =
        Envelope::new(format!("{key}/{n}").as_str(), support::SOURCE, "com.example.a.v1", &b"{}"[..]);
    envelope.partitionkey = Some(key.into());
    envelope
}

async fn commit(store: &MySql, envelopes: Vec<Envelope>) {
    let tx = store.begin(&Intent { access: Access::Write, who: "a test".into() }).await.unwrap();
    MySql::commit(tx, envelopes).await.expect("it commits");
}

async fn lease(store: &MySql, owner: &str, duration: Duration) -> Leased {
    store.lease(owner, Asked { duration, most: 64, give_back: BucketSet::default() }).await.unwrap()
}

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

/// Every event once, in order per key.
async fn assert_drained(store: &MySql, bus: &Collector, keys: usize, each: usize) {
    assert_eq!(bus.seen().len(), keys * each, "duplicates");
    let by_key = bus.by_key();
    assert_eq!(by_key.len(), keys);
    for (key, numbers) in by_key {
        assert_eq!(numbers, (0..each).collect::<Vec<_>>(), "key {key}");
    }
    assert_eq!(store.backlog().await.unwrap().outbox, 0);
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

/// Locks that a relay takes are those of its own rows.
#[tokio::test]
async fn f_29_what_one_relay_settles_holds_up_neither_another_nor_a_writer() {
    let name = "f_29_what_one_relay_settles_holds_up_neither_another_nor_a_writer";
    let Some(database) = Database::or_skip(name) else { return };
    let store = database.store().await;
    commit(&store, (0..200).map(|n| envelope(&format!("key {n}"), n)).collect()).await;
    let rows = store.read(ALL).await.unwrap().rows;
    let (mine, theirs): (Vec<_>, Vec<_>) = rows.iter().map(|row| row.seq).partition(|seq| seq % 2 == 0);
    // What a settlement of every other row does, held open.
    let mut held = database.look().await;
    held.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
    held.execute("BEGIN").await.unwrap();
    let list = serde_json::to_string(&mine).unwrap();
    let sql = "DELETE o FROM JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$')) AS listed
        STRAIGHT_JOIN factum_outbox AS o ON o.seq = listed.seq";
    sqlx::query(sql).bind(list).execute(&mut held).await.unwrap();
    let leases = lease(&store, "two", Duration::from_secs(60)).await.leases;
    let (mut slowest, mut began) = (Duration::ZERO, Instant::now());
    let mut lap = || {
        slowest = slowest.max(began.elapsed());
        began = Instant::now();
    };
    for (n, seq) in theirs.iter().enumerate() {
        let settlement = Settlement { confirmed: vec![*seq], ..Settlement::default() };
        assert_eq!(store.settle("two", &leases, &settlement).await.unwrap(), 1);
        lap();
        commit(&store, vec![envelope("new", n)]).await;
        lap();
        store.read(ALL).await.unwrap();
        lap();
    }
    assert!(slowest < Duration::from_millis(500), "something waited {slowest:?}");
    held.execute("ROLLBACK").await.unwrap();
}

/// How many rows the whole server has looked at so far.
async fn rows_looked_at(database: &Database) -> i64 {
    let sql = "SELECT CAST(sum(variable_value) AS SIGNED) FROM information_schema.global_status
        WHERE variable_name LIKE 'HANDLER_READ%'";
    database.number(sql).await
}

/// Whatever it is that the store asks: it looks at little more than it takes, of very many.
#[tokio::test]
async fn f_29_reads_and_settlements_look_at_their_own_rows() {
    let name = "f_29_reads_and_settlements_look_at_their_own_rows";
    let Some(server) = or_skip(name, MariaDb::start().await) else { return };
    let database = Database::on(server.url());
    let store = database.store().await;
    let fill = "INSERT INTO factum_outbox (source, id, type, partitionkey, data)
        SELECT 'urn:x', seq, 'com.example.a.v1', seq % 100, '{}' FROM seq_1_to_10000";
    database.run(fill).await;
    database.run("ANALYZE TABLE factum_outbox").await;
    let leases = lease(&store, "one", Duration::from_secs(60)).await.leases;
    let all = Read { rows_max: 10_000, ..ALL };
    let mut rows = Vec::new();
    for _ in 0..4 {
        rows = store.read(all.clone()).await.unwrap().rows;
    }
    let failed = factum::port::FailedTry {
        seq: rows[2].seq,
        attempts: 1,
        again_after: Duration::ZERO,
        reason: "no".into(),
    };
    let plain = Settlement { confirmed: vec![rows[1].seq, rows[7].seq], ..Settlement::default() };
    let mixed = Settlement { confirmed: vec![rows[3].seq], failed: vec![failed], ..Settlement::default() };
    let (mut looked_at, mut marks) = (Vec::new(), rows_looked_at(&database).await);
    // What it costs to ask.
    let asking = rows_looked_at(&database).await - marks;
    let mut lap = async || {
        let now = rows_looked_at(&database).await;
        looked_at.push(now - std::mem::replace(&mut marks, now) - asking);
    };
    lap().await;
    commit(&store, vec![envelope("new", 0)]).await;
    lap().await;
    store.read(Read { above: rows[5_000].seq, rows_max: 100, ..ALL }).await.unwrap();
    lap().await;
    assert_eq!(store.settle("one", &leases, &plain).await.unwrap(), 2);
    lap().await;
    assert_eq!(store.settle("one", &leases, &mixed).await.unwrap(), 2);
    lap().await;
    assert!(looked_at.iter().all(|rows| *rows < 2_000), "rows looked at: {looked_at:?}");
}

/// How often somebody was the victim of a deadlock.
async fn deadlocks(database: &Database) -> i64 {
    let sql = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status
        WHERE variable_name = 'INNODB_DEADLOCKS'";
    database.number(sql).await
}

/// Writers and relays at once: no writer is ever the victim of a deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_28_relays_and_writers_never_deadlock() {
    let name = "f_28_relays_and_writers_never_deadlock";
    let Some(server) = or_skip(name, MariaDb::start().await) else { return };
    let database = Database::on(server.url());
    let store = database.store_with(|options| options.own_connections(4).connections(8)).await;
    let bus = Collector::new();
    let relays: Vec<_> = (0..4).map(|_| Running::start(store.clone(), &bus)).collect();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..60 {
                    commit(&store, (0..5).map(|key| envelope(&format!("{writer} {key}"), n)).collect()).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no writer was a victim");
    }
    bus.until(8 * 5 * 60).await;
    for relay in relays {
        relay.shut_down().await;
    }
    assert_drained(&store, &bus, 40, 60).await;
    eprintln!("deadlocks of relays, which tried again: {}", deadlocks(&database).await);
}

/// So that relays with nothing to do cost a database next to nothing.
#[tokio::test]
async fn a_relay_that_just_goes_on_renews_by_one_statement_and_notices_all_the_same() {
    let name = "a_relay_that_just_goes_on_renews_by_one_statement_and_notices_all_the_same";
    let Some(server) = or_skip(name, MariaDb::start().await) else { return };
    let database = Database::on(server.url());
    let store = database.store().await;
    let minute = Duration::from_secs(60);
    let share = Asked { duration: minute, most: 40, give_back: BucketSet::NONE };
    let mine = store.lease("one", share).await.unwrap();
    let theirs = lease(&store, "two", minute).await;
    assert_eq!((mine.leases.len(), theirs.leases.len(), theirs.relays), (40, 24, 2));
    let mine = store.lease("one", share).await.unwrap();
    let mut db = database.look().await;
    let mut questions = async || {
        let row = db.fetch_one("SHOW GLOBAL STATUS LIKE 'Questions'").await.unwrap();
        row.try_get::<String, _>(1).unwrap().parse::<u64>().unwrap()
    };
    let before = questions().await;
    for _ in 0..20 {
        assert_eq!(store.lease("one", share).await.unwrap(), mine);
    }
    assert_eq!(questions().await - before, 21, "20 of the lease, and the question itself");
    // Taken away, given back by somebody else, and somebody new.
    database.run("UPDATE factum_lease SET owner = 'three', epoch = epoch + 1 WHERE bucket = 5").await;
    let left = store.lease("one", share).await.unwrap();
    assert_eq!((left.leases.len(), left.relays), (39, 3), "whoever has a lease is at work");
    store.release("two").await.unwrap();
    lease(&store, "four", minute).await;
    let again = store.lease("one", share).await.unwrap();
    assert_eq!((again.leases.len(), again.relays), (39, 3));
    store.release("three").await.unwrap();
    store.release("four").await.unwrap();
    let again = store.lease("one", share).await.unwrap();
    assert_eq!((again.leases.len(), again.relays), (40, 1));
}

/// Relays that lose their leases all the time, and say what they have to say all the same.
async fn rush(store: &MySql, relay: u8) {
    let owner = format!("relay {relay}");
    for round in 0..25_u8 {
        let give_back: BucketSet =
            (0..64).filter(|bucket| (bucket + round + relay).is_multiple_of(3)).collect();
        let asked = Asked { duration: Duration::from_millis(40), most: 24, give_back };
        let leases = store.lease(&owner, asked).await.unwrap().leases;
        let rows = store.read(Read { rows_max: 20, ..ALL }).await.unwrap().rows;
        let mut seqs: Vec<_> = rows.iter().map(|row| row.seq).collect();
        if relay.is_multiple_of(2) {
            seqs.reverse();
        }
        let failed = |seq| factum::port::FailedTry {
            seq,
            attempts: 1,
            again_after: Duration::ZERO,
            reason: "no".into(),
        };
        let half = if round % 2 == 0 { seqs.len() / 2 } else { 0 };
        let failed = seqs.drain(..half).map(failed).collect();
        let settlement = Settlement { confirmed: seqs, failed, ..Settlement::default() };
        store.settle(&owner, &leases, &settlement).await.unwrap();
        if round % 3 == 2 {
            store.release(&owner).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_28_leases_settlements_and_inserts_never_wait_in_a_circle() {
    let name = "f_28_leases_settlements_and_inserts_never_wait_in_a_circle";
    let Some(server) = or_skip(name, MariaDb::start().await) else { return };
    let database = Database::on(server.url());
    let store = database.store_with(|options| options.own_connections(8).connections(8)).await;
    commit(&store, (0..400).map(|n| envelope(&format!("key {n}"), n)).collect()).await;
    let mut all = tokio::task::JoinSet::new();
    for relay in 0..8 {
        let store = store.clone();
        all.spawn(async move { rush(&store, relay).await });
    }
    for writer in 0..8 {
        let store = store.clone();
        all.spawn(async move {
            for n in 0..25 {
                commit(&store, (0..5).map(|key| envelope(&format!("{writer} {key}"), n)).collect()).await;
            }
        });
    }
    // A deadlock is an error of one of them, too.
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert_eq!(deadlocks(&database).await, 0);
}
