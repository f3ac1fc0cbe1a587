//! `enqueue`: what the outbox costs whoever writes: a row with and without an event, through the unit of work and through
//! `append` in a transaction of one's own, beside the same SQL by hand on the same driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use factum::Persist;
use factum_store_mysql::MySql;
use factum_store_postgres::Postgres;
use tokio::task::JoinSet;

use crate::figure::{Line, Rounds};
use crate::notes::{self, Note, Notes};
use crate::place::{Database, Store};
use crate::{Outcome, ours};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where the database is made
    #[arg(long)]
    store: Store,
    /// Clients, each with one transaction at a time
    #[arg(long, default_values_t = [1, 8, 32], value_delimiter = ',')]
    clients: Vec<u32>,
    /// Rounds; the median counts
    #[arg(long, default_value_t = 9)]
    repeat: usize,
    /// Milliseconds of each way in a round
    #[arg(long, default_value_t = 500)]
    slice: u64,
}

/// How a transaction is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Hand { announces: bool },
    Run { announces: bool },
    Append,
}

const WAYS: [Way; 5] = [
    Way::Hand { announces: true },
    Way::Run { announces: true },
    Way::Append,
    Way::Hand { announces: false },
    Way::Run { announces: false },
];

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let database = Database::create(&options.store).await?;
    let ended = match &database.store {
        Store::Postgres(url) => in_database::<Postgres>(options, &database, url).await,
        Store::MySql(url) => in_database::<MySql>(options, &database, url).await,
    };
    database.drop().await?;
    ended
}

async fn in_database<S: Notes>(options: &Options, database: &Database, url: &str) -> Outcome<()>
where
    Note: Persist<S>,
{
    ours::migrate(&database.store).await?;
    database.store.run(notes::TABLE).await?;
    // No id is used twice.
    let ids = Arc::new(AtomicI64::new(1));
    for &clients in &options.clients {
        let store = S::open(url, clients).await?;
        let pool = S::pool(url, clients).await?;
        let mut rounds: [Rounds; WAYS.len()] = Default::default();
        for round in 0..=options.repeat {
            for turn in 0..WAYS.len() {
                // Begins elsewhere each time, so that nobody always comes after the same.
                let n = (turn + round) % WAYS.len();
                let at = Instant::now() + Duration::from_millis(options.slice);
                let rate = slice(WAYS[n], &store, &pool, clients, &ids, at).await?;
                // The first round fills pools, prepares statements and warms caches.
                if round > 0 {
                    rounds[n].note(rate);
                }
            }
        }
        let [hand, run, append, hand_without, run_without] = rounds;
        for (way, events, ours, by_hand) in [
            ("run", 1, &run, &hand),
            ("append", 1, &append, &hand),
            ("run", 0, &run_without, &hand_without),
            ("outbox", 1, &run, &run_without),
        ] {
            let mut line = Line::of("enqueue", Some(database.store.name()), None);
            line.rates(if way == "outbox" { "run without an event" } else { "hand" }, ours, by_hand);
            line.put("way", way).put("clients", clients).put("events", events).print();
        }
    }
    Ok(())
}

/// Transactions a second, until then.
async fn slice<S: Notes>(
    way: Way,
    store: &S,
    pool: &S::Pool,
    clients: u32,
    ids: &Arc<AtomicI64>,
    ends: Instant,
) -> Outcome<f64>
where
    Note: Persist<S>,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        tasks.spawn(client(way, store.clone(), pool.clone(), Arc::clone(ids), ends));
    }
    let mut done = 0;
    while let Some(client) = tasks.join_next().await {
        done += client??;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

async fn client<S: Notes>(
    way: Way,
    store: S,
    pool: S::Pool,
    ids: Arc<AtomicI64>,
    ends: Instant,
) -> Outcome<u32>
where
    Note: Persist<S>,
{
    let work = notes::work(&store, way == Way::Run { announces: true });
    let mut done = 0;
    while Instant::now() < ends {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        match way {
            Way::Hand { announces } => S::by_hand(&pool, id, announces).await?,
            Way::Append => store.append(&pool, id).await?,
            Way::Run { .. } => notes::write(&work, id).await?,
        }
        done += 1;
    }
    Ok(done)
}
