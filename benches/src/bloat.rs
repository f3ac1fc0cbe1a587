//! `bloat`: the rate and the size of the table while millions of rows pass through it, with and without a snapshot that is
//! held open all the while and keeps the database from removing what was deleted. Rows come in chunks, by plain SQL; the
//! time counts from the moment that a chunk is there until it is gone.

use std::future::Future;
use std::time::Instant;

use clap::Args;
use factum::Persist;
use factum::port::OutboxStore;
use factum_store_mysql::MySql;
use factum_store_postgres::Postgres;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};

use crate::figure::{Line, Rounds};
use crate::fill::Rows;
use crate::notes::{Note, Notes};
use crate::ours::{Namespace, Relays};
use crate::place::{Bus, Database, Store, unique};
use crate::raw::{Headers, RawBus, RawStore, drain};
use crate::{Outcome, fill, ours, raw};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where the database is made
    #[arg(long)]
    store: Store,
    /// The broker
    #[arg(long)]
    bus: Bus,
    /// Rows that pass in all
    #[arg(long, default_value_t = 5_000_000)]
    rows: u64,
    /// Rows that are in the table at once
    #[arg(long, default_value_t = 50_000)]
    chunk: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(60..))]
    payload: u64,
    /// Ordering keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
}

impl Options {
    fn a_chunk(&self) -> Rows {
        Rows { rows: self.chunk, payload: self.payload, keys: self.keys }
    }
}

/// A tenth of the rows.
#[derive(Default)]
struct Tenth {
    rates: Rounds,
    bytes: i64,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    for snapshot in [false, true] {
        let database = Database::create(&options.store).await?;
        let ended = match &database.store {
            Store::Postgres(url) => {
                both::<Postgres, raw::postgres::Postgres>(options, &database, url, snapshot).await
            }
            Store::MySql(url) => both::<MySql, raw::mysql::MySql>(options, &database, url, snapshot).await,
        };
        database.drop().await?;
        ended?;
    }
    Ok(())
}

async fn both<S: Notes, R: RawStore>(
    options: &Options,
    database: &Database,
    url: &str,
    snapshot: bool,
) -> Outcome<()>
where
    Note: Persist<S>,
{
    ours::migrate(&database.store).await?;
    fill::create_raw(&database.store).await?;
    let held = Snapshot::open(&database.store, snapshot).await?;
    let ours = through::<S>(options, database, url).await?;
    let by_hand = match &options.bus {
        Bus::Nats(at) => {
            let name = unique("bench_raw");
            raw::nats::create(at, &name).await?;
            let open = || raw::nats::Nats::open(at, &name, Headers::None);
            let tenths = by_hand::<R, _, _>(options, database, url, open).await;
            raw::nats::remove(at, &name).await?;
            tenths?
        }
        Bus::RabbitMq(at) => {
            let name = unique("bench_raw");
            raw::rabbitmq::create(at, &name, 1).await?;
            let open = || raw::rabbitmq::RabbitMq::open(at, &name, 1, Headers::None);
            let tenths = by_hand::<R, _, _>(options, database, url, open).await;
            raw::rabbitmq::remove(at, &name, 1).await?;
            tenths?
        }
    };
    drop(held);
    line(options, snapshot, &ours, &by_hand).print();
    Ok(())
}

fn line(options: &Options, snapshot: bool, ours: &[Tenth], by_hand: &[Tenth]) -> Line {
    let medians = |tenths: &[Tenth]| {
        let mut rounds = Rounds::default();
        tenths.iter().for_each(|tenth| rounds.note(tenth.rates.median()));
        rounds
    };
    let rates = |tenths: &[Tenth]| -> Value {
        tenths.iter().map(|tenth| json!(tenth.rates.median().round())).collect()
    };
    let bytes = |tenths: &[Tenth]| -> Value { tenths.iter().map(|tenth| json!(tenth.bytes)).collect() };
    let mut line = Line::of("bloat", Some(options.store.name()), Some(options.bus.name()));
    line.rates("ordered", &medians(ours), &medians(by_hand));
    line.put("payload", options.payload).put("keys", options.keys).put("relays", 1);
    line.put("rows", options.rows).put("chunk", options.chunk).put("snapshot_held", snapshot);
    line.put("ours_per_s_by_tenth", rates(ours)).put("limit_per_s_by_tenth", rates(by_hand));
    line.put("ours_bytes_by_tenth", bytes(ours)).put("limit_bytes_by_tenth", bytes(by_hand));
    line
}

/// One relay that runs all the while, woken after each chunk.
async fn through<S: Notes>(options: &Options, database: &Database, url: &str) -> Outcome<Vec<Tenth>>
where
    Note: Persist<S>,
{
    let namespace = Namespace::create(&options.bus).await?;
    let store = S::open(url, 10).await?;
    let port: std::sync::Arc<dyn OutboxStore> = std::sync::Arc::new(store.clone());
    let mut relay = Relays::over(vec![port], &namespace).await?;
    let mut tenths = Vec::new();
    let mut settled = 0;
    for (tenth, chunks) in tenths_of(options) {
        tenths.push(Tenth::default());
        for _ in 0..chunks {
            fill::append_ours(&database.store, options.a_chunk()).await?;
            settled += options.chunk;
            let began = Instant::now();
            store.wake_relays();
            relay.settle(settled).await?;
            tenths[tenth].rates.note(options.chunk as f64 / began.elapsed().as_secs_f64());
        }
        tenths[tenth].bytes = size(database, "factum_outbox").await?;
    }
    relay.stop().await?;
    namespace.remove().await?;
    Ok(tenths)
}

/// The ordered loop, which knows where the last chunk ended.
async fn by_hand<R: RawStore, B: RawBus, F: Future<Output = Outcome<B>>>(
    options: &Options,
    database: &Database,
    url: &str,
    bus: impl Fn() -> F,
) -> Outcome<Vec<Tenth>> {
    let mut tenths = Vec::new();
    let mut above = 0;
    for (tenth, chunks) in tenths_of(options) {
        tenths.push(Tenth::default());
        for _ in 0..chunks {
            fill::append_raw(&database.store, options.a_chunk()).await?;
            let (reader, deleter) = (R::open(url, Headers::None).await?, R::open(url, Headers::None).await?);
            let bus = bus().await?;
            let began = Instant::now();
            above = drain::ordered(reader, deleter, bus, above, options.chunk).await?.0;
            tenths[tenth].rates.note(options.chunk as f64 / began.elapsed().as_secs_f64());
        }
        tenths[tenth].bytes = size(database, "raw_outbox").await?;
    }
    Ok(tenths)
}

fn tenths_of(options: &Options) -> impl Iterator<Item = (usize, u64)> {
    let chunks = (options.rows / options.chunk.max(1)).max(10);
    (0..10).map(move |tenth: u64| (tenth as usize, (tenth + 1) * chunks / 10 - tenth * chunks / 10))
}

/// On the disk, with indexes.
async fn size(database: &Database, table: &str) -> Outcome<i64> {
    let sql = match &database.store {
        Store::Postgres(_) => format!("SELECT pg_total_relation_size('{table}')"),
        Store::MySql(_) => format!(
            "SELECT CAST(file_size AS SIGNED) FROM information_schema.innodb_sys_tablespaces WHERE name = '{}/{table}'",
            database.name
        ),
    };
    database.store.ask(sql).await
}

/// A transaction that has looked, and looks no more.
enum Snapshot {
    None,
    Postgres { _db: PgConnection },
    MySql { _db: MySqlConnection },
}

impl Snapshot {
    async fn open(store: &Store, wanted: bool) -> Outcome<Self> {
        let sql = |text: &'static str| sqlx::raw_sql(AssertSqlSafe(text));
        match store {
            _ if !wanted => Ok(Self::None),
            Store::Postgres(url) => {
                let mut db = PgConnection::connect(url).await?;
                let text = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM factum_outbox";
                sql(text).execute(&mut db).await?;
                Ok(Self::Postgres { _db: db })
            }
            Store::MySql(url) => {
                let mut db = MySqlConnection::connect(url).await?;
                sql("START TRANSACTION WITH CONSISTENT SNAPSHOT").execute(&mut db).await?;
                Ok(Self::MySql { _db: db })
            }
        }
    }
}
