//! ruststream-sqlx: a table as a queue, in its row-lock form. Its outbox is a middleware around publishing and has nothing
//! that drains, so its queue is what can be compared.

use std::sync::Mutex;
use std::time::Instant;

use ruststream::OutgoingMessage;
use ruststream_sqlx::prelude::*;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, Postgres};

use crate::stage::{self, Bus, Stage};
use crate::{Options, Outcome};

#[derive(Inbox, sqlx::FromRow)]
#[inbox(table = "order_jobs")]
struct OrderJob {
    #[field(id, generated)]
    id: i64,
    #[field(payload)]
    payload: Vec<u8>,
}

impl Publish<Postgres> for OrderJob {
    async fn publish(conn: &mut PgConnection, message: &OutgoingMessage<'_>) -> Result<(), sqlx::Error> {
        let sql = "INSERT INTO order_jobs (payload) VALUES ($1)";
        sqlx::query(sql).bind(message.payload()).execute(conn).await.map(drop)
    }
}

#[derive(Debug, Deserialize, Serialize, Outgoing)]
struct Order {
    order: u64,
    text: String,
}

/// Where the handlers of this run publish to: they are functions.
static BUS: Mutex<Option<Bus>> = Mutex::new(None);

async fn publish(order: &Order) -> HandlerOutcome {
    let bus = BUS.lock().ok().and_then(|bus| bus.clone());
    let (Some(bus), Ok(payload)) = (bus, serde_json::to_vec(order)) else { return HandlerOutcome::retry() };
    match bus.publish(payload).await {
        Ok(()) => HandlerOutcome::ack(),
        Err(_) => HandlerOutcome::retry(),
    }
}

#[subscriber(InboxQueue::<OrderJob>::new("orders"))]
async fn relay(order: &Order) -> HandlerOutcome {
    publish(order).await
}

pub async fn run(options: &Options) -> Outcome<()> {
    for workers in [1, 16] {
        let mut rates = Vec::new();
        for _ in 0..options.repeat {
            rates.push(once(options, workers).await?);
        }
        stage::print(options, &format!("ruststream-sqlx 0.7.1, row lock, {workers} workers"), rates);
    }
    Ok(())
}

async fn once(options: &Options, workers: usize) -> Outcome<f64> {
    let stage = Stage::open(options).await?;
    stage.run("CREATE TABLE order_jobs (id BIGSERIAL PRIMARY KEY, payload BYTEA NOT NULL)".into()).await?;
    stage
        .run(format!(
            "INSERT INTO order_jobs (payload) SELECT convert_to({}, 'UTF8') FROM generate_series(1, {}) AS i",
            stage::payload(options),
            options.rows
        ))
        .await?;
    stage.run("VACUUM ANALYZE".into()).await?;
    if let Ok(mut bus) = BUS.lock() {
        *bus = Some(stage.bus.clone());
    }
    let pool = PgPoolOptions::new().max_connections(20);
    let broker = SqlxBroker::from_connect_options(stage.url.parse::<PgConnectOptions>()?, pool);
    let app = RustStream::new(AppInfo::new("relay", "0.1.0")).with_broker(
        broker.route::<OrderJob>("orders"),
        |broker| match workers {
            1 => drop(broker.include(relay)),
            _ => drop(broker.include(relay.workers(nonzero!(16)))),
        },
    );
    let began = Instant::now();
    let running = app.start().await?;
    stage.drained("SELECT count(*) FROM order_jobs").await?;
    let rate = stage::rate(options, began);
    running.shutdown().await?;
    stage.close().await?;
    Ok(rate)
}
