//! Writers commit in any order. Whatever it is, nothing is passed over, no younger row of a key is shown before an older
//! one, and nobody who merely has something open holds anything up.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use factum::port::{Found, OutboxStore as _, Read};
use factum_store_postgres::Postgres;
use sqlx::{Connection as _, PgConnection};
use support::{Schema, all_above, ids, plain_insert, run, scalar};

/// A relay that never looks back by itself: it asks for what lies above the last read, and keeps all in hand.
struct Reader {
    store: Postgres,
    read: Read,
    in_hand: BTreeSet<i64>,
}

impl Reader {
    fn new(store: &Postgres) -> Self {
        Self { store: store.clone(), read: all_above(0), in_hand: BTreeSet::new() }
    }

    async fn read(&mut self) -> Found {
        let mut found = self.store.read(self.read.clone()).await.unwrap();
        found.rows.retain(|row| self.in_hand.insert(row.seq));
        self.read.above = self.in_hand.last().copied().unwrap_or(0);
        self.read.except = self.in_hand.range(found.floor.saturating_add(1)..).copied().collect();
        found
    }

    async fn ids(&mut self) -> Vec<String> {
        ids(&self.read().await)
    }
}

async fn begin(schema: &Schema) -> PgConnection {
    let mut db = schema.look().await;
    run(&mut db, "BEGIN").await;
    db
}

#[tokio::test]
async fn f_20_a_row_that_commits_late_is_not_passed_over() {
    let Some(schema) = Schema::new("f_20_a_row_that_commits_late_is_not_passed_over").await else { return };
    let mut reader = Reader::new(&schema.store().await);
    let mut slow = begin(&schema).await;
    plain_insert(&mut slow, "slow", "a").await;
    let mut fast = schema.look().await;
    for n in 0..5 {
        plain_insert(&mut fast, &format!("fast {n}"), "b").await;
        assert_eq!(reader.ids().await, [format!("fast {n}")]);
    }
    run(&mut slow, "COMMIT").await;
    assert_eq!(reader.ids().await, ["slow"]);
    assert!(reader.ids().await.is_empty());
}

/// By its rows or by its bytes.
#[tokio::test]
async fn f_20_what_a_read_left_out_because_it_was_full_is_shown_by_the_next() {
    let name = "f_20_what_a_read_left_out_because_it_was_full_is_shown_by_the_next";
    for (rows_max, bytes_max) in [(1, 64 << 20), (10_000, 1)] {
        let Some(schema) = Schema::new(name).await else { return };
        let mut reader = Reader::new(&schema.store().await);
        let mut slow = begin(&schema).await;
        for n in 0..5 {
            plain_insert(&mut slow, &format!("slow {n}"), "a").await;
        }
        plain_insert(&mut schema.look().await, "fast", "b").await;
        assert_eq!(reader.ids().await, ["fast"]);
        assert!(reader.ids().await.is_empty());
        run(&mut slow, "COMMIT").await;
        (reader.read.rows_max, reader.read.bytes_max) = (rows_max, bytes_max);
        for n in 0..5 {
            assert_eq!(reader.ids().await, [format!("slow {n}")]);
        }
    }
}

#[tokio::test]
async fn f_20_an_old_writer_is_not_read_for_and_not_passed_over_either() {
    let name = "f_20_an_old_writer_is_not_read_for_and_not_passed_over_either";
    let Some(schema) = Schema::new(name).await else { return };
    let mut reader = Reader::new(&schema.store().await);
    let mut fast = schema.look().await;
    plain_insert(&mut fast, "first", "b").await;
    reader.read().await;
    let mut slow = begin(&schema).await;
    plain_insert(&mut slow, "slow", "a").await;
    for n in 0..4 {
        plain_insert(&mut fast, &format!("{n}"), "b").await;
        reader.read().await;
    }
    // Longer than a writer is young.
    run(&mut fast, "SELECT pg_sleep(0.25)").await;
    let mut found = reader.read().await;
    for n in 4..8 {
        plain_insert(&mut fast, &format!("{n}"), "b").await;
        found = reader.read().await;
    }
    let slow_seq = scalar(&mut slow, "SELECT seq FROM factum_outbox WHERE id = 'slow'").await;
    assert!(found.floor > slow_seq, "reads go on beginning below {slow_seq}, at {}", found.floor);
    // Both of one key, the younger one by somebody who saw the older one committed.
    run(&mut slow, "COMMIT").await;
    plain_insert(&mut fast, "younger", "a").await;
    assert_eq!(reader.ids().await, ["slow", "younger"]);
    assert!(reader.ids().await.is_empty());
}

#[tokio::test]
async fn f_21_rolled_back_numbers_hold_nothing_up() {
    let Some(schema) = Schema::new("f_21_rolled_back_numbers_hold_nothing_up").await else { return };
    let mut reader = Reader::new(&schema.store().await);
    let mut db = schema.look().await;
    for n in 0..50 {
        run(&mut db, "BEGIN").await;
        plain_insert(&mut db, &format!("{n}"), "a").await;
        run(&mut db, if n % 5 == 4 { "COMMIT" } else { "ROLLBACK" }).await;
    }
    assert_eq!(reader.ids().await, ["4", "9", "14", "19", "24", "29", "34", "39", "44", "49"]);
    reader.read().await;
    let found = reader.read().await;
    assert_eq!((found.rows.len(), found.floor), (0, 50), "the next read begins where the last one ended");
}

/// The younger transaction id writes first (the lab's E9): `seq` order is right, and transaction ids would not be.
#[tokio::test]
async fn f_22_a_keys_order_is_that_of_its_numbers_not_of_transaction_ids() {
    let name = "f_22_a_keys_order_is_that_of_its_numbers_not_of_transaction_ids";
    let Some(schema) = Schema::new(name).await else { return };
    let mut reader = Reader::new(&schema.store().await);
    let mut db = schema.look().await;
    run(
        &mut db,
        "CREATE TABLE account (v integer); INSERT INTO account VALUES (0); CREATE TABLE other (x integer)",
    )
    .await;
    let mut early = begin(&schema).await;
    run(&mut early, "INSERT INTO other VALUES (1)").await;
    run(&mut db, "BEGIN; UPDATE account SET v = 1").await;
    plain_insert(&mut db, "version 1", "a").await;
    run(&mut db, "COMMIT").await;
    run(&mut early, "UPDATE account SET v = 2").await;
    plain_insert(&mut early, "version 2", "a").await;
    assert_eq!(reader.ids().await, ["version 1"]);
    run(&mut early, "COMMIT").await;
    assert_eq!(reader.ids().await, ["version 2"]);
}

#[tokio::test]
async fn f_24_a_writer_in_another_table_or_database_holds_nothing_up() {
    let name = "f_24_a_writer_in_another_table_or_database_holds_nothing_up";
    let Some(schema) = Schema::new(name).await else { return };
    let mut reader = Reader::new(&schema.store().await);
    let mut db = schema.look().await;
    let other = format!("other_{}", schema.name);
    run(&mut db, &format!("CREATE DATABASE {other}")).await;
    let options: sqlx::postgres::PgConnectOptions = schema.url.parse().unwrap();
    let mut elsewhere = PgConnection::connect_with(&options.database(&other)).await.unwrap();
    run(&mut elsewhere, "CREATE TABLE t (x integer); BEGIN; INSERT INTO t VALUES (1)").await;
    let mut here = begin(&schema).await;
    run(&mut here, "INSERT INTO notes VALUES ('open', 'well', 1)").await;
    for n in 0..20 {
        plain_insert(&mut db, &format!("{n}"), "a").await;
        assert_eq!(reader.ids().await, [format!("{n}")]);
    }
    // One look at the locks is good for some reads.
    let soon =
        tokio::time::timeout(Duration::from_secs(30), async { while reader.read().await.floor < 20 {} });
    soon.await.expect("nothing is read again");
    run(&mut elsewhere, "COMMIT").await;
    elsewhere.close().await.unwrap();
    run(&mut db, &format!("DROP DATABASE {other}")).await;
}

/// Its session is gone, and its lock has another name.
#[tokio::test]
async fn a_prepared_transaction_is_not_passed_over() {
    let name = "a_prepared_transaction_is_not_passed_over";
    let started = factum_launcher::Postgres::start_with(&[("max_prepared_transactions", "5")]).await;
    let Some(server) = factum_launcher::or_skip(name, started) else { return };
    let schema = Schema::at(server.url()).await;
    let mut reader = Reader::new(&schema.store().await);
    let mut db = schema.look().await;
    plain_insert(&mut db, "first", "b").await;
    reader.read().await;
    let mut slow = begin(&schema).await;
    plain_insert(&mut slow, "slow", "a").await;
    plain_insert(&mut db, "second", "b").await;
    reader.read().await;
    reader.read().await;
    run(&mut slow, "PREPARE TRANSACTION 'late'").await;
    for n in 0..4 {
        plain_insert(&mut db, &format!("{n}"), "b").await;
        reader.read().await;
    }
    run(&mut db, "SELECT pg_sleep(0.25)").await;
    reader.read().await;
    run(&mut db, "COMMIT PREPARED 'late'").await;
    plain_insert(&mut db, "younger", "a").await;
    assert_eq!(reader.ids().await, ["slow", "younger"]);
}

/// A small random number generator (SplitMix64): a failing run can be run again by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

const WRITERS: usize = 8;
const KEYS: u64 = 5;
const ROUNDS: usize = 50;

/// Writes to random keys, whose rows it holds as a writer of an aggregate does, and commits or rolls back; in between it
/// dawdles, now and then for longer than a writer is young.
async fn write(mut db: PgConnection, mut random: Random, writer: usize, committed: Arc<AtomicUsize>) {
    for round in 0..ROUNDS {
        run(&mut db, "BEGIN").await;
        let first = random.below(KEYS);
        let keys = [first, first + 1 + random.below(KEYS)];
        let keys = &keys[..1 + random.below(2) as usize];
        let mut rows = 0;
        for key in keys.iter().filter(|key| **key < KEYS) {
            run(&mut db, &format!("UPDATE account SET v = v + 1 WHERE key = {key}")).await;
            for n in 0..1 + random.below(3) {
                plain_insert(&mut db, &format!("{writer} {round} {key} {n}"), &key.to_string()).await;
                rows += 1;
            }
            let millis = if random.below(60) == 0 { 260 } else { random.below(6) };
            run(&mut db, &format!("SELECT pg_sleep({millis} / 1000.0)")).await;
        }
        if random.below(4) == 0 {
            run(&mut db, "ROLLBACK").await;
        } else {
            run(&mut db, "COMMIT").await;
            committed.fetch_add(rows, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_20_whatever_the_order_of_commits_each_key_is_shown_in_its_order_and_whole() {
    let name = "f_20_whatever_the_order_of_commits_each_key_is_shown_in_its_order_and_whole";
    let Some(schema) = Schema::new(name).await else { return };
    let seed = std::env::var("FACTUM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("FACTUM_SEED={seed}");
    let mut reader = Reader::new(&schema.store().await);
    let mut db = schema.look().await;
    run(&mut db, "CREATE TABLE account (key bigint PRIMARY KEY, v integer NOT NULL)").await;
    run(&mut db, &format!("INSERT INTO account SELECT n, 0 FROM generate_series(0, {KEYS}) AS n")).await;
    let committed = Arc::new(AtomicUsize::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let random = Random(seed.wrapping_add(writer as u64 * 1_000_003));
        writers.spawn(write(schema.look().await, random, writer, Arc::clone(&committed)));
    }
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut quiet = 0;
    // Both kinds of reading: all at once, and cut short.
    let mut random = Random(seed);
    while quiet < 3 {
        reader.read.rows_max = if random.below(2) == 0 { 1 } else { 10_000 };
        let found = reader.read().await;
        for row in &found.rows {
            let key = row.envelope.partitionkey.as_deref().unwrap().to_owned();
            let before = last.insert(key.clone(), row.seq).unwrap_or(0);
            assert!(before < row.seq, "key {key}: {} was shown before {}", before, row.seq);
        }
        quiet = if writers.is_empty() && found.rows.is_empty() { quiet + 1 } else { 0 };
        while writers.try_join_next().is_some_and(|done| done.map(|()| true).unwrap()) {}
    }
    assert_eq!(reader.in_hand.len(), committed.load(Ordering::SeqCst), "not all was shown");
}
