//! Transactions that commit out of `seq` order: nobody who reads on from where he was misses a row, however long a
//! transaction stays open, and holes hold nothing up for longer than the trail.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use factum::port::{Asked, BucketSet, Lease, OutboxStore as _, Read, Settlement};
use factum_conformance::service;
use factum_launcher::{MariaDb, or_skip};
use factum_store_mysql::MySql;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use support::Database;

const TRAIL: Duration = Duration::from_millis(400);

/// Reads on from where it was, as a relay does, and keeps what it was shown.
struct Reader {
    store: MySql,
    leases: Vec<Lease>,
    tail: i64,
    floor: i64,
    shown: BTreeSet<i64>,
}

impl Reader {
    async fn new(store: &MySql) -> Self {
        let asked = Asked { duration: Duration::from_secs(600), most: 64, give_back: BucketSet::default() };
        let leases = store.lease("reader", asked).await.unwrap().leases;
        Self { store: store.clone(), leases, tail: 0, floor: 0, shown: BTreeSet::new() }
    }

    async fn read(&mut self, rows_max: usize) -> usize {
        let except =
            self.shown.iter().copied().filter(|seq| self.floor < *seq && *seq <= self.tail).collect();
        let read = Read { buckets: BucketSet::ALL, above: self.tail, except, rows_max, bytes_max: 1 << 20 };
        let found = self.store.read(read).await.unwrap();
        self.floor = found.floor;
        for row in &found.rows {
            self.shown.insert(row.seq);
            self.tail = self.tail.max(row.seq);
        }
        found.rows.len()
    }

    /// Deletes what it was shown and is chosen.
    async fn settle(&self, chosen: impl Fn(i64) -> bool) {
        let confirmed: Vec<_> = self.shown.iter().copied().filter(|seq| chosen(*seq)).collect();
        let settlement = Settlement { confirmed, ..Settlement::default() };
        self.store.settle("reader", &self.leases, &settlement).await.unwrap();
    }

    /// Reads until the floor has come up to the tail.
    async fn is_final(&mut self) {
        let watchdog = Instant::now() + Duration::from_secs(20);
        while self.floor < self.tail {
            assert!(Instant::now() < watchdog, "the floor stays at {} below {}", self.floor, self.tail);
            self.read(1_000).await;
        }
    }
}

async fn fresh(database: &Database) -> (MySql, Reader) {
    fresh_with(database, TRAIL).await
}

async fn fresh_with(database: &Database, trail: Duration) -> (MySql, Reader) {
    let store = database.store_with(|options| options.trail(trail)).await;
    let reader = Reader::new(&store).await;
    (store, reader)
}

/// Inserts rows, and answers their numbers.
async fn insert(db: &mut MySqlConnection, name: &str, rows: usize) -> Vec<i64> {
    let values: Vec<_> = (0..rows).map(|n| format!("('urn:w', '{name}-{n}', 'a.b.v1', '{{}}')")).collect();
    let sql = format!("INSERT INTO factum_outbox (source, id, type, data) VALUES {}", values.join(","));
    let first = db.execute(AssertSqlSafe(sql)).await.unwrap().last_insert_id();
    (0..rows as i64).map(|n| first as i64 + n).collect()
}

#[tokio::test]
async fn f_20_a_row_that_commits_late_is_shown() {
    let Some(database) = Database::or_skip("f_20_a_row_that_commits_late_is_shown") else { return };
    let (_store, mut reader) = fresh(&database).await;
    let (mut slow, mut quick) = (database.look().await, database.look().await);
    slow.execute("BEGIN").await.unwrap();
    let late = insert(&mut slow, "late", 2).await;
    let early = insert(&mut quick, "early", 2).await;
    assert!(late < early);
    let began = Instant::now();
    // Longer than the trail: a transaction may live as long as it likes, and costs nothing after that.
    while began.elapsed() < TRAIL * 3 || reader.floor < reader.tail {
        reader.read(100).await;
        let young = began.elapsed() < TRAIL / 2;
        assert!(!young || reader.floor < late[0], "{} would skip {late:?}", reader.floor);
        assert!(began.elapsed() < TRAIL * 20, "the floor stays at {}", reader.floor);
    }
    assert_eq!(reader.shown, early.iter().copied().collect());
    slow.execute("COMMIT").await.unwrap();
    // What was in hand may be shown again where the reader did not expect it to.
    reader.shown.clear();
    assert_eq!(reader.read(100).await, 4);
    assert!(reader.shown.is_superset(&late.into_iter().collect()));
    reader.is_final().await;
}

#[tokio::test]
async fn f_21_holes_hold_the_floor_for_the_trail_and_no_longer() {
    let name = "f_21_holes_hold_the_floor_for_the_trail_and_no_longer";
    let Some(database) = Database::or_skip(name) else { return };
    let (_store, mut reader) = fresh(&database).await;
    let mut db = database.look().await;
    for n in 0..1_000 {
        db.execute("BEGIN").await.unwrap();
        insert(&mut db, &n.to_string(), 1).await;
        let end = if n % 10 == 9 { "COMMIT" } else { "ROLLBACK" };
        db.execute(end).await.unwrap();
    }
    assert_eq!(reader.read(1_000).await, 100);
    assert!(reader.floor < reader.tail);
    let began = Instant::now();
    reader.is_final().await;
    assert!(began.elapsed() >= TRAIL, "nothing was waited for: {:?}", began.elapsed());
}

#[tokio::test]
async fn f_21_a_long_transaction_holds_up_no_row_of_others() {
    let name = "f_21_a_long_transaction_holds_up_no_row_of_others";
    let Some(database) = Database::or_skip(name) else { return };
    let (_store, mut reader) = fresh(&database).await;
    let (mut slow, mut quick) = (database.look().await, database.look().await);
    slow.execute("BEGIN").await.unwrap();
    let late = insert(&mut slow, "late", 1).await;
    for n in 0..50 {
        let new = insert(&mut quick, &n.to_string(), 20).await;
        reader.read(1_000).await;
        assert!(reader.shown.is_superset(&new.into_iter().collect()), "they are shown at once");
        reader.settle(|seq| seq % 7 != 0).await;
    }
    slow.execute("COMMIT").await.unwrap();
    reader.read(1_000).await;
    assert!(reader.shown.contains(&late[0]));
}

/// A small generator, so that a failure can be run again with its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// What the writers have committed, and how far they are.
#[derive(Default)]
struct Committed {
    seqs: Mutex<BTreeSet<i64>>,
    steps: AtomicUsize,
    writing: AtomicUsize,
}

impl Committed {
    fn now(&self) -> BTreeSet<i64> {
        self.seqs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Begins, inserts, and commits or rolls back; between any two steps it waits until others have done so many.
async fn write(mut db: MySqlConnection, writer: u64, seed: u64, committed: Arc<Committed>) {
    let mut random = Random(seed ^ (writer + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for n in 0..40 {
        let mut mine = Vec::new();
        db.execute("BEGIN").await.unwrap();
        for part in 0..=random.below(2) {
            mine.extend(insert(&mut db, &format!("{writer}-{n}-{part}"), 1 + random.below(3) as usize).await);
            // Some stay open for much longer than the trail.
            let others = if random.below(10) == 0 { 400 } else { random.below(12) as usize };
            let until = committed.steps.fetch_add(1, Ordering::SeqCst) + others;
            while committed.steps.load(Ordering::SeqCst) < until {
                // The others may have ended, or wait as well.
                committed.steps.fetch_add(usize::from(random.below(50) == 0), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
        if random.below(4) == 0 {
            db.execute("ROLLBACK").await.unwrap();
        } else {
            db.execute("COMMIT").await.unwrap();
            committed.seqs.lock().unwrap_or_else(PoisonError::into_inner).extend(mine);
        }
    }
    committed.writing.fetch_sub(1, Ordering::SeqCst);
}

/// After every read all is shown that was committed before it began, whatever order the writers take.
async fn read_while_eight_write(database: &Database, seed: u64) {
    let (_store, mut reader) = fresh_with(database, TRAIL / 8).await;
    let committed = Arc::new(Committed::default());
    committed.writing.store(8, Ordering::SeqCst);
    let mut writers = Vec::new();
    for writer in 0..8 {
        writers.push(tokio::spawn(write(database.look().await, writer, seed, Arc::clone(&committed))));
    }
    let mut random = Random(seed);
    let mut late = 0;
    while committed.writing.load(Ordering::SeqCst) > 0 {
        let before = committed.now();
        let (tail, shown) = (reader.tail, reader.shown.len());
        reader.read(10_000).await;
        late += reader.shown.range(..=tail).count() - shown;
        let missed: Vec<_> = before.difference(&reader.shown).collect();
        assert!(missed.is_empty(), "seed {seed}: {missed:?} are below {} and were never shown", reader.tail);
        let (part, whole) = (random.below(3), 1 + random.below(3));
        reader.settle(|seq| seq.unsigned_abs() % whole == part % whole).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    reader.read(10_000).await;
    assert_eq!(reader.shown, committed.now(), "seed {seed}");
    reader.is_final().await;
    eprintln!("seed {seed}: {} rows, {late} of them late", reader.shown.len());
}

fn seed() -> u64 {
    let seed = std::env::var("FACTUM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed =
        seed.unwrap_or_else(|| Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()));
    eprintln!("FACTUM_SEED={seed}");
    seed | 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_20_whatever_order_eight_writers_commit_in_no_row_is_missed() {
    let name = "f_20_whatever_order_eight_writers_commit_in_no_row_is_missed";
    if let Some(url) = service::MYSQL.url_or_skip(name) {
        let seed = seed();
        for round in 0..3 {
            read_while_eight_write(&Database::on(&url), seed.wrapping_add(round * 2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_30_no_row_is_missed_in_any_mode_of_drawing_numbers() {
    let name = "f_30_no_row_is_missed_in_any_mode_of_drawing_numbers";
    let seed = seed();
    for mode in ["0", "1", "2"] {
        let started = MariaDb::start_with(&[("innodb_autoinc_lock_mode", mode)]).await;
        let Some(server) = or_skip(name, started) else { return };
        read_while_eight_write(&Database::on(server.url()), seed).await;
    }
}
