//! apalis with `apalis-postgres`: a queue of jobs, each of which publishes.

use std::time::Instant;

use apalis::prelude::*;
use apalis_postgres::{Config, PgPool, PostgresStorage};
use futures::stream;

use crate::stage::{self, Bus, Stage};
use crate::{Options, Outcome};

pub async fn run(options: &Options) -> Outcome<()> {
    for (batch, concurrency) in [(10, 1), (100, 1), (1_000, 100)] {
        let mut rates = Vec::new();
        for _ in 0..options.repeat {
            rates.push(once(options, batch, concurrency).await?);
        }
        let peer = format!("apalis-postgres 1.0.0, batch {batch}, concurrency {concurrency}");
        stage::print(options, &peer, rates);
    }
    Ok(())
}

async fn publish(payload: String, bus: Data<Bus>) -> Result<(), BoxDynError> {
    bus.publish(payload.into_bytes()).await
}

async fn once(options: &Options, batch: usize, concurrency: usize) -> Outcome<f64> {
    let stage = Stage::open(options).await?;
    let pool = PgPool::connect(&stage.url).await?;
    PostgresStorage::setup(&pool).await?;
    let config = Config::default().queue("orders").batch_size(batch);
    let mut backend = PostgresStorage::new(&pool).with_config(config.clone());
    let text = "x".repeat(options.payload.saturating_sub(25) as usize);
    let tasks = (0..options.rows).map(|n| format!("{{\"order\":{n:07},\"text\":\"{text}\"}}"));
    backend.push_all(&mut stream::iter(tasks.map(|payload| TaskBuilder::new(payload).build()))).await?;
    stage.run("VACUUM ANALYZE".into()).await?;
    let began = Instant::now();
    let worker = WorkerBuilder::new("relay")
        .backend(backend)
        .data(stage.bus.clone())
        .concurrency(concurrency)
        .build(publish);
    let running = tokio::spawn(worker.run());
    stage.drained("SELECT count(*) FROM apalis.jobs WHERE status <> 'Done'").await?;
    let rate = stage::rate(options, began);
    running.abort();
    pool.close().await;
    stage.close().await?;
    Ok(rate)
}
