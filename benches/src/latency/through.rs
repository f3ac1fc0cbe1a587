//! Our side: a unit of work, the relay in the same process, a subscription of the bus.

use std::sync::Arc;

use factum::Persist;
use factum::integration::{Deliveries, Interest};
use factum_runtime::Relay;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;

use super::tap::{Tapped, event};
use super::{Stamps, WRITERS, pace::pace};
use crate::notes::{self, Note, Notes};
use crate::ours::Namespace;
use crate::place::Bus;
use crate::{Outcome, fill};

pub(super) async fn run<S: Notes>(url: &str, bus: &Bus, rate: u64, stamps: &Arc<Stamps>) -> Outcome<()>
where
    Note: Persist<S>,
{
    let namespace = Namespace::create(bus).await?;
    let store = S::open(url, WRITERS + 4).await?;
    let interest =
        Interest { subscription: "readers".into(), types: vec![fill::TYPE.into()], prefetch: 4_096 };
    let reading = namespace.open().await?;
    let consumer = tokio::spawn(consume(reading.subscribe(interest).await?, Arc::clone(stamps)));
    let (stop, stopped) = oneshot::channel::<()>();
    let tapped = Tapped { inner: store.clone(), stamps: Arc::clone(stamps) };
    let bus = Tapped { inner: namespace.open().await?, stamps: Arc::clone(stamps) };
    let relay = Relay::new(Arc::new(tapped), Arc::new(bus));
    let relay = tokio::spawn(relay.run(async move { drop(stopped.await) }));

    let numbers = Arc::new(Mutex::new(pace(rate, stamps.committed.len() as u64)));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (work, numbers, stamps) = (notes::work(&store, true), Arc::clone(&numbers), Arc::clone(stamps));
        writers.spawn(async move {
            loop {
                let Some(event) = numbers.lock().await.recv().await else { return Outcome::Ok(()) };
                notes::write(&work, event).await?;
                stamps.commit(event);
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    let arrived = stamps.all_arrived().await;
    drop(stop);
    relay.await??;
    consumer.abort();
    reading.close(std::time::Duration::from_secs(1)).await;
    namespace.remove().await?;
    arrived
}

async fn consume(mut deliveries: Box<dyn Deliveries>, stamps: Arc<Stamps>) -> Outcome<()> {
    loop {
        let delivered = deliveries.next(256).await?;
        if delivered.is_empty() {
            return Ok(());
        }
        for delivery in &delivered {
            event(&delivery.envelope).into_iter().for_each(|event| stamps.receive(event));
        }
        for delivery in delivered {
            // As a receiver does: what is acknowledged holds up nothing but its own key.
            tokio::spawn(delivery.settle.ack());
        }
    }
}
