//! What factum costs, beside a hand-written loop on the same servers. Each figure is a line of JSON; `README.md` says how
//! to read it. It refuses to measure on anything that is not its own: every run has a database and names that it made.

mod figure;
mod fill;
mod machine;
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
        }
    })
}
