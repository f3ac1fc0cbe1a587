//! The relay on tokio: outbox → bus, at least once, in order per key. What it does is decided in
//! [`factum::protocol::relay`]; here are only the futures, the clock and the envelopes on their way.

mod driver;
mod metrics;
mod publishing;
mod stats;

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use factum::integration::{Durability, Inspect, OnDeadLetter};
use factum::port::OutboxStore;
use factum::{Error, EventBus};

/// The relay's numbers; see [`factum::protocol::relay::Options`].
pub use factum::protocol::relay::Options as RelayOptions;

use self::driver::Driver;
pub use self::metrics::{AnsweredBatch, PublishedBatch, RelayMetrics};
pub use self::stats::{RelayCounts, RelayStats};

/// Moves what one store's outbox holds to one bus. Every relay is the same: any number may run on one store, in any
/// number of processes. They share the buckets evenly, and anew whenever one comes, goes or dies.
///
/// It needs a tokio runtime whose time driver is enabled, and stays on the task that runs it.
pub struct Relay {
    store: Arc<dyn OutboxStore>,
    bus: Arc<dyn EventBus>,
    options: RelayOptions,
    stats: RelayStats,
    metrics: Option<Arc<dyn RelayMetrics>>,
    inspect: Option<(Arc<dyn Inspect>, Duration)>,
}

impl Relay {
    /// A relay with the default numbers.
    pub fn new(store: Arc<dyn OutboxStore>, bus: Arc<dyn EventBus>) -> Self {
        let mut options = RelayOptions::default();
        options.seed = random();
        Self { store, bus, options, stats: RelayStats::default(), metrics: None, inspect: None }
    }

    /// Changes its numbers. Whether several of a key share a batch is the bus's to say, whatever is set here.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(&mut RelayOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Says what becomes of the rest of a key whose head was given up, for one CloudEvents type;
    /// [`OnDeadLetter::Park`] by default.
    #[must_use]
    pub fn on_dead_letter(mut self, r#type: impl Into<String>, policy: OnDeadLetter) -> Self {
        self.options.on_dead_letter.insert(r#type.into(), policy);
        self
    }

    /// Counts what it does, also while it runs.
    pub fn stats(&self) -> RelayStats {
        self.stats.clone()
    }

    /// Tells what it measures.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn RelayMetrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Asks the store every so often what waits there, for [`RelayMetrics::backlog`]. It counts rows: with a million of
    /// them that takes the database a good part of a second, so ask every 15 s or less often, and of one relay.
    #[must_use]
    pub fn inspect(mut self, store: Arc<dyn Inspect>, every: Duration) -> Self {
        self.inspect = Some((store, every));
        self
    }

    /// Runs until `shutdown` ends; then it waits for the answers that are due (at most
    /// [`shutdown`](RelayOptions::shutdown)), writes them down, and gives its leases back. What is unanswered stays in
    /// the outbox. A store or a bus that fails is tried again, for ever.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] where the options contradict each other; nothing was begun.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        check(&self.options).map_err(|why| Error::Misconfigured { what: "the relay".into(), why })?;
        let able = self.bus.capabilities();
        self.options.fail_stop = able.fail_stop;
        if able.durability == Durability::Handled {
            // It answers when subscribers are done, however long they take.
            self.options.publish_deadline = Duration::MAX;
        }
        let owner = format!("relay-{}-{:016x}", std::process::id(), random());
        tracing::info!(%owner, durability = ?able.durability, ordered = able.ordered, fail_stop = able.fail_stop, "relay");
        Driver::new(self, owner.into()).run(shutdown).await;
        Ok(())
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Every `RandomState` has keys of its own.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn check(options: &RelayOptions) -> Result<(), String> {
    let RelayOptions { lease, renew, batch, window, .. } = options;
    if *renew * 2 > *lease {
        return Err(format!("leases of {lease:?} are renewed every {renew:?}: that leaves no second chance"));
    }
    if options.poll_least.is_zero() || options.poll_least > options.poll_most {
        return Err(format!("it polls every {:?} to {:?}", options.poll_least, options.poll_most));
    }
    if options.rescan < options.poll_least {
        let rescan = options.rescan;
        return Err(format!("it reads from the start every {rescan:?}, more often than it polls"));
    }
    if options.publish_deadline.is_zero() {
        return Err("the bus gets no time to answer: `publish_deadline` is 0".into());
    }
    if renew.is_zero() || options.take_over.is_zero() {
        return Err("leases are asked for without a pause: `renew` and `take_over` are above 0".into());
    }
    if batch.rows == 0 || batch.bytes == 0 || batch.rows > window.rows || batch.bytes > window.bytes {
        return Err(format!("a batch of {batch:?} does not fit a window of {window:?}"));
    }
    if options.waiting.rows == 0 || options.keys_max < batch.rows {
        return Err(format!("it remembers {} keys, fewer than a batch has rows", options.keys_max));
    }
    Ok(())
}
