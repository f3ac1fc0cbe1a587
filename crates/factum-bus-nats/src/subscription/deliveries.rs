//! One consumer of a subscription, and the settling of what it was given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subject;
use bytes::Bytes;
use factum::integration::{Deliveries, Delivery, Settle};
use factum::{BoxError, BoxFuture};

use super::lanes::{Given, Ticket};
use super::{Held, Hub, Phase};
use crate::Nats;

const ACK: &str = "+ACK";
const TERM: &str = "+TERM";

/// One consumer.
pub(crate) struct NatsDeliveries {
    hub: Arc<Hub>,
    consumer: u64,
    /// Keeps the connection for as long as somebody consumes.
    _bus: Nats,
}

impl NatsDeliveries {
    pub(crate) fn new(hub: Arc<Hub>, consumer: u64, bus: Nats) -> Self {
        Self { hub, consumer, _bus: bus }
    }

    fn deliver(&self, given: Vec<Given>) -> Vec<Delivery> {
        let deliver = |Given { envelope, attempt, ticket }| Delivery {
            envelope,
            attempt,
            settle: Box::new(Settlement { hub: Arc::clone(&self.hub), ticket: Some(ticket) }),
        };
        given.into_iter().map(deliver).collect()
    }

    async fn wait(&self, most: usize) -> Vec<Delivery> {
        loop {
            let mut wake = std::pin::pin!(self.hub.wake.notified());
            wake.as_mut().enable();
            let due = {
                let (mut held, now) = (self.hub.lock(), Instant::now());
                match held.phase {
                    Phase::Ended | Phase::Left => return Vec::new(),
                    Phase::Open if held.is_owner(now) => {
                        let given = held.lanes.take(self.consumer, most, now);
                        if !given.is_empty() {
                            drop(held);
                            // There is room for more.
                            self.hub.poke.notify_one();
                            return self.deliver(given);
                        }
                        held.lanes.earliest().map(|due| due.max(now + Duration::from_millis(1)))
                    }
                    // The task wakes when it knows again, and closing wakes at its end.
                    Phase::Open | Phase::Closing => None,
                }
            };
            match due {
                Some(due) => drop(tokio::time::timeout_at(due.into(), wake).await),
                None => wake.await,
            }
        }
    }
}

impl Held {
    /// Whether the lease of this process still runs.
    pub(super) fn is_owner(&self, now: Instant) -> bool {
        self.valid_until.is_some_and(|until| now < until)
    }
}

impl Deliveries for NatsDeliveries {
    fn next<'a>(&'a mut self, most: usize) -> BoxFuture<'a, Result<Vec<Delivery>, BoxError>> {
        Box::pin(async move { Ok(self.wait(most.max(1)).await) })
    }
}

impl Drop for NatsDeliveries {
    fn drop(&mut self) {
        self.hub.lock().lanes.part(self.consumer);
        self.hub.wake.notify_waiters();
        self.hub.poke.notify_one();
    }
}

/// Settles one delivery; dropped without having done so, it hands it back.
struct Settlement {
    hub: Arc<Hub>,
    ticket: Option<Ticket>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the delivery is no longer out: its consumer was dropped, the bus has closed, or it went to another process"
)]
struct Stale;

impl Settlement {
    /// What has to be said to the server now, if it is known that this process may say it.
    fn finish(&mut self, word: &'static str) -> Result<Option<Subject>, Stale> {
        let ticket = self.ticket.take().ok_or(Stale)?;
        let mut held = self.hub.lock();
        if matches!(held.phase, Phase::Ended | Phase::Left) {
            return Err(Stale);
        }
        let message = held.lanes.finish(ticket).ok_or(Stale)?;
        let is_owner = held.is_owner(Instant::now());
        if !is_owner {
            held.owed.push((message.ack.clone(), word));
        }
        let is_draining = held.lanes.is_draining();
        drop(held);
        self.settled(is_draining);
        Ok(is_owner.then_some(message.ack))
    }

    fn hand_back(&mut self, until: Option<Instant>) -> Result<(), Stale> {
        let ticket = self.ticket.take().ok_or(Stale)?;
        let mut held = self.hub.lock();
        let back = held.lanes.hand_back(ticket, until).ok_or(Stale);
        let is_draining = held.lanes.is_draining();
        drop(held);
        self.settled(is_draining);
        back
    }

    /// The next of its key may be ready; and where a partition is to go, this may have been the last that was out.
    fn settled(&self, is_draining: bool) {
        self.hub.wake.notify_waiters();
        if is_draining {
            self.hub.poke.notify_one();
        }
    }

    async fn say(&mut self, word: &'static str) -> Result<(), BoxError> {
        if let Some(subject) = self.finish(word)? {
            self.hub.server.say(subject, Bytes::from_static(word.as_bytes())).await?;
        }
        Ok(())
    }
}

impl Settle for Settlement {
    fn ack(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move { self.say(ACK).await })
    }

    fn nack(mut self: Box<Self>, after: Duration) -> BoxFuture<'static, Result<(), BoxError>> {
        // What is further off than the clock goes waits as long as can be said.
        let until = (!after.is_zero()).then(|| {
            let now = Instant::now();
            now.checked_add(after).unwrap_or(now + Duration::from_secs(24 * 3600))
        });
        Box::pin(std::future::ready(self.hand_back(until).map_err(Into::into)))
    }

    fn reject(mut self: Box<Self>, _reason: String) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move { self.say(TERM).await })
    }

    fn progress(&mut self) -> BoxFuture<'_, Result<(), BoxError>> {
        // The hub tells the server about all that is held. What is to be known here is whether it still is.
        let holds = self.ticket.is_some_and(|ticket| {
            let held = self.hub.lock();
            !matches!(held.phase, Phase::Ended | Phase::Left) && held.lanes.holds(ticket)
        });
        Box::pin(std::future::ready(if holds { Ok(()) } else { Err(Stale.into()) }))
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let _ = self.hand_back(None);
        }
    }
}
