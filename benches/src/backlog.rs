//! `backlog`: a relay that starts before a long outbox: how soon the first envelope is with the broker, how much memory
//! it takes, and whether it stays as fast. The relay runs in a process of its own, so that nothing else is counted.

use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::figure::{Line, Rounds, hundredths};
use crate::fill::Rows;
use crate::ours::{Namespace, Relays};
use crate::place::{Bus, Database, Store};
use crate::relay::Limit;
use crate::{Outcome, fill, machine, ours, relay};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where the database is made
    #[arg(long)]
    store: Store,
    /// The broker
    #[arg(long)]
    bus: Bus,
    /// Rows in the outbox
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(60..))]
    payload: u64,
    /// Ordering keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
}

/// The process that has the relay: `factum-bench backlog` starts it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Child {
    #[arg(long)]
    store: String,
    #[arg(long)]
    bus: Bus,
    #[arg(long)]
    namespace: String,
    #[arg(long)]
    rows: u64,
}

/// What the child says at its end.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    first_ms: f64,
    tenths: Vec<f64>,
    resident_bytes: u64,
    repeats: u64,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let database = Database::create(&options.store).await?;
    let ended = in_database(options, &database).await;
    database.drop().await?;
    ended
}

async fn in_database(options: &Options, database: &Database) -> Outcome<()> {
    let rows = Rows { rows: options.rows, payload: options.payload, keys: options.keys };
    ours::migrate(&database.store).await?;
    fill::create_raw(&database.store).await?;
    fill::raw(&database.store, rows).await?;
    let limit = relay::Options::of(&options.store, &options.bus);
    let by_hand = relay::limited(&limit, database, Limit::Ordered, rows.rows).await?.elapsed;
    database.store.run("DROP TABLE raw_outbox").await?;

    fill::ours(&database.store, rows).await?;
    let namespace = Namespace::create(&options.bus).await?;
    let began = Instant::now();
    let told = in_a_child(database, options, namespace.name()).await;
    let elapsed = began.elapsed();
    namespace.remove().await?;
    let told = told?;

    let per_s = |elapsed: Duration| {
        let mut rounds = Rounds::default();
        rounds.note(rows.rows as f64 / elapsed.as_secs_f64());
        rounds
    };
    let mut line = Line::of("backlog", Some(options.store.name()), Some(options.bus.name()));
    line.rates("ordered", &per_s(elapsed), &per_s(by_hand));
    line.put("payload", rows.payload).put("keys", rows.keys).put("relays", 1).put("rows", rows.rows);
    line.put("first_publish_ms", hundredths(told.first_ms));
    line.put("resident_mib_most", hundredths(told.resident_bytes as f64 / f64::from(1 << 20)));
    let slowest = told.tenths.iter().copied().fold(f64::INFINITY, f64::min);
    let fastest = told.tenths.iter().copied().fold(0.0, f64::max);
    line.put("slowest_tenth_of_fastest", hundredths(slowest / fastest));
    line.put("ours_per_s_by_tenth", told.tenths).put("repeats", told.repeats).print();
    Ok(())
}

async fn in_a_child(database: &Database, options: &Options, namespace: &str) -> Outcome<Told> {
    let child = Command::new(std::env::current_exe()?)
        .args(["relay-alone", "--store", database.store.url(), "--bus", options.bus.url()])
        .args(["--namespace", namespace, "--rows", &options.rows.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        return Err(format!("the relay's process ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the child does. Its clock begins with it.
pub(crate) async fn child(options: &Child) -> Outcome<()> {
    let began = Instant::now();
    let namespace = Namespace::existing(&options.bus, &options.namespace);
    let mut relay = Relays::start(&options.store.parse()?, &namespace, 1).await?;
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    while relay.confirmed() == 0 {
        looks.tick().await;
    }
    let first_ms = began.elapsed().as_secs_f64() * 1e3;
    let mut tenths = Vec::new();
    let mut before = (Instant::now(), 0);
    for tenth in 1..=10 {
        let rows = options.rows * tenth / 10;
        relay.settle(rows).await?;
        let now = Instant::now();
        tenths.push(((rows - before.1) as f64 / (now - before.0).as_secs_f64()).round());
        before = (now, rows);
    }
    let repeats = relay.published() - options.rows;
    relay.stop().await?;
    let resident_bytes = machine::resident().map_or(0, |(_, most)| most);
    println!("{}", serde_json::to_string(&Told { first_ms, tenths, resident_bytes, repeats })?);
    Ok(())
}
