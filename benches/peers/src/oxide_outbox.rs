//! oxide-outbox: `outbox-core` and `outbox-postgres`, with the transport that its trait asks for: one event, one answer.

use std::sync::Arc;
use std::time::Instant;

use outbox_core::prelude::*;
use outbox_postgres::PostgresOutbox;
use serde_json::Value;
use sqlx_0_8::PgPool;
use tokio::sync::watch;

use crate::stage::{self, Bus, Stage};
use crate::{Options, Outcome};

/// The crate's first migration, as it ships it.
const SCHEMA: &str = "
create type status as enum ('Pending', 'Processing', 'Sent');
create table outbox_events (
    id uuid primary key default gen_random_uuid(),
    idempotency_token text default null,
    event_type text not null,
    payload jsonb not null,
    status status not null default 'Pending',
    created_at timestamptz not null default now(),
    locked_until timestamptz not null default '-infinity'
);
CREATE INDEX idx_outbox_processing_queue ON outbox_events (locked_until ASC, status)
    WHERE status IN ('Pending', 'Processing');
CREATE UNIQUE INDEX idx_outbox_idempotency ON outbox_events (idempotency_token);
create or replace function notify_outbox_event() returns trigger as $$
begin
    perform pg_notify('outbox_event', 'ping');
    return new;
end;
$$ language plpgsql;
create trigger outbox_events_notify_trigger after insert or update on outbox_events
    for each row execute function notify_outbox_event();
";

struct JetStream(Bus);

#[async_trait::async_trait]
impl Transport<Value> for JetStream {
    async fn publish(&self, event: Event<Value>) -> Result<(), OutboxError> {
        let payload = serde_json::to_vec(event.payload.as_value()).unwrap_or_default();
        self.0.publish(payload).await.map_err(|error| OutboxError::BrokerError(error.to_string()))
    }
}

pub async fn run(options: &Options) -> Outcome<()> {
    for batch in [100, 1_000] {
        let mut rates = Vec::new();
        for _ in 0..options.repeat {
            rates.push(once(options, batch).await?);
        }
        stage::print(options, &format!("outbox-postgres 0.3.0, batch {batch}"), rates);
    }
    Ok(())
}

async fn once(options: &Options, batch: u32) -> Outcome<f64> {
    let stage = Stage::open(options).await?;
    stage.run(SCHEMA.into()).await?;
    stage
        .run(format!(
            "INSERT INTO outbox_events (event_type, payload) SELECT 'order-placed', ({})::jsonb FROM generate_series(1, {}) AS i",
            stage::payload(options),
            options.rows
        ))
        .await?;
    stage.run("VACUUM ANALYZE".into()).await?;
    let pool = PgPool::connect(&stage.url).await?;
    let mut config = OutboxConfig::default();
    config.batch_size = batch;
    let config = Arc::new(config);
    let (stop, stopped) = watch::channel(false);
    let manager = OutboxManagerBuilder::new()
        .storage(Arc::new(PostgresOutbox::<Value>::new(pool.clone(), Arc::clone(&config))))
        .publisher(Arc::new(JetStream(stage.bus.clone())))
        .config(config)
        .shutdown_rx(stopped)
        .build()?;
    let began = Instant::now();
    let running = tokio::spawn(manager.run());
    stage.drained("SELECT count(*) FROM outbox_events WHERE status <> 'Sent'").await?;
    let rate = stage::rate(options, began);
    stop.send_replace(true);
    running.abort();
    pool.close().await;
    stage.close().await?;
    Ok(rate)
}
