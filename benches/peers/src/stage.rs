//! What every peer gets: a database of its own, a stream of its own, and one line for its figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, StorageType};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::Notify;

use crate::{Options, Outcome};

/// A database and a stream for one run.
pub struct Stage {
    server: String,
    name: String,
    pub url: String,
    pub bus: Bus,
}

/// Publishes one message and awaits its acknowledgement; counts. Clones share the connection.
#[derive(Clone)]
pub struct Bus {
    context: Context,
    subject: Option<String>,
    done: Arc<(AtomicU64, u64, Notify)>,
}

impl Bus {
    pub async fn publish(&self, payload: Vec<u8>) -> Outcome<()> {
        if let Some(subject) = &self.subject {
            self.context.publish(subject.clone(), payload.into()).await?.await?;
        }
        if self.done.0.fetch_add(1, Ordering::AcqRel) + 1 >= self.done.1 {
            self.done.2.notify_one();
        }
        Ok(())
    }
}

impl Stage {
    pub async fn open(options: &Options) -> Outcome<Self> {
        let name = format!("factum_peer_{:08x}", fastest_random());
        let mut db = PgConnection::connect(&options.store).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut db).await?;
        let authority = options.store.find("://").map_or(0, |at| at + 3);
        let end = options.store[authority..].find('/').map_or(options.store.len(), |at| authority + at);
        let url = format!("{}/{name}", &options.store[..end]);
        let context = async_nats::jetstream::new(async_nats::connect(&options.bus).await?);
        let config = Config {
            name: name.clone(),
            subjects: vec![format!("{name}.>")],
            storage: StorageType::File,
            ..Config::default()
        };
        context.create_stream(config).await?;
        let subject = (!options.no_bus).then(|| format!("{name}.order-placed"));
        let done = Arc::new((AtomicU64::new(0), options.rows, Notify::new()));
        Ok(Self { server: options.store.clone(), name, url, bus: Bus { context, subject, done } })
    }

    pub async fn run(&self, sql: String) -> Outcome<()> {
        let mut db = PgConnection::connect(&self.url).await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await?;
        Ok(())
    }

    /// Waits until all rows were published and the database says that none is left.
    pub async fn drained(&self, left: &'static str) -> Outcome<()> {
        tokio::time::timeout(Duration::from_secs(600), self.bus.done.2.notified()).await?;
        let mut db = PgConnection::connect(&self.url).await?;
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while sqlx::query_scalar::<_, i64>(left).fetch_one(&mut db).await? > 0 {
            looks.tick().await;
        }
        Ok(())
    }

    pub async fn close(self) -> Outcome<()> {
        self.bus.context.delete_stream(&self.name).await?;
        let mut db = PgConnection::connect(&self.server).await?;
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await?;
        Ok(())
    }
}

fn fastest_random() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0u8) as u32
}

/// One line; `ours_per_s` is the peer's rate here.
pub fn print(options: &Options, peer: &str, mut rates: Vec<f64>) {
    rates.sort_by(f64::total_cmp);
    let rate = rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN).round();
    let bus = if options.no_bus { "null" } else { "\"nats\"" };
    println!(
        r#"{{"bench":"peer","store":"postgres","bus":{bus},"payload":{},"keys":null,"relays":1,"limit":null,"ours_per_s":{rate},"limit_per_s":null,"ratio":null,"peer":"{peer}","rows":{},"rounds":{}}}"#,
        options.payload,
        options.rows,
        rates.len(),
    );
}

/// Rows a second.
pub fn rate(options: &Options, began: Instant) -> f64 {
    options.rows as f64 / began.elapsed().as_secs_f64()
}

/// SQL for a JSON text of the wanted length, for row `i`.
pub fn payload(options: &Options) -> String {
    let text = options.payload.saturating_sub(2);
    format!("rpad('{{\"order\":' || i || ',\"text\":\"', {text}, 'x') || '\"}}'")
}
