//! factum's event bus on RabbitMQ.
//!
//! A service publishes to a fanout exchange of its own, with confirms and `mandatory`: an envelope is confirmed when
//! every queue that wants it has it on disk, and what no queue wants is unroutable, not lost. A subscription is a
//! number of quorum queues, each with one reader at a time, and a key is always in the same one, so that its order
//! holds across processes that come, go and die. It needs a tokio runtime, and refuses what exists with other
//! settings: nothing on the broker is ever changed silently.
//!
//! What it makes has names that a person can predict (namespace `shop`, source `https://shop.example/ordering`,
//! subscription `billing`): exchanges `shop.https://shop.example/ordering` and `shop`, which gets everything; queues
//! `shop.billing.0` to `shop.billing.7`, and `shop.billing.unreadable` for messages that are no events. A program
//! in another language publishes to the first with a routing key such as `com.example.order-placed.v1.3`: the type and
//! the partition, which is the first byte of the MD5 of `partitionkey` (or else `id`), modulo 64, modulo the number of
//! partitions. It reads by binding a queue of its own there, which gets all of this service; or, for some types only, to
//! the topic exchange `shop.https://shop.example/ordering.topic` by `com.example.order-placed.v1.*`. Attributes are headers
//! `ce-<name>`, as in CloudEvents' other binary modes.
//!
//! What is the broker's, and cannot be mended from here:
//! - RabbitMQ 3.10 keeps the name of a *new* quorum queue in memory for up to three seconds. If it is killed in that
//!   time, the queue has lost what was confirmed, and nobody leads it (seen with 3.10.8). Make subscriptions before the
//!   load comes.
//! - A delivery that is out for longer than the broker's `consumer_timeout` (30 minutes by default) comes again, like
//!   everything that its partition holds. Backoff counts.
//! - AMQP cannot list bindings: types that a subscription no longer takes are still delivered to it. Give the change a
//!   new name, or unbind by hand.
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

use connection::Link;
use publish::Publisher;
use subscribe::Subscriber;
use topology::Topology;

/// An event bus on RabbitMQ. Cheap to clone; clones are handles of the same two connections.
///
/// - A subscription exists from its first [`subscribe`](EventBus::subscribe) until its queues are deleted. Who
///   subscribes again under its name with other types adds those.
/// - An envelope that no subscription takes yet is [`Unroutable`](factum::integration::Answer::Unroutable). One that a
///   queue could not store (it is full, or moving) is `Unknown`, because other queues may have it, and it comes again.
/// - A connection that is lost, or silent for longer than the [deadline](Options::deadline), answers `Unknown` to all
///   that was under way, and is made again. While the broker blocks publishers, publishing waits for as long as the
///   deadline, and then fails.
/// - Several processes that read a subscription share its partitions; one key is always read by one of them.
/// - Dropping the last consumer of a subscription in this process hands back what it holds.
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
        let topology = || Ok::<_, Error>(Arc::new(Topology::new(&options)?));
        let publishing = (Arc::new(Link::open(options.recipe("publish")?).await?), topology()?);
        let consuming = (Arc::new(Link::open(options.recipe("consume")?).await?), topology()?);
        publishing.1.namespace(&publishing.0.up_within(options.deadline).await?).await?;
        let publisher = Publisher::start(publishing.0, publishing.1, &options);
        let subscriber = Subscriber::new(consuming.0, consuming.1, &options);
        let capabilities = capabilities(&options);
        Ok(Self { shared: Arc::new(Shared { publisher, subscriber, capabilities }) })
    }
}

fn capabilities(options: &Options) -> Capabilities {
    let mut capabilities = Capabilities::none();
    // A quorum queue confirms when a majority has synced its log. A classic one (version 2) leaves that to the system.
    capabilities.durability = match options.queue_kind {
        QueueKind::Quorum => Durability::Flushed,
        QueueKind::Classic => Durability::Written,
    };
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
