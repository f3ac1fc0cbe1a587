//! A consumer of a subscription, and the settling of what it was given.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use factum::integration::{Deliveries, Delivery, Settle};
use factum::{BoxError, BoxFuture};
use tokio::time::{Instant, sleep_until};

use crate::queue::{Stale, Taken, Ticket};
use crate::subscription::{Look, Subscription};

/// One consumer.
pub(crate) struct Consumer {
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) number: usize,
}

impl Consumer {
    async fn wait(&self, most: usize) -> Vec<Taken> {
        loop {
            // Registered before looking, so that nothing that happens in between is missed.
            let mut changed = std::pin::pin!(self.subscription.changed.notified());
            changed.as_mut().enable();
            match self.subscription.take(self.number, most) {
                Look::Ended => return Vec::new(),
                Look::Taken(taken) => return taken,
                Look::Nothing(None) => changed.await,
                Look::Nothing(Some(until)) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }
}

impl Deliveries for Consumer {
    fn next<'a>(&'a mut self, most: usize) -> BoxFuture<'a, Result<Vec<Delivery>, BoxError>> {
        Box::pin(async move {
            let deliver = |Taken { envelope, attempt, ticket }| {
                let settle =
                    Settlement { subscription: Arc::clone(&self.subscription), ticket: Some(ticket) };
                Delivery { envelope, attempt, settle: Box::new(settle) }
            };
            Ok(self.wait(most.max(1)).await.into_iter().map(deliver).collect())
        })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.subscription.part(self.number);
    }
}

/// Settles one delivery; dropped without having done so, it hands it back.
struct Settlement {
    subscription: Arc<Subscription>,
    ticket: Option<Ticket>,
}

impl Settlement {
    fn finish(&mut self) -> Result<(), BoxError> {
        let ticket = self.ticket.take().ok_or(Stale)?;
        Ok(self.subscription.finish(ticket)?)
    }

    fn hand_back(&mut self, until: Option<Instant>) -> Result<(), BoxError> {
        let ticket = self.ticket.take().ok_or(Stale)?;
        Ok(self.subscription.hand_back(ticket, until)?)
    }
}

/// RabbitMQ answers no acknowledgement, so none is waited for: it is written in turn, and if the connection dies
/// before, the delivery comes again.
impl Settle for Settlement {
    fn ack(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(ready(self.finish()))
    }

    fn nack(mut self: Box<Self>, after: Duration) -> BoxFuture<'static, Result<(), BoxError>> {
        let until = (!after.is_zero()).then(|| Instant::now().checked_add(after)).flatten();
        Box::pin(ready(self.hand_back(until)))
    }

    /// The subscriber has kept it, so the broker need not.
    fn reject(mut self: Box<Self>, _reason: String) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(ready(self.finish()))
    }

    /// The broker's time limit for an acknowledgement (30 minutes by default) cannot be extended by a message.
    fn progress(&mut self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(ready(Ok(())))
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let _ = self.hand_back(None);
        }
    }
}
