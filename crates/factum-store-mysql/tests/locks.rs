//! What relays lock and look at: little more than they take, without ever standing in a writer's way or waiting for each
//! other in a circle; and what one costs that has nothing to do.

#[path = "support/bus.rs"]
mod bus;
mod support;

use std::time::{Duration, Instant};

use bus::{Collector, Running, assert_drained};
use factum::port::{Asked, BucketSet, OutboxStore as _, Read, Settlement};
use factum_launcher::{MariaDb, or_skip};
use factum_store_mysql::MySql;
use sqlx::{Executor as _, Row as _};
use support::{ALL, Database, commit, envelope, lease};

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
