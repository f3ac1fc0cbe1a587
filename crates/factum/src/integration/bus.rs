//! The port of an event bus: what carries committed envelopes to durable subscriptions.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Committed, Envelope, Source};
use crate::{BoxError, BoxFuture};

/// Carries envelopes between processes, or between services of one process. Object-safe: configuration picks it.
///
/// It takes proof that what it tells has happened. The outbox's envelopes are the relay's; yours come from
/// [`vouch`](Committed::vouch) and go through [`EventBusExt::publish_now`]:
///
/// ```compile_fail,E0308
/// # use factum::{BoxError, Envelope, EventBus};
/// # use factum::integration::EventBusExt as _;
/// async fn too_early(bus: &dyn EventBus, envelope: Envelope) {
///     bus.publish_now(envelope).await;
/// }
/// ```
pub trait EventBus: Send + Sync {
    /// What this bus can do; the relay and the conformance suite read it.
    fn capabilities(&self) -> Capabilities;

    /// Hands a batch over. The future waits for room (back-pressure) and ends when the bus has taken all of it; the
    /// answers come through each publication's [`Confirm`], in any order across keys, whenever they come.
    ///
    /// Order within a key is the order in the batch; a caller hands over nothing more of a key while anything of it is
    /// unanswered. Where [`Capabilities::fail_stop`] is false, a batch has at most one envelope of a key.
    ///
    /// # Errors
    /// The bus is unreachable or closed. What was not answered by then is answered [`Answer::Unknown`].
    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Opens a consumer of a durable subscription, which from then on gets every envelope of its types. Several
    /// consumers of one name compete.
    fn subscribe<'a>(&'a self, interest: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>>;

    /// Refuses further publishing, waits at most `deadline` for what is on its way, then ends every consumer.
    fn close<'a>(&'a self, deadline: Duration) -> BoxFuture<'a, ()>;
}

/// A shared bus is a bus, whatever is behind it.
impl<B: EventBus + ?Sized> EventBus for Arc<B> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        (**self).publish(batch)
    }

    fn subscribe<'a>(&'a self, interest: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        (**self).subscribe(interest)
    }

    fn close<'a>(&'a self, deadline: Duration) -> BoxFuture<'a, ()> {
        (**self).close(deadline)
    }
}

/// A bus's answer to the publishing of one envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the bus's now, to the degree that [`Capabilities::durability`] says.
    Confirmed,
    /// The bus will not take this envelope, and says why. Counts as an attempt.
    Refused(String),
    /// Nobody is there to take this type yet. Waits; never an attempt, never terminal.
    Unroutable,
    /// No answer came: it may or may not have arrived.
    Unknown(String),
}

/// The same under the name that the relay's protocol uses.
pub type PublishOutcome = Answer;

/// One envelope on its way into a bus, and where the answer goes.
#[derive(Debug)]
pub struct Publication {
    /// What to publish, proven to be committed.
    pub envelope: Committed<Envelope>,
    /// Takes the answer.
    pub confirm: Confirm,
}

type Answered = dyn Fn(u64, Answer) + Send + Sync;

/// Takes a bus's answer to one publication. Dropped without an answer, it answers [`Answer::Unknown`].
pub struct Confirm {
    ticket: u64,
    answered: Option<Arc<Answered>>,
}

impl Confirm {
    /// Calls `answered` once, with `ticket` and the answer.
    pub fn new(ticket: u64, answered: Arc<dyn Fn(u64, Answer) + Send + Sync>) -> Self {
        Self { ticket, answered: Some(answered) }
    }

    /// Gives the answer.
    pub fn answer(mut self, answer: Answer) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: Answer) {
        if let Some(answered) = self.answered.take() {
            answered(self.ticket, answer);
        }
    }
}

impl Drop for Confirm {
    fn drop(&mut self) {
        if self.answered.is_some() {
            self.tell(Answer::Unknown("the bus let go of it without an answer".into()));
        }
    }
}

impl fmt::Debug for Confirm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Confirm({})", self.ticket)
    }
}

/// Comfort on top of [`EventBus`].
pub trait EventBusExt: EventBus {
    /// Publishes one event right after saving, past the outbox, and waits for the answer.
    ///
    /// It leaves at most once: if this process dies before the bus answers, the event may be lost, and nobody notices.
    /// On [`Answer::Unknown`] publish the same envelope again; its id lets subscribers drop the repeat.
    fn publish_now(&self, envelope: Committed<Envelope>) -> impl Future<Output = Answer> + Send {
        async move {
            let answer = Arc::new(std::sync::Mutex::new((None, None::<std::task::Waker>)));
            let told = Arc::clone(&answer);
            let confirm = Confirm::new(
                0,
                Arc::new(move |_, answer| {
                    if let Ok(mut slot) = told.lock() {
                        slot.0 = Some(answer);
                        if let Some(waker) = slot.1.take() {
                            waker.wake();
                        }
                    }
                }),
            );
            if let Err(error) = self.publish(vec![Publication { envelope, confirm }]).await {
                return Answer::Unknown(error.to_string());
            }
            std::future::poll_fn(move |cx| match answer.lock() {
                Ok(mut slot) => match slot.0.take() {
                    Some(answer) => std::task::Poll::Ready(answer),
                    None => {
                        slot.1 = Some(cx.waker().clone());
                        std::task::Poll::Pending
                    }
                },
                Err(_) => std::task::Poll::Ready(Answer::Unknown("the bus panicked while answering".into())),
            })
            .await
        }
    }
}

impl<B: EventBus + ?Sized> EventBusExt for B {}

/// Where on a bus an envelope goes: the publishing service's channel. One per source, whatever the type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination(Source);

impl Destination {
    /// The channel of the service that announced the envelope.
    pub fn of(envelope: &Envelope) -> Self {
        Self(envelope.source.clone())
    }

    /// The service whose channel it is.
    pub fn source(&self) -> &Source {
        &self.0
    }
}

/// What a consumer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The subscription's durable name.
    pub subscription: String,
    /// The CloudEvents types that it takes.
    pub types: Vec<String>,
    /// How many deliveries this consumer holds unacknowledged at most.
    pub prefetch: usize,
}

/// What one consumer of a subscription receives.
pub trait Deliveries: Send {
    /// Waits for a delivery and returns it with those that are ready as well, at most `most`. Empty: the bus closed.
    ///
    /// Of one (source, key) the next is delivered after the one before was acknowledged or rejected, to whichever
    /// consumer, where [`Capabilities::ordered`] is true. Dropping the consumer hands back what it holds.
    fn next<'a>(&'a mut self, most: usize) -> BoxFuture<'a, Result<Vec<Delivery>, BoxError>>;
}

/// An envelope that waits for its acknowledgement. Dropped without one, it is handed back and comes again.
pub struct Delivery {
    /// What was delivered.
    pub envelope: Arc<Envelope>,
    /// 1 for the first time this subscription gets it, as far as the bus knows.
    pub attempt: u32,
    /// How it is acknowledged.
    pub settle: Box<dyn Settle>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.envelope.id)
            .field("type", &self.envelope.r#type)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// Settles one delivery, once.
pub trait Settle: Send {
    /// Handled, and committed.
    fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), BoxError>>;
    /// Hand it back; it comes again, not before `after`, and before anything later of its key.
    fn nack(self: Box<Self>, after: Duration) -> BoxFuture<'static, Result<(), BoxError>>;
    /// It will never succeed here, and is kept as a dead letter by the subscriber's own database.
    fn reject(self: Box<Self>, reason: String) -> BoxFuture<'static, Result<(), BoxError>>;
    /// Still at work: the bus must not take it for lost.
    fn progress(&mut self) -> BoxFuture<'_, Result<(), BoxError>>;
}

/// What a confirmed envelope survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: the bus promises nothing about who got it.
    None,
    /// The death of this process: every subscription has committed it before it is confirmed.
    Handled,
    /// The death of the broker's process.
    Written,
    /// Power loss, or the loss of a replica.
    Flushed,
}

/// What a bus can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// What a confirmed envelope survives.
    pub durability: Durability,
    /// Keeps the order within a (source, key), across competing consumers and redelivery.
    pub ordered: bool,
    /// Within a batch, stops a key at the first envelope of it that fails: later ones of the key are not delivered
    /// before it, so that a relay may hand over several of a key at once.
    pub fail_stop: bool,
    /// The largest `data` that it takes, in bytes.
    pub data_bytes_max: usize,
    /// Keeps deliveries for a subscription whose consumers are all gone.
    pub persistent: bool,
    /// Tells how often a delivery came before.
    pub counts_attempts: bool,
}

impl Capabilities {
    /// The least: nothing kept, no order.
    pub const fn none() -> Self {
        Self {
            durability: Durability::None,
            ordered: false,
            fail_stop: false,
            data_bytes_max: Envelope::DATA_BYTES_MAX,
            persistent: false,
            counts_attempts: false,
        }
    }
}
