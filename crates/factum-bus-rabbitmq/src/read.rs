//! Reading one queue of a subscription: a channel, a consumer on it, and the acknowledgements that go back.
//!
//! When the channel ends, however that comes about, the broker puts everything unacknowledged back at the head of the
//! queue, in its order, and the next channel begins there. That is the only way in which anything is handed back.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Confirmation};
use tokio::sync::{Notify, mpsc};

use crate::connection::{Link, Up};
use crate::error::Error;
use crate::headers;
use crate::queue::Origin;
use crate::subscription::{Reading, Subscription};
use crate::topology::Topology;

/// How long to wait before a queue is read again after its channel ended by itself.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long saying good-bye may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// What a quorum queue tells of how often it was delivered before.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// Reads one partition for as long as somebody wants it.
pub(crate) struct Reader {
    pub(crate) link: Arc<Link>,
    pub(crate) topology: Arc<Topology>,
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) reading: Reading,
    pub(crate) partition: u8,
    pub(crate) prefetch: u16,
    /// Told to let another process read for a change.
    pub(crate) give_way: Arc<Seat>,
    /// Numbers the channels of this bus.
    pub(crate) channels: Arc<AtomicU64>,
}

/// A reader's right to its queue, as far as this process can tell.
#[derive(Default)]
pub(crate) struct Seat {
    /// The broker has delivered something: it is this process that reads.
    is_taken: AtomicBool,
    leave: Notify,
}

impl Seat {
    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Relaxed)
    }

    /// Has its reader let go of the queue, and stand in line again.
    pub(crate) fn leave(&self) {
        self.leave.notify_one();
    }
}

/// Why a queue is no longer read.
enum End {
    /// Nobody wants it.
    Stopped,
    /// The channel ended; there may be another one.
    Lost,
    /// It is another process's turn.
    GaveWay,
}

impl Reader {
    pub(crate) async fn run(mut self) {
        let mut stop = self.reading.stop.clone();
        let stopped = async move { while stop.changed().await.is_ok() {} };
        let mut stopped = std::pin::pin!(stopped);
        let mut pause = PAUSE;
        loop {
            let link = Arc::clone(&self.link);
            let up = tokio::select! {
                biased;
                () = &mut stopped => return,
                up = link.up() => up,
            };
            let Some(up) = up else { return };
            match self.read(&up, stopped.as_mut()).await {
                Ok(End::Stopped) => return,
                Ok(End::Lost | End::GaveWay) => pause = PAUSE,
                Err(error) => {
                    let (subscription, partition) = (&self.subscription.name, self.partition);
                    tracing::warn!(subscription, partition, %error, "cannot read the queue");
                    self.topology.forget().await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            tokio::select! {
                biased;
                () = &mut stopped => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn read(&mut self, up: &Up, mut stopped: impl Future<Output = ()> + Unpin) -> Result<End, Error> {
        let (channel, mut deliveries) = self.open(up).await?;
        let number = self.channels.fetch_add(1, Ordering::Relaxed);
        let (acks, mut acked) = mpsc::unbounded_channel();
        let mut is_leaving = false;
        let end = loop {
            // Registered before looking, so that nothing that happens in between is missed.
            let mut changed = std::pin::pin!(self.subscription.changed.notified());
            changed.as_mut().enable();
            if is_leaving && self.subscription.withdraw(number) == 0 {
                break Ok(End::GaveWay);
            }
            tokio::select! {
                biased;
                () = &mut stopped => break Ok(End::Stopped),
                // What is out may still be acknowledged; the rest is the next one's.
                () = self.give_way.leave.notified() => is_leaving = true,
                tag = acked.recv() => if let Some(tag) = tag
                    && let Err(error) = acknowledge(up, &channel, tag, &mut acked).await
                {
                    break Err(error);
                },
                () = changed, if is_leaving => {}
                delivery = deliveries.next() => {
                    let Some(Ok(delivery)) = delivery else { break Ok(End::Lost) };
                    self.give_way.is_taken.store(true, Ordering::Relaxed);
                    if is_leaving {
                        continue;
                    }
                    let origin = Origin { channel: number, tag: delivery.delivery_tag, acks: acks.clone() };
                    match self.take(up, delivery, origin).await {
                        Ok(true) => {}
                        Ok(false) => break Ok(End::Stopped),
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        // From here on its acknowledgements fail.
        acked.close();
        self.subscription.lose(number);
        self.give_way.is_taken.store(false, Ordering::Relaxed);
        // All at once, whatever the reason: a cancelled consumer's queue is the next one's before it has back what was out.
        if !matches!(end, Ok(End::Lost)) && up.connection.status().connected() {
            say_goodbye(up, &channel, acked).await;
        }
        if let Ok(End::Lost) = end
            && up.connection.status().connected()
        {
            // The broker ended it: its queue may be gone.
            self.topology.forget().await;
        }
        end
    }

    async fn open(&self, up: &Up) -> Result<(Channel, lapin::Consumer), Error> {
        let name = &self.subscription.name;
        self.topology.subscription(up, name, &self.subscription.types()).await?;
        let channel = self.topology.channel(up).await?;
        let limit = channel.basic_qos(self.prefetch, BasicQosOptions::default());
        up.ask("limiting deliveries", limit).await?;
        let queue = self.topology.names.queue(name, self.partition);
        let what = format!("reading queue {queue:?}");
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = channel.basic_consume(queue, "".into(), options, none);
        let deliveries = up.ask(what, consume).await?;
        Ok((channel, deliveries))
    }

    /// Says whether the reading goes on.
    async fn take(&self, up: &Up, delivery: Delivery, origin: Origin) -> Result<bool, Error> {
        let attempts = attempts_before(&delivery);
        match headers::envelope(&delivery.properties, &delivery.data) {
            Ok(envelope) => Ok(self.subscription.push(self.reading.number, envelope, attempts, origin)),
            Err(why) => {
                self.set_aside(up, delivery, why.to_string()).await?;
                Ok(origin.acks.send(origin.tag).is_ok())
            }
        }
    }

    /// What is no event cannot be handled by anybody here, and must not be lost: it moves to a queue of its own.
    async fn set_aside(&self, up: &Up, delivery: Delivery, why: String) -> Result<(), Error> {
        let queue = self.topology.names.unreadable(&self.subscription.name);
        tracing::error!(subscription = self.subscription.name, why, %queue, "set aside a message that is no event");
        self.topology.plain_queue(up, &queue).await?;
        let channel = self.topology.channel(up).await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        up.ask("asking for confirms", confirms).await?;
        let mut headers = delivery.properties.headers().clone().unwrap_or_default();
        headers.insert("x-factum-reason".into(), AMQPValue::LongString(LongString::from(why)));
        let properties = delivery.properties.clone().with_headers(headers).with_delivery_mode(2);
        let moving = async {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let sent = channel.basic_publish("".into(), queue.clone(), options, &delivery.data, properties);
            sent.await?.await
        };
        match up.ask(format!("moving a message to {queue:?}"), moving).await? {
            Confirmation::Ack(None) => Ok(()),
            _ => Err(Error::NotStored { queue: queue.to_string() }),
        }
    }
}

/// Acknowledges this one, and what else is to be acknowledged by now.
async fn acknowledge(
    up: &Up,
    channel: &Channel,
    tag: u64,
    acked: &mut mpsc::UnboundedReceiver<u64>,
) -> Result<(), Error> {
    let mut tags = vec![tag];
    while let Ok(tag) = acked.try_recv() {
        tags.push(tag);
    }
    let write = tags.into_iter().map(|tag| channel.basic_ack(tag, BasicAckOptions::default()));
    up.ask("acknowledging", try_join_all(write)).await.map(drop)
}

/// Writes the last acknowledgements and closes the channel, so that the next reader gets the rest at once.
async fn say_goodbye(up: &Up, channel: &Channel, mut acked: mpsc::UnboundedReceiver<u64>) {
    let goodbye = async {
        if let Ok(tag) = acked.try_recv() {
            let _ = acknowledge(up, channel, tag, &mut acked).await;
        }
        let _ = channel.close(200, "done".into()).await;
    };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

/// How often it was delivered before: exactly from a quorum queue, whether at all from a classic one.
fn attempts_before(delivery: &Delivery) -> u32 {
    let headers = delivery.properties.headers().as_ref();
    let count = headers.and_then(|headers| headers.inner().get(DELIVERY_COUNT)).and_then(headers::integer);
    match count.and_then(|count| u32::try_from(count).ok()) {
        Some(count) => count,
        None => u32::from(delivery.redelivered),
    }
}
