//! What is in hand: envelopes by token, and how each is settled.
//!
//! Settling may take as long as the bus likes: nothing here makes the receiver wait for it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use factum::integration::{Delivery, Settle};
use factum::port::Waiting;
use factum::protocol::subscription::Arrival;
use factum::{BoxError, BoxFuture, Envelope};
use tokio::sync::Mutex;

/// A settle that a report of progress may hold for a moment.
type Grip = Arc<Mutex<Option<Box<dyn Settle>>>>;

struct Held {
    envelope: Arc<Envelope>,
    /// `None` for what comes from the database.
    grip: Option<Grip>,
}

/// How a delivery is settled.
pub(super) enum How {
    Ack,
    Nack(Duration),
    Reject(String),
}

/// What is in hand.
#[derive(Default)]
pub(super) struct Hand {
    held: HashMap<u64, Held>,
    last: u64,
}

impl Hand {
    pub(super) fn take_delivery(&mut self, delivery: Delivery) -> Arrival {
        let Delivery { envelope, attempt, settle } = delivery;
        let grip = Some(Arc::new(Mutex::new(Some(settle))));
        self.take(envelope, attempt, grip)
    }

    pub(super) fn take_released(&mut self, waiting: Waiting) -> Arrival {
        self.take(waiting.envelope, waiting.attempts, None)
    }

    fn take(&mut self, envelope: Arc<Envelope>, attempt: u32, grip: Option<Grip>) -> Arrival {
        self.last += 1;
        let arrival = Arrival::of(self.last, &envelope, attempt, grip.is_none());
        self.held.insert(self.last, Held { envelope, grip });
        arrival
    }

    pub(super) fn envelope(&self, token: u64) -> Option<Arc<Envelope>> {
        Some(Arc::clone(&self.held.get(&token)?.envelope))
    }

    /// Lets go of a token, and says how its delivery is settled.
    pub(super) fn let_go(&mut self, token: u64, how: How) -> Option<(Grip, How)> {
        Some((self.held.remove(&token)?.grip?, how))
    }

    /// Tells the bus that nothing in hand is lost.
    pub(super) fn progress(&self) -> impl Future<Output = ()> + Send + 'static {
        let grips: Vec<Grip> = self.held.values().filter_map(|held| held.grip.clone()).collect();
        async move {
            for grip in grips {
                let mut slot = grip.lock().await;
                if let Some(settle) = slot.as_mut()
                    && let Err(error) = settle.progress().await
                {
                    tracing::debug!(%error, "the bus was not told that a delivery is still at work");
                }
            }
        }
    }
}

/// Settles deliveries: in their order, and without one waiting for another's answer. What cannot be settled comes again,
/// and the inbox finds that it was handled.
pub(super) async fn settle(settling: Vec<(Grip, How)>) {
    let mut futures = Vec::with_capacity(settling.len());
    for (grip, how) in settling {
        let Some(settle) = grip.lock().await.take() else { continue };
        futures.push(Some(match how {
            How::Ack => settle.ack(),
            How::Nack(after) => settle.nack(after),
            How::Reject(reason) => settle.reject(reason),
        }));
    }
    all(futures).await;
}

async fn all(mut futures: Vec<Option<BoxFuture<'static, Result<(), BoxError>>>>) {
    poll_fn(|cx| {
        let mut waits = false;
        for slot in &mut futures {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(cx) {
                Poll::Pending => waits = true,
                Poll::Ready(answer) => {
                    *slot = None;
                    if let Err(error) = answer {
                        tracing::debug!(%error, "a delivery was not settled; it comes again");
                    }
                }
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
