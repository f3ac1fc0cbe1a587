//! `relay`: how fast a full outbox is emptied into the broker, beside the two raw loops on a table with the same payloads.

use std::time::{Duration, Instant};

use clap::Args;

use crate::figure::{Line, Rounds, hundredths};
use crate::fill::Rows;
use crate::place::{Bus, Database, Store, unique};
use crate::raw::drain;
use crate::raw::{Headers, RawBus, RawStore};
use crate::{Outcome, fill, machine, ours, raw};

/// Which limits to measure beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Limit {
    /// SKIP LOCKED, publish, delete by listed seq; two workers, no order.
    Claim,
    /// Ordered read, publish, delete by listed seq; one reader.
    Ordered,
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Ordered => "ordered",
        }
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where the database is made: postgres://user@host/database or mysql://user@host/
    #[arg(long)]
    pub(crate) store: Store,
    /// The broker: nats://host:4222 or amqp://user:password@host/%2f
    #[arg(long)]
    pub(crate) bus: Bus,
    /// Rows in the outbox when the clock begins
    #[arg(long, default_value_t = 200_000)]
    pub(crate) rows: u64,
    /// Bytes of a payload
    #[arg(long, default_values_t = [200], value_delimiter = ',', value_parser = clap::value_parser!(u64).range(60..))]
    pub(crate) payload: Vec<u64>,
    /// Ordering keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    /// How many relays
    #[arg(long, default_values_t = [1], value_delimiter = ',')]
    pub(crate) relays: Vec<usize>,
    /// Rounds; the median counts
    #[arg(long, default_value_t = 5)]
    pub(crate) repeat: usize,
    /// What to measure beside ours
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Limit::Claim, Limit::Ordered])]
    pub(crate) limit: Vec<Limit>,
    /// What the raw loops publish beside the payload
    #[arg(long, value_enum, default_value_t = Headers::None)]
    pub(crate) raw_headers: Headers,
    /// Quorum queues that the raw loops publish to
    #[arg(long, default_value_t = 1)]
    pub(crate) raw_queues: usize,
    /// The raw loops alone
    #[arg(long)]
    pub(crate) only_raw: bool,
    /// Ours alone
    #[arg(long)]
    pub(crate) only_ours: bool,
}

impl Options {
    /// For a raw loop alone.
    pub(crate) fn of(store: &Store, bus: &Bus) -> Self {
        Self {
            store: store.clone(),
            bus: bus.clone(),
            rows: 0,
            payload: Vec::new(),
            keys: 1,
            relays: Vec::new(),
            repeat: 1,
            limit: Vec::new(),
            raw_headers: Headers::None,
            raw_queues: 1,
            only_raw: true,
            only_ours: false,
        }
    }
}

/// What was measured in one combination.
#[derive(Default)]
struct Figures {
    ours: Side,
    claim: Side,
    ordered: Side,
    repeats: u64,
}

#[derive(Default)]
struct Side {
    rate: Rounds,
    /// Microseconds of this process for a message; servers have theirs.
    cpu: Rounds,
    /// Of the database's processes.
    store_cpu: Rounds,
}

impl Side {
    fn note(&mut self, rows: Rows, took: Took) {
        self.rate.note(rows.rows as f64 / took.elapsed.as_secs_f64());
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / rows.rows as f64;
        self.cpu.note(each(took.cpu));
        self.store_cpu.note(took.store_cpu.map_or(f64::NAN, each));
    }
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let database = Database::create(&options.store).await?;
    let ended = in_database(options, &database).await;
    database.drop().await?;
    ended
}

async fn in_database(options: &Options, database: &Database) -> Outcome<()> {
    fill::create_raw(&database.store).await?;
    if !options.only_raw {
        ours::migrate(&database.store).await?;
    }
    for &payload in &options.payload {
        for &relays in &options.relays {
            let rows = Rows { rows: options.rows, payload, keys: options.keys };
            let figures = rounds(options, database, rows, relays).await?;
            for &limit in &options.limit {
                line(options, rows, relays, limit, &figures).print();
            }
        }
    }
    Ok(())
}

/// Each round measures ours and each limit once; every other round begins at the other end.
async fn rounds(options: &Options, database: &Database, rows: Rows, relays: usize) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for round in 0..options.repeat {
        let mut turns: Vec<Option<Limit>> = vec![None];
        turns.extend(options.limit.iter().copied().map(Some));
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            match turn {
                None if !options.only_raw => {
                    fill::ours(&database.store, rows).await?;
                    let ours::Drained { elapsed, cpu, store_cpu, repeats } =
                        ours::drain(database, &options.bus, relays, rows.rows).await?;
                    figures.repeats += repeats;
                    figures.ours.note(rows, Took { elapsed, cpu, store_cpu });
                }
                Some(limit) if !options.only_ours => {
                    fill::raw(&database.store, rows).await?;
                    let took = limited(options, database, limit, rows.rows).await?;
                    match limit {
                        Limit::Claim => figures.claim.note(rows, took),
                        Limit::Ordered => figures.ordered.note(rows, took),
                    }
                }
                _ => {}
            }
        }
    }
    Ok(figures)
}

fn line(options: &Options, rows: Rows, relays: usize, limit: Limit, figures: &Figures) -> Line {
    let by_hand = match limit {
        Limit::Claim => &figures.claim,
        Limit::Ordered => &figures.ordered,
    };
    let mut line = Line::of("relay", Some(options.store.name()), Some(options.bus.name()));
    line.put("payload", rows.payload).put("keys", rows.keys).put("relays", relays);
    line.rates(limit.name(), &figures.ours.rate, &by_hand.rate).put("rows", rows.rows);
    line.put("ours_cpu_us", hundredths(figures.ours.cpu.median()));
    line.put("limit_cpu_us", hundredths(by_hand.cpu.median()));
    line.put("ours_store_cpu_us", hundredths(figures.ours.store_cpu.median()));
    line.put("limit_store_cpu_us", hundredths(by_hand.store_cpu.median())).put("repeats", figures.repeats);
    line.put("raw_headers", format!("{:?}", options.raw_headers).to_lowercase());
    line
}

/// How long it took, and how much of the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) elapsed: Duration,
    cpu: Duration,
    store_cpu: Option<Duration>,
}

/// One raw loop, once.
pub(crate) async fn limited(options: &Options, at: &Database, limit: Limit, rows: u64) -> Outcome<Took> {
    match &at.store {
        Store::Postgres(url) => on_store::<raw::postgres::Postgres>(options, at, url, limit, rows).await,
        Store::MySql(url) => on_store::<raw::mysql::MySql>(options, at, url, limit, rows).await,
    }
}

async fn on_store<S: RawStore>(
    options: &Options,
    at: &Database,
    store: &str,
    limit: Limit,
    rows: u64,
) -> Outcome<Took> {
    let (name, headers, queues) = (unique("bench_raw"), options.raw_headers, options.raw_queues);
    let stores = [S::open(store, headers).await?, S::open(store, headers).await?];
    let (took, stored) = match &options.bus {
        Bus::Nats(url) => {
            raw::nats::create(url, &name).await?;
            let open = || raw::nats::Nats::open(url, &name, headers);
            let took = timed(at, stores, [open().await?, open().await?], limit, rows).await;
            (took?, raw::nats::remove(url, &name).await?)
        }
        Bus::RabbitMq(url) => {
            raw::rabbitmq::create(url, &name, queues).await?;
            let open = || raw::rabbitmq::RabbitMq::open(url, &name, queues, headers);
            let took = timed(at, stores, [open().await?, open().await?], limit, rows).await;
            (took?, raw::rabbitmq::remove(url, &name, queues).await?)
        }
    };
    if stored == rows { Ok(took) } else { Err(format!("the broker has {stored} messages of {rows}").into()) }
}

/// All connections are open before the clock runs.
async fn timed<S: RawStore, B: RawBus>(
    at: &Database,
    [first, second]: [S; 2],
    [bus, other]: [B; 2],
    limit: Limit,
    rows: u64,
) -> Outcome<Took> {
    let (began, cpu) = (Instant::now(), machine::cpu());
    let stores = match limit {
        Limit::Claim => drain::claim(vec![(first, bus), (second, other)], rows).await?,
        Limit::Ordered => drain::ordered(first, second, bus, 0, rows).await?.1.into(),
    };
    let (elapsed, cpu) = (began.elapsed(), machine::since(cpu));
    // While they are connected, the server's processes can still be asked.
    let store_cpu = at.cpu().await?;
    drop(stores);
    Ok(Took { elapsed, cpu, store_cpu })
}
