//! A consumer of a subscription, and the settling of what it was given.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::queue::{Taken, Ticket};
use super::state::{Effects, Shared, State};
use crate::integration::{Answer, Deliveries, Delivery, Interest, Settle};
use crate::{BoxError, BoxFuture};

/// One consumer.
pub(super) struct MemoryDeliveries {
    shared: Arc<Shared>,
    queue: usize,
    consumer: usize,
}

impl MemoryDeliveries {
    pub(super) fn open(shared: Arc<Shared>, interest: Interest) -> Result<Self, BoxError> {
        let Interest { subscription, types, prefetch } = interest;
        if prefetch == 0 {
            return Err(
                format!("subscription {subscription}: with a prefetch of 0 it would get nothing").into()
            );
        }
        let (queue, consumer) = shared.lock().subscribe(subscription, types, prefetch)?;
        Ok(Self { shared, queue, consumer })
    }
}

impl Deliveries for MemoryDeliveries {
    fn next<'a>(&'a mut self, most: usize) -> BoxFuture<'a, Result<Vec<Delivery>, BoxError>> {
        Box::pin(Next { of: self, most: most.max(1), waits: false, alarm: None })
    }
}

impl Drop for MemoryDeliveries {
    fn drop(&mut self) {
        self.shared.change(|state, effects| state.queues[self.queue].part(self.consumer, &mut effects.wake));
    }
}

/// Waits for deliveries.
struct Next<'a> {
    of: &'a MemoryDeliveries,
    most: usize,
    waits: bool,
    /// When the first delayed delivery is due, and the waiting for it.
    alarm: Option<(Duration, BoxFuture<'static, ()>)>,
}

enum Look {
    Ended,
    Taken(Vec<Taken>),
    /// Nothing, at least until then.
    Nothing(Option<Duration>),
}

impl Next<'_> {
    fn look(&self, state: &mut State, effects: &mut Effects, waker: &Waker) -> Look {
        if state.ended {
            return Look::Ended;
        }
        let queue = &mut state.queues[self.of.queue];
        if queue.earliest().is_some() {
            queue.ripen(self.of.shared.timer.now());
        }
        let taken = queue.take(self.of.consumer, self.most);
        if taken.is_empty() {
            queue.wait(self.of.consumer, waker);
            return Look::Nothing(queue.earliest().filter(|_| queue.has_room_for(self.of.consumer)));
        }
        queue.rouse(&mut effects.wake);
        Look::Taken(taken)
    }

    fn deliver(&self, taken: Vec<Taken>) -> Vec<Delivery> {
        let settle = |ticket| Settlement {
            shared: Arc::clone(&self.of.shared),
            queue: self.of.queue,
            ticket: Some(ticket),
        };
        let deliver = |Taken { envelope, attempt, ticket }| Delivery {
            envelope,
            attempt,
            settle: Box::new(settle(ticket)),
        };
        taken.into_iter().map(deliver).collect()
    }

    /// Whether it is time to look again.
    fn is_due(&mut self, until: Duration, cx: &mut Context<'_>) -> bool {
        if self.alarm.as_ref().is_none_or(|(set, _)| *set != until) {
            self.alarm = Some((until, self.of.shared.timer.sleep_until(until)));
        }
        let rings = self.alarm.as_mut().is_some_and(|(_, alarm)| alarm.as_mut().poll(cx).is_ready());
        if rings {
            self.alarm = None;
        }
        rings
    }
}

impl Future for Next<'_> {
    type Output = Result<Vec<Delivery>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let look = this.of.shared.change(|state, effects| this.look(state, effects, cx.waker()));
            this.waits = matches!(look, Look::Nothing(_));
            match look {
                Look::Ended => return Poll::Ready(Ok(Vec::new())),
                Look::Taken(taken) => return Poll::Ready(Ok(this.deliver(taken))),
                Look::Nothing(Some(until)) if this.is_due(until, cx) => {}
                Look::Nothing(_) => return Poll::Pending,
            }
        }
    }
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        if self.waits {
            let MemoryDeliveries { shared, queue, consumer } = self.of;
            shared.change(|state, effects| state.queues[*queue].stop_waiting(*consumer, &mut effects.wake));
        }
    }
}

/// Settles one delivery; dropped without having done so, it hands it back.
struct Settlement {
    shared: Arc<Shared>,
    queue: usize,
    ticket: Option<Ticket>,
}

#[derive(Debug, thiserror::Error)]
#[error("the delivery is no longer out: its consumer was dropped, or the bus has closed; it was handed back")]
struct Stale;

impl Settlement {
    fn finish(&mut self) -> Result<(), BoxError> {
        let ticket = self.ticket.take().ok_or(Stale)?;
        let bound = self.shared.options.queue_bound;
        let queue = self.queue;
        self.shared.change(|state, effects| {
            let queue = &mut state.queues[queue];
            let passage = queue.finish(ticket, &mut effects.wake).ok_or(Stale)?;
            queue.call_next(bound, &mut effects.wake);
            effects.settle(passage, Answer::Confirmed);
            Ok(())
        })
    }

    fn hand_back(&mut self, until: Option<Duration>) -> Result<(), BoxError> {
        let ticket = self.ticket.take().ok_or(Stale)?;
        let queue = self.queue;
        self.shared.change(|state, effects| {
            Ok(state.queues[queue].hand_back(ticket, until, &mut effects.wake).ok_or(Stale)?)
        })
    }
}

impl Settle for Settlement {
    fn ack(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(ready(self.finish()))
    }

    fn nack(mut self: Box<Self>, after: Duration) -> BoxFuture<'static, Result<(), BoxError>> {
        let until = (!after.is_zero()).then(|| self.shared.timer.now().saturating_add(after));
        Box::pin(ready(self.hand_back(until)))
    }

    fn reject(mut self: Box<Self>, _reason: String) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(ready(self.finish()))
    }

    fn progress(&mut self) -> BoxFuture<'_, Result<(), BoxError>> {
        // Nothing here times a delivery out.
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
