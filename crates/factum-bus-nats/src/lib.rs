//! factum's event bus on NATS JetStream, servers from 2.9 on.
//!
//! Publishing is pipelined: thousands of envelopes wait for their acknowledgements at once, and nothing is allocated for
//! the wait. A subscription is shared by any number of processes in the order of each key. It needs a tokio runtime with a
//! timer, and refuses a server without JetStream, and streams that were made with settings under which events would get
//! lost.
//!
//! # On the server
//!
//! With the namespace `shop` there are
//!
//! - `shop_<source>`: a stream for each source, made when its first event comes. `https://shop.example/ordering` has
//!   `shop_shop-example_ordering`; a source with other characters than `a-z 0-9 . /` gets a hash behind its name, and
//!   [`Options::stream_of`] gives another one. Subjects are `shop.<source>.<partition>.<type>`. It keeps events for
//!   [`Options::max_age`], also those that nobody takes yet: no type is unroutable.
//! - `<subscription>-<partition>`: durable consumers on each stream, for all that there are and will be.
//! - `shop_bus`: a key-value bucket that says how many partitions there are, which types a subscription has, and which
//!   process reads what.
//!
//! # Promises
//!
//! - **Confirmed** is what JetStream has acknowledged. It does so before it calls fsync: an envelope survives the death of
//!   the server, not the loss of power. With [`Options::replicas`] it survives the loss of a server, too.
//! - A full stream, a silent server and a lost connection are outages: the answer is `Unknown`, however long it takes.
//! - A subscription gets what is published from its first `subscribe` on, of every source, in the order of each
//!   (source, key). After a process died, its share rests for the [lease](Options::lease).
//!
//! ```no_run
//! # async fn open() -> Result<(), factum_bus_nats::Error> {
//! use factum_bus_nats::Nats;
//!
//! let bus = Nats::options("nats://127.0.0.1:4222").namespace("shop").connect().await?;
//! # Ok(())
//! # }
//! ```

mod answers;
mod cleanup;
mod connection;
mod error;
mod headers;
mod inflight;
mod names;
mod options;
mod publish;
mod registry;
mod server;
mod streams;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use factum::integration::{Capabilities, Deliveries, Durability, Interest, Publication};
use factum::{BoxError, BoxFuture, EventBus};
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use error::Error;
pub use options::Options;

use inflight::InFlight;
use names::Names;
use publish::{Destinations, Publisher};
use registry::Registry;
use server::Server;
use subscription::{Ground, Hubs, NatsDeliveries};

/// An event bus on NATS JetStream. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Nats {
    shared: Arc<Shared>,
}

struct Shared {
    publisher: Publisher,
    ground: Ground,
    hubs: Hubs,
    closing: AtomicBool,
    tasks: Vec<AbortHandle>,
}

/// The tasks hold parts of the bus, and end with it.
impl Drop for Shared {
    fn drop(&mut self) {
        self.hubs.end();
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").finish_non_exhaustive()
    }
}

impl Nats {
    /// Connects with the default options.
    ///
    /// # Errors
    /// As for [`Options::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::options(url).connect().await
    }

    /// Options to connect to a server with: `nats://host:port`, `tls://` or `natss://` for TLS, several of a cluster
    /// with commas between them.
    pub fn options(url: &str) -> Options {
        Options::new(url)
    }

    async fn open(options: Options) -> Result<Self, Error> {
        let names = Arc::new(Names::new(&options.namespace, options.names.clone())?);
        let inbox = format!("_INBOX.{:016x}", unique());
        let in_flight = Arc::new(InFlight::new(&format!("{inbox}.ack"), options.in_flight));
        let (connections, connected) = watch::channel(0);
        let client = connection::connect(&options, &inbox, &in_flight, connections).await?;
        let server = Server::new(client, options.request_deadline);
        let registry = Registry::open(&server, &names, options.replicas).await?;
        registry.partitions(options.partitions).await?;

        let replies = server.within(server.client.subscribe(in_flight.replies())).await;
        let replies = replies.map_err(|failure| failure.over("subscribing to acknowledgements"))?;
        let destinations = Arc::new(Destinations::default());
        let forget = Arc::clone(&destinations);
        let reader = tokio::spawn(answers::read(replies, Arc::clone(&in_flight), move || forget.forget()));
        let sweeper = tokio::spawn(give_up_the_late(Arc::clone(&in_flight), options.publish_deadline));
        let ground = Ground {
            server: server.clone(),
            names: Arc::clone(&names),
            registry,
            partitions: options.partitions,
            lease: options.lease,
            inbox: format!("{inbox}.read"),
            connected,
        };
        let publisher = Publisher::new(server, names, &options, options.partitions, in_flight, destinations);
        let tasks = vec![reader.abort_handle(), sweeper.abort_handle()];
        let closing = AtomicBool::new(false);
        let shared = Shared { publisher, ground, hubs: Hubs::new(), closing, tasks };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// Drawn at random: no two connections answer to each other's inboxes.
fn unique() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0u8)
}

async fn give_up_the_late(in_flight: Arc<InFlight>, deadline: Duration) {
    let mut ticks = tokio::time::interval((deadline / 20).max(Duration::from_millis(5)));
    loop {
        ticks.tick().await;
        if let Some(since) = Instant::now().checked_sub(deadline) {
            in_flight.give_up(Some(since), &format!("the server did not answer within {deadline:?}"));
        }
    }
}

impl EventBus for Nats {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        // JetStream answers before it has called fsync.
        capabilities.durability = Durability::Written;
        capabilities.ordered = true;
        capabilities.persistent = true;
        capabilities.counts_attempts = true;
        capabilities.data_bytes_max = self.shared.publisher.data_bytes_max();
        capabilities
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            if self.shared.closing.load(Ordering::SeqCst) {
                return Err(Error::Closed.into());
            }
            Ok(self.shared.publisher.publish(batch).await?)
        })
    }

    fn subscribe<'a>(&'a self, interest: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async move {
            let Shared { ground, hubs, closing, .. } = &*self.shared;
            if closing.load(Ordering::SeqCst) {
                return Err(Error::Closed.into());
            }
            if interest.prefetch == 0 || interest.subscription.is_empty() || interest.types.is_empty() {
                let text = "a subscription needs a name, a type, and a prefetch of at least 1";
                return Err(Error::Options(text.into()).into());
            }
            let (hub, consumer) = hubs.join(ground, interest).await?;
            let deliveries = NatsDeliveries::new(hub, consumer, self.clone());
            Ok(Box::new(deliveries) as Box<dyn Deliveries>)
        })
    }

    fn close<'a>(&'a self, deadline: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Shared { publisher, hubs, closing, .. } = &*self.shared;
            closing.store(true, Ordering::SeqCst);
            let answered = tokio::time::timeout(deadline, publisher.in_flight.quiet());
            let (_, ()) = tokio::join!(answered, hubs.close(deadline));
            publisher.in_flight.give_up(None, "the bus closed before the server answered");
        })
    }
}
