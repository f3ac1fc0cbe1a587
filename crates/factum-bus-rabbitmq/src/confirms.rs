//! Publications whose answers are awaited: polled where one was woken, not one task each.
//!
//! An unroutable message comes back *before* its acknowledgement, and lapin hands it to whichever confirmation it
//! completes first after that, which need not be its own. So a returned message is matched by source and id, and a
//! confirmation is believed only when every other one that was complete by then has been looked at: those may carry
//! what came back. Whoever holds the return was completed earlier, so it was in the queue of the woken by then, and
//! one more round of that queue finds it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use factum::EventId;
use factum::integration::Source;
use futures_util::task::AtomicWaker;
use lapin::Confirmation;

use crate::headers::identity;

/// What identifies a publication when its message comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) source: Source,
    pub(crate) id: EventId,
}

/// What the broker did with it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Every queue that it was routed to has it.
    Taken,
    /// It was routed to no queue.
    Returned,
    /// A queue could not take it.
    Nacked,
    /// No answer will come.
    Failed(lapin::Error),
}

type Answering = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// Publications in flight, each with what belongs to it.
pub(crate) struct Confirms<T> {
    woken: Arc<Woken>,
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    /// Complete, and not yet believed.
    complete: Vec<(Identity, Option<T>, lapin::Result<Confirmation>)>,
    /// Came back, and nobody has claimed it yet.
    returned: Vec<(String, String)>,
}

struct Slot<T> {
    answer: Option<Answering>,
    about: Option<(Identity, Option<T>)>,
    signal: Arc<Signal>,
    waker: Waker,
}

/// Which slots were woken, in that order.
#[derive(Default)]
struct Woken {
    slots: Mutex<Vec<usize>>,
    owner: AtomicWaker,
}

impl Woken {
    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Signal {
    slot: usize,
    is_queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.woken.slots.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
            self.woken.owner.wake();
        }
    }
}

impl<T> Confirms<T> {
    pub(crate) fn new() -> Self {
        Self {
            woken: Arc::default(),
            slots: Vec::new(),
            free: Vec::new(),
            complete: Vec::new(),
            returned: Vec::new(),
        }
    }

    /// How many are in flight.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds one, and starts it: what it writes is written in the order of these calls.
    pub(crate) fn add(
        &mut self,
        identity: Identity,
        with: T,
        answer: impl Future<Output = lapin::Result<Confirmation>> + Send + 'static,
    ) {
        let at = self.free.pop().unwrap_or_else(|| self.new_slot());
        if let Some(slot) = self.slots.get_mut(at) {
            slot.answer = Some(Box::pin(answer));
            slot.about = Some((identity, Some(with)));
        }
        self.poll_one(at);
        if !self.complete.is_empty() {
            self.woken.owner.wake();
        }
    }

    fn new_slot(&mut self) -> usize {
        let slot = self.slots.len();
        let signal =
            Arc::new(Signal { slot, is_queued: AtomicBool::new(false), woken: Arc::clone(&self.woken) });
        let waker = Waker::from(Arc::clone(&signal));
        self.slots.push(Slot { answer: None, about: None, signal, waker });
        slot
    }

    /// Waits for verdicts.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Vec<(T, Verdict)>> {
        loop {
            self.woken.owner.register(cx.waker());
            let complete_before = std::mem::take(&mut self.complete);
            let woken = self.woken.take();
            let is_idle = woken.is_empty();
            woken.into_iter().for_each(|at| self.poll_one(at));
            if !complete_before.is_empty() {
                return Poll::Ready(self.judge(complete_before));
            }
            if is_idle {
                return Poll::Pending;
            }
        }
    }

    fn poll_one(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.signal.is_queued.store(false, Ordering::Release);
        let Some(answer) = &mut slot.answer else { return };
        let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(&slot.waker)) else { return };
        slot.answer = None;
        if let Ok(Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message))) = &answer {
            let identity = identity(&message.delivery.properties);
            self.returned.extend(identity.map(|(source, id)| (source.to_owned(), id.to_owned())));
        }
        if let Some((identity, with)) = slot.about.take() {
            self.complete.push((identity, with, answer));
        }
        self.free.push(at);
    }

    /// Everything that was complete when these were has been looked at.
    fn judge(
        &mut self,
        complete: Vec<(Identity, Option<T>, lapin::Result<Confirmation>)>,
    ) -> Vec<(T, Verdict)> {
        let mut verdicts = Vec::with_capacity(complete.len());
        for (identity, with, answer) in complete {
            let verdict = match answer {
                Err(error) => Verdict::Failed(error),
                Ok(_) if self.came_back(&identity) => Verdict::Returned,
                Ok(Confirmation::Ack(_)) => Verdict::Taken,
                Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => Verdict::Nacked,
            };
            verdicts.extend(with.map(|with| (with, verdict)));
        }
        verdicts
    }

    fn came_back(&mut self, identity: &Identity) -> bool {
        let is_this = |(source, id): &(String, String)| {
            *source == identity.source.as_str() && id == identity.id.as_str()
        };
        match self.returned.iter().position(is_this) {
            Some(at) => {
                self.returned.swap_remove(at);
                true
            }
            None => false,
        }
    }

    /// Takes what belongs to those that `is_over` says have waited long enough; their answers are still awaited, but
    /// go to nobody.
    pub(crate) fn give_up(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<T> {
        let about = self.slots.iter_mut().filter_map(|slot| slot.about.as_mut());
        about
            .filter(|(_, with)| with.as_ref().is_some_and(&is_over))
            .filter_map(|(_, with)| with.take())
            .collect()
    }

    /// Takes what belongs to all of them; nothing is awaited any more.
    pub(crate) fn give_up_all(mut self) -> Vec<T> {
        let complete = std::mem::take(&mut self.complete).into_iter().filter_map(|(_, with, _)| with);
        let in_flight = self.slots.into_iter().filter_map(|slot| slot.about.and_then(|(_, with)| with));
        complete.chain(in_flight).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use lapin::BasicProperties;
    use lapin::message::BasicReturnMessage;
    use tokio::sync::oneshot;

    use super::*;

    fn identity_of(id: &str) -> Identity {
        Identity { source: "urn:a".into(), id: id.into() }
    }

    /// A message as the broker sends it back.
    fn returned(id: &str) -> BasicReturnMessage {
        let envelope = factum::Envelope::new(id, "urn:a", "t", *b"{}");
        let mut delivery = lapin::message::Delivery::mock(0, "x".into(), "t.0".into(), false, b"{}".to_vec());
        delivery.properties = crate::headers::properties(&envelope);
        BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() }
    }

    fn add(confirms: &mut Confirms<&'static str>, id: &'static str) -> oneshot::Sender<Confirmation> {
        let (sender, receiver) = oneshot::channel();
        confirms.add(identity_of(id), id, async move { Ok(receiver.await.unwrap()) });
        sender
    }

    async fn next(confirms: &mut Confirms<&'static str>) -> Vec<(&'static str, String)> {
        let verdicts = poll_fn(|cx| confirms.poll(cx)).await;
        verdicts.into_iter().map(|(id, verdict)| (id, format!("{verdict:?}"))).collect()
    }

    #[tokio::test]
    async fn f_55_a_message_that_came_back_with_the_answer_to_another_is_told_of_its_own() {
        let mut confirms = Confirms::new();
        let [five, nine] = ["5", "9"].map(|id| add(&mut confirms, id));
        // Lapin gives the return of 5 to 9, whose acknowledgement it sees first.
        nine.send(Confirmation::Ack(Some(returned("5")))).unwrap();
        five.send(Confirmation::Ack(None)).unwrap();
        let verdicts = next(&mut confirms).await;
        assert_eq!(verdicts, [("9", "Taken".into()), ("5", "Returned".into())]);
        assert_eq!(confirms.len(), 0);
    }

    #[tokio::test]
    async fn f_55_nothing_is_believed_before_all_that_is_complete_was_looked_at() {
        let mut confirms = Confirms::new();
        let [five, nine] = ["5", "9"].map(|id| add(&mut confirms, id));
        // 5 is looked at first, because something else has woken it before.
        confirms.slots[0].waker.wake_by_ref();
        nine.send(Confirmation::Ack(Some(returned("5")))).unwrap();
        five.send(Confirmation::Ack(None)).unwrap();
        let mut verdicts = next(&mut confirms).await;
        while verdicts.len() < 2 {
            verdicts.extend(next(&mut confirms).await);
        }
        verdicts.sort();
        assert_eq!(verdicts, [("5", "Returned".into()), ("9", "Taken".into())]);
    }

    #[tokio::test]
    async fn f_55_what_was_complete_just_before_is_looked_at_although_it_was_woken_too_late_for_this_round() {
        let mut confirms = Confirms::new();
        let nine = add(&mut confirms, "9");
        let (go, gone) = oneshot::channel::<()>();
        confirms.add(identity_of("5"), "5", async move {
            gone.await.unwrap();
            // While 5 is being looked at, the broker's answers come in: to 9 with the return of 5, and to 5.
            nine.send(Confirmation::Ack(Some(returned("5")))).unwrap();
            Ok(Confirmation::Ack(None))
        });
        go.send(()).unwrap();
        let mut verdicts = next(&mut confirms).await;
        verdicts.extend(next(&mut confirms).await);
        verdicts.sort();
        assert_eq!(verdicts, [("5", "Returned".into()), ("9", "Taken".into())]);
    }

    #[tokio::test]
    async fn who_has_waited_long_enough_is_told_nothing_later() {
        let mut confirms = Confirms::new();
        let [one, two] = ["1", "2"].map(|id| add(&mut confirms, id));
        assert_eq!(confirms.give_up(|id| *id == "1"), ["1"]);
        one.send(Confirmation::Ack(Some(returned("2")))).unwrap();
        two.send(Confirmation::Ack(None)).unwrap();
        let mut verdicts = next(&mut confirms).await;
        if verdicts.is_empty() {
            verdicts = next(&mut confirms).await;
        }
        assert_eq!(verdicts, [("2", "Returned".into())]);
    }

    #[tokio::test]
    async fn a_place_is_used_again() {
        let mut confirms = Confirms::new();
        for _ in 0..3 {
            add(&mut confirms, "x").send(Confirmation::Nack(None)).unwrap();
            assert_eq!(next(&mut confirms).await, [("x", "Nacked".into())]);
        }
        assert_eq!((confirms.slots.len(), BasicProperties::default().headers()), (1, &None));
    }
}
