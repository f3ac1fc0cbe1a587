//! The drain of `factum-bench relay` on other crates of the same purpose: rows that are there when the clock begins, each
//! published to JetStream and its acknowledgement awaited. Each is set up as its own documentation shows, with its
//! default batch and with a larger one. It refuses to tune what a user could not.

mod apalis_postgres_jobs;
mod oxide_outbox;
mod ruststream_inbox;
mod stage;

use clap::{Parser, ValueEnum};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    Oxide,
    Apalis,
    Ruststream,
}

#[derive(Clone, Debug, Parser)]
struct Options {
    /// Where a database is made: postgres://user@host/database
    #[arg(long)]
    store: String,
    /// nats://host:4222
    #[arg(long)]
    bus: String,
    /// Rows for each run
    #[arg(long, default_value_t = 50_000)]
    rows: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 200)]
    payload: u64,
    /// Rounds; the median counts
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Hand nothing to the broker: the queue alone
    #[arg(long)]
    no_bus: bool,
    /// Which
    #[arg(value_enum, default_values_t = [Peer::Oxide, Peer::Apalis, Peer::Ruststream])]
    peers: Vec<Peer>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let options = Options::parse();
    for peer in &options.peers {
        match peer {
            Peer::Oxide => oxide_outbox::run(&options).await?,
            Peer::Apalis => apalis_postgres_jobs::run(&options).await?,
            Peer::Ruststream => ruststream_inbox::run(&options).await?,
        }
    }
    Ok(())
}
