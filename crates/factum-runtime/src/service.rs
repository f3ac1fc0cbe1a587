//! One service of an application: its relay and its subscriptions, started and stopped together.

use std::sync::Arc;
use std::time::Duration;

use factum::integration::{Inspect, Interest};
use factum::port::{InboxStore, OutboxStore, Store};
use factum::{Error, EventBus, Subscription, Work};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::{Counters, Receiver, ReceiverOptions, Relay, RelayMetrics, RelayOptions, RelayStats};

/// One service: what its store announces is published, and what others tell it is received.
///
/// ```no_run
/// # async fn example<S>(work: factum::Work<S>, bus: factum::memory::MemoryBus, shipping: factum::Subscription<S>)
/// # -> Result<(), factum::Error>
/// # where S: factum::Store + factum::port::OutboxStore + factum::port::InboxStore + factum::integration::Inspect {
/// use factum_runtime::Service;
///
/// let running = Service::new(work).subscription(shipping).start(&bus).await?;
/// // ..
/// running.stop().await
/// # }
/// ```
pub struct Service<S: Store> {
    work: Work<S>,
    subscriptions: Vec<Subscription<S>>,
    relays: bool,
    relay_options: RelayOptions,
    metrics: Option<Arc<dyn RelayMetrics>>,
    inspect: Option<Duration>,
    receiver_options: ReceiverOptions,
    counters: Arc<Counters>,
}

impl<S: Store + OutboxStore + InboxStore + Inspect> Service<S> {
    /// A service with a relay and no subscriptions yet.
    pub fn new(work: Work<S>) -> Self {
        Self {
            work,
            subscriptions: Vec::new(),
            relays: true,
            relay_options: RelayOptions::default(),
            metrics: None,
            inspect: None,
            receiver_options: ReceiverOptions::default(),
            counters: Arc::default(),
        }
    }

    /// Adds a subscription.
    #[must_use]
    pub fn subscription(mut self, subscription: Subscription<S>) -> Self {
        self.subscriptions.push(subscription);
        self
    }

    /// Leaves the relay to another process.
    #[must_use]
    pub fn without_relay(mut self) -> Self {
        self.relays = false;
        self
    }

    /// Changes how the relay works.
    #[must_use]
    pub fn relay(mut self, change: impl FnOnce(&mut RelayOptions)) -> Self {
        change(&mut self.relay_options);
        self
    }

    /// Tells what its relay measures.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn RelayMetrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Asks its store every so often what waits there, for [`RelayMetrics::backlog`]: as [`Relay::inspect`].
    #[must_use]
    pub fn inspect(mut self, every: Duration) -> Self {
        self.inspect = Some(every);
        self
    }

    /// Changes how its subscriptions work.
    #[must_use]
    pub fn receive(mut self, change: impl FnOnce(&mut ReceiverOptions)) -> Self {
        change(&mut self.receiver_options);
        self
    }

    /// Opens its subscriptions, and starts nothing: from here on the bus keeps their deliveries. Where several services
    /// start in one program, each does this before any of them is started, so that none announces to a bus that does
    /// not know who listens.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn open(&self, bus: &(impl EventBus + ?Sized)) -> Result<(), Error> {
        for subscription in &self.subscriptions {
            open(subscription, bus).await?;
        }
        Ok(())
    }

    /// [Opens](Self::open) its subscriptions, then starts it on the current tokio runtime. Dropping what it returns ends it as a kill
    /// would: nothing is lost.
    ///
    /// A bus keeps for a subscription what is published after it was first opened. So the first time that an application
    /// is deployed, services that subscribe are started before those that announce.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] for a subscription that cannot work; [`Error::Bus`] if the bus does not open one.
    pub async fn start<B: EventBus + Clone + 'static>(self, bus: &B) -> Result<Running<S>, Error> {
        self.open(bus).await?;
        let bus: Arc<dyn EventBus> = Arc::new(bus.clone());
        let (stop, stopped) = watch::channel(false);
        let shutdown = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stop| *stop).await) }
        };
        let relay = self.relays.then(|| self.relay_to(&bus));
        let relay_stats = relay.as_ref().map(Relay::stats).unwrap_or_default();
        let Self { work, subscriptions, receiver_options, counters, .. } = self;
        let mut tasks = JoinSet::new();
        for subscription in subscriptions {
            let receiver = Receiver::new(work.clone(), subscription, Arc::clone(&bus))
                .options(|options| *options = receiver_options.clone())
                .counters(Arc::clone(&counters));
            tasks.spawn(told(receiver.run(shutdown())));
        }
        if let Some(relay) = relay {
            tasks.spawn(told(relay.run(shutdown())));
        }
        Ok(Running { work, stop, tasks, counters, relay_stats })
    }

    fn relay_to(&self, bus: &Arc<dyn EventBus>) -> Relay {
        let store = self.work.store();
        let mut relay = Relay::new(Arc::new(store.clone()), Arc::clone(bus)).options(|options| {
            let seed = options.seed;
            *options = self.relay_options.clone();
            options.seed = seed;
        });
        if let Some(metrics) = &self.metrics {
            relay = relay.metrics(Arc::clone(metrics));
        }
        match self.inspect {
            Some(every) => relay.inspect(Arc::new(store.clone()), every),
            None => relay,
        }
    }
}

/// The consumer is let go of; the subscription stays.
async fn open<S: Store>(subscription: &Subscription<S>, bus: &(impl EventBus + ?Sized)) -> Result<(), Error> {
    let what = || format!("subscription `{}`", subscription.name());
    subscription.check().map_err(|why| Error::Misconfigured { what: what(), why })?;
    let types = subscription.types().into_iter().map(Into::into).collect();
    let interest = Interest { subscription: subscription.name().into(), types, prefetch: 1 };
    bus.subscribe(interest).await.map(drop).map_err(Error::Bus)
}

/// Says at once what ended a task, for nobody may ask before the service is stopped.
async fn told(task: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let ended = task.await;
    if let Err(error) = &ended {
        tracing::error!(%error, "a part of the service has ended");
    }
    ended
}

/// A service at work.
#[must_use = "dropping it ends the service"]
pub struct Running<S: Store> {
    work: Work<S>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), Error>>,
    counters: Arc<Counters>,
    relay_stats: RelayStats,
}

impl<S: Store + Inspect> Running<S> {
    /// How often [`drain`](Self::drain) looks.
    const LOOK_AGAIN: Duration = Duration::from_millis(10);

    /// What its subscriptions have done since it was started.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What its relay has done since it was started; nothing, where the service is without one.
    pub fn relay_stats(&self) -> &RelayStats {
        &self.relay_stats
    }

    /// Takes nothing new, finishes or hands back what is in flight, and ends.
    ///
    /// # Errors
    /// The first error that ended one of its tasks.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        // What has failed must not cut off what is still at it.
        let mut first = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            first = first.and(outcome(ended));
        }
        first
    }

    /// Waits until nothing publishable is left in the outbox, then stops. What is parked stays.
    ///
    /// # Errors
    /// As for [`stop`](Self::stop), and [`Error::Store`] if the outbox cannot be counted.
    pub async fn drain(mut self) -> Result<(), Error> {
        let drained = self.drained().await;
        let stopped = self.stop().await;
        drained.and(stopped)
    }

    async fn drained(&mut self) -> Result<(), Error> {
        loop {
            while let Some(ended) = self.tasks.try_join_next() {
                outcome(ended)?;
            }
            let backlog = self.work.store().backlog().await.map_err(Error::Store)?;
            if backlog.outbox <= backlog.outbox_parked {
                return Ok(());
            }
            tokio::time::sleep(Self::LOOK_AGAIN).await;
        }
    }
}

fn outcome(ended: Result<Result<(), Error>, JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|error| Err(Error::Bus(error.into())))
}
