//! `idle`: what relays ask of the database, and of the processor, while there is nothing to do.

use std::time::Duration;

use clap::Args;

use crate::figure::{Line, hundredths};
use crate::ours::{Namespace, Relays};
use crate::place::{Bus, Database, Store};
use crate::{Outcome, machine, ours};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where the database is made
    #[arg(long)]
    store: Store,
    /// The broker
    #[arg(long)]
    bus: Bus,
    /// How many relays
    #[arg(long, default_values_t = [1, 2], value_delimiter = ',')]
    relays: Vec<usize>,
    /// Seconds that are measured
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds before that, in which relays come to rest
    #[arg(long, default_value_t = 10)]
    settle: u64,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    for &relays in &options.relays {
        let database = Database::create(&options.store).await?;
        let ended = in_database(options, &database, relays).await;
        database.drop().await?;
        ended?;
    }
    Ok(())
}

async fn in_database(options: &Options, database: &Database, relays: usize) -> Outcome<()> {
    ours::migrate(&database.store).await?;
    let namespace = Namespace::create(&options.bus).await?;
    if matches!(database.store, Store::Postgres(_)) {
        // A new database has much for the autovacuum to do, whose transactions count too.
        database.store.run("VACUUM (ANALYZE)").await?;
    }
    let running = Relays::start(&database.store, &namespace, relays).await?;
    // tidy: allow(sleep): the time that passes is what is measured
    tokio::time::sleep(Duration::from_secs(options.settle)).await;
    let (queries, cpu) = (queries(database).await?, machine::cpu());
    // tidy: allow(sleep): the time that passes is what is measured
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let cpu = machine::since(cpu);
    // Asking was one of them where the counter is the server's.
    let asked = self::queries(database).await? - queries;
    running.stop().await?;
    namespace.remove().await?;
    let a_second = |figure: f64| hundredths(figure / options.seconds as f64 / relays as f64);
    let mut line = Line::of("idle", Some(options.store.name()), Some(options.bus.name()));
    line.put("relays", relays).put("seconds", options.seconds);
    line.put("queries_per_s_per_relay", a_second(asked as f64));
    line.put("cpu_percent_per_relay", a_second(cpu.as_secs_f64() * 100.0)).print();
    Ok(())
}

/// On PostgreSQL the transactions of this database, each a query or a few, asked from another database, so that asking
/// is not counted. On MariaDB and MySQL the queries of the whole server: nobody else may use it meanwhile.
async fn queries(database: &Database) -> Outcome<i64> {
    match database.server() {
        server @ Store::Postgres(_) => {
            let sql = format!(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{}'",
                database.name
            );
            server.ask(sql).await
        }
        server @ Store::MySql(_) => {
            let sql = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status
                       WHERE variable_name = 'QUESTIONS'";
            server.ask(sql).await
        }
    }
}
