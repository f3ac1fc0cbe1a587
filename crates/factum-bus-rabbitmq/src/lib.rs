//! factum's event bus on RabbitMQ.
//!
//! A service publishes to a topic exchange of its own, with confirms and `mandatory`: an envelope is confirmed when
//! every queue that wants it has it on disk, and what no queue wants is unroutable, not lost. A subscription is a
//! number of quorum queues, each with one reader at a time, and a key is always in the same one, so that its order
//! holds across processes that come, go and die. It needs a tokio runtime, and refuses what exists with other
//! settings: nothing on the broker is ever changed silently.
//!
//! ```no_run
//! # async fn connect() -> Result<(), factum_bus_rabbitmq::Error> {
//! use std::sync::Arc;
//! use factum::EventBus;
//! use factum_bus_rabbitmq::RabbitMq;
//!
//! let bus = RabbitMq::options("amqp://shop:secret@localhost/%2f").namespace("shop").connect().await?;
//! let bus: Arc<dyn EventBus> = Arc::new(bus);
//! # Ok(())
//! # }
//! ```

mod cleanup;
mod confirms;
mod connection;
mod delivery;
mod error;
mod headers;
mod lane;
mod names;
mod options;
mod publish;
mod queue;
mod read;
mod share;
mod subscribe;
mod subscription;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use factum::integration::{Capabilities, Deliveries, Durability, Interest, Publication};
use factum::{BoxError, BoxFuture, EventBus};

pub use error::Error;
pub use options::{Options, QueueKind};

use connection::{Link, Recipe};
use publish::Publisher;
use subscribe::Subscriber;
use topology::Topology;

/// An event bus on RabbitMQ. Cheap to clone; clones are handles of the same two connections.
#[derive(Clone)]
pub struct RabbitMq {
    shared: Arc<Shared>,
}

struct Shared {
    publisher: Publisher,
    subscriber: Subscriber,
    capabilities: Capabilities,
}

impl RabbitMq {
    /// Connects with the default options.
    ///
    /// # Errors
    /// As for [`Options::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::options(url).connect().await
    }

    /// How to connect: `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.
    pub fn options(url: &str) -> Options {
        Options::new(url)
    }

    async fn connect_with(options: Options) -> Result<Self, Error> {
        options.check()?;
        let recipe = |purpose: &str| {
            let name = format!("{}-{purpose}", options.connection_name);
            let (deadline, answers_within) = (options.connect_deadline, options.deadline);
            Ok::<_, Error>(Recipe { uri: options.uri()?, name, deadline, answers_within })
        };
        let topology = || Ok::<_, Error>(Arc::new(Topology::new(&options)?));
        let publishing = (Arc::new(Link::open(recipe("publish")?).await?), topology()?);
        let consuming = (Arc::new(Link::open(recipe("consume")?).await?), topology()?);
        publishing.1.namespace(&publishing.0.up_within(options.deadline).await?).await?;
        let publisher = Publisher::start(publishing.0, publishing.1, &options);
        let subscriber = Subscriber::new(consuming.0, consuming.1, &options);
        let capabilities = capabilities(&options);
        Ok(Self { shared: Arc::new(Shared { publisher, subscriber, capabilities }) })
    }
}

fn capabilities(options: &Options) -> Capabilities {
    let mut capabilities = Capabilities::none();
    capabilities.durability = Durability::Flushed;
    capabilities.ordered = true;
    capabilities.persistent = true;
    capabilities.data_bytes_max = options.data_bytes_max;
    capabilities.counts_attempts = options.queue_kind == QueueKind::Quorum;
    capabilities
}

impl EventBus for RabbitMq {
    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Ok(self.shared.publisher.publish(batch).await?) })
    }

    fn subscribe<'a>(&'a self, interest: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async move {
            let consumer = self.shared.subscriber.subscribe(interest).await?;
            Ok(Box::new(consumer) as Box<dyn Deliveries>)
        })
    }

    fn close<'a>(&'a self, deadline: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Shared { publisher, subscriber, .. } = &*self.shared;
            publisher.refuse();
            subscriber.refuse();
            let quiet = async { tokio::join!(publisher.answered(), subscriber.settled()) };
            let _ = tokio::time::timeout(deadline, quiet).await;
            tokio::join!(publisher.end(), subscriber.end());
        })
    }
}

impl std::fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitMq").finish_non_exhaustive()
    }
}
