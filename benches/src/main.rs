//! What factum costs, beside a hand-written loop on the same servers. Each figure is a line of JSON; `README.md` says how
//! to read it. It refuses to measure on anything that is not its own: every run has a database and names that it made.

mod backlog;
mod bloat;
mod enqueue;
mod figure;
mod fill;
mod idle;
mod latency;
mod machine;
mod notes;
mod ours;
mod place;
mod raw;
mod relay;

use clap::{Parser, Subcommand};

type Outcome<T> = Result<T, factum::BoxError>;

#[derive(Parser)]
#[command(version, about = "What factum costs, beside a hand-written loop on the same servers")]
struct Program {
    /// Threads that both sides share; 0: everything on one
    #[arg(long, global = true, default_value_t = 2)]
    threads: usize,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Empty a full outbox into the broker
    Relay(relay::Options),
    /// Write rows with and without an event
    Enqueue(enqueue::Options),
    /// From commit to arrival, at a steady rate
    Latency(latency::Options),
    /// Rate and size of the table while millions of rows pass through it
    Bloat(bloat::Options),
    /// Queries and processor time with nothing to do
    Idle(idle::Options),
    /// A relay that starts before a long outbox
    Backlog(backlog::Options),
    #[command(hide = true)]
    RelayAlone(backlog::Child),
}

fn main() -> Outcome<()> {
    let program = Program::parse();
    let mut runtime = match program.threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async move {
        match program.bench {
            Bench::Relay(options) => relay::run(&options).await,
            Bench::Enqueue(options) => enqueue::run(&options).await,
            Bench::Latency(options) => latency::run(&options).await,
            Bench::Bloat(options) => bloat::run(&options).await,
            Bench::Idle(options) => idle::run(&options).await,
            Bench::Backlog(options) => backlog::run(&options).await,
            Bench::RelayAlone(options) => backlog::child(&options).await,
        }
    })
}
