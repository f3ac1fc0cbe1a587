//! Our side: the relay of `factum-runtime` over an adapter's store and an adapter's bus, as an application opens them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use factum::EventBus;
use factum::integration::Interest;
use factum::port::OutboxStore;
use factum_bus_nats::Nats;
use factum_bus_rabbitmq::RabbitMq;
use factum_runtime::{Relay, RelayStats};
use factum_store_mysql::MySql;
use factum_store_postgres::Postgres;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::place::{Bus, Database, Store, unique};
use crate::{Outcome, fill, machine};

/// How often a run looks at the counts, without asking the database.
const LOOK: Duration = Duration::from_millis(1);

/// Creates our tables.
pub(crate) async fn migrate(store: &Store) -> Outcome<()> {
    match store {
        Store::Postgres(url) => Ok(Postgres::options(url).migrate().await?),
        Store::MySql(url) => Ok(MySql::options(url).migrate().await?),
    }
}

pub(crate) async fn outbox(store: &Store) -> Outcome<Arc<dyn OutboxStore>> {
    match store {
        Store::Postgres(url) => Ok(Arc::new(Postgres::options(url).connect().await?)),
        Store::MySql(url) => Ok(Arc::new(MySql::options(url).connect().await?)),
    }
}

pub(crate) async fn bus(bus: &Bus, namespace: &str) -> Outcome<Arc<dyn EventBus>> {
    match bus {
        Bus::Nats(url) => Ok(Arc::new(Nats::options(url).namespace(namespace).connect().await?)),
        Bus::RabbitMq(url) => Ok(Arc::new(RabbitMq::options(url).namespace(namespace).connect().await?)),
    }
}

/// A namespace on a broker that exists for one run.
pub(crate) struct Namespace {
    bus: Bus,
    name: String,
}

impl Namespace {
    /// Opens it, with a subscription that takes everything and that nobody reads.
    pub(crate) async fn create(at: &Bus) -> Outcome<Self> {
        let namespace = Self { bus: at.clone(), name: unique("bench").replace('_', "-") };
        if matches!(at, Bus::RabbitMq(_)) {
            let interest =
                Interest { subscription: "everything".into(), types: vec![fill::TYPE.into()], prefetch: 1 };
            drop(namespace.open().await?.subscribe(interest).await?);
        }
        Ok(namespace)
    }

    /// One that another process has opened.
    pub(crate) fn existing(bus: &Bus, name: &str) -> Self {
        Self { bus: bus.clone(), name: name.to_owned() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn open(&self) -> Outcome<Arc<dyn EventBus>> {
        bus(&self.bus, &self.name).await
    }

    /// Removes everything in it, and says how many messages were kept there, where the broker tells.
    pub(crate) async fn remove(self) -> Outcome<Option<u64>> {
        match &self.bus {
            Bus::Nats(url) => remove_streams(url, &self.name).await.map(Some),
            Bus::RabbitMq(url) => {
                RabbitMq::options(url).namespace(&self.name).clean_up().await?;
                Ok(None)
            }
        }
    }
}

/// Streams, and the streams behind buckets of keys and values.
async fn remove_streams(url: &str, namespace: &str) -> Outcome<u64> {
    use futures_util::TryStreamExt as _;
    let jetstream = async_nats::jetstream::new(async_nats::connect(url).await?);
    let names: Vec<String> = jetstream.stream_names().try_collect().await?;
    let mut stored = 0;
    for name in names.iter().filter(|name| name.contains(namespace)) {
        if !name.starts_with("KV_") {
            stored += jetstream.get_stream(name).await?.cached_info().state.messages;
        }
        jetstream.delete_stream(name).await?;
    }
    Ok(stored)
}

/// What a drain gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    pub(crate) elapsed: Duration,
    /// Of this process.
    pub(crate) cpu: Duration,
    /// Of the database's processes for its relays.
    pub(crate) store_cpu: Option<Duration>,
    /// Envelopes handed to the bus beyond the rows that there were.
    pub(crate) repeats: u64,
}

/// Relays at work.
pub(crate) struct Relays {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), factum::Error>>,
    stats: Vec<RelayStats>,
}

impl Relays {
    /// Starts relays; each has a store and a bus of its own, as in processes of their own.
    pub(crate) async fn start(store: &Store, namespace: &Namespace, relays: usize) -> Outcome<Self> {
        let mut stores = Vec::new();
        for _ in 0..relays {
            stores.push(outbox(store).await?);
        }
        Self::over(stores, namespace).await
    }

    /// Starts a relay over each of these.
    pub(crate) async fn over(stores: Vec<Arc<dyn OutboxStore>>, namespace: &Namespace) -> Outcome<Self> {
        let mut ready = Vec::new();
        for store in stores {
            ready.push(Relay::new(store, namespace.open().await?));
        }
        let (stop, stopped) = watch::channel(false);
        let stats = ready.iter().map(Relay::stats).collect();
        let mut tasks = JoinSet::new();
        for relay in ready {
            let mut stopped = stopped.clone();
            tasks.spawn(relay.run(async move { drop(stopped.wait_for(|stop| *stop).await) }));
        }
        Ok(Self { stop, tasks, stats })
    }

    pub(crate) fn settled(&self) -> u64 {
        self.stats.iter().map(|stats| stats.now().settled).sum()
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.stats.iter().map(|stats| stats.now().confirmed).sum()
    }

    pub(crate) fn published(&self) -> u64 {
        self.stats.iter().map(|stats| stats.now().published).sum()
    }

    /// Waits until so many rows were settled since the start.
    pub(crate) async fn settle(&mut self, rows: u64) -> Outcome<()> {
        let mut looks = tokio::time::interval(LOOK);
        while self.settled() < rows {
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
                return Err("a relay has ended".into());
            }
            looks.tick().await;
        }
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Outcome<()> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Relays empty the outbox. Connections are there before the clock runs; leases are taken while it does.
pub(crate) async fn drain(database: &Database, at: &Bus, relays: usize, rows: u64) -> Outcome<Drained> {
    let store = &database.store;
    let namespace = Namespace::create(at).await?;
    // Started, but not yet running: tasks begin when this one waits.
    let mut running = Relays::start(store, &namespace, relays).await?;
    let (began, cpu) = (Instant::now(), machine::cpu());
    running.settle(rows).await?;
    let (elapsed, cpu) = (began.elapsed(), machine::since(cpu));
    let repeats = running.published() - rows;
    let store_cpu = database.cpu().await?;
    running.stop().await?;
    let left = store.ask("SELECT count(*) FROM factum_outbox").await?;
    let kept = namespace.remove().await?;
    if left != 0 || kept.is_some_and(|kept| kept < rows) {
        return Err(format!("{left} rows are left, and the broker has {kept:?} of {rows}").into());
    }
    Ok(Drained { elapsed, cpu, store_cpu, repeats })
}
