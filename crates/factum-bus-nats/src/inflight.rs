//! What was published and not answered yet: a slot each, and a reply subject that belongs to the slot.
//!
//! Nothing is allocated for a message: a slot keeps its reply subject for as long as its messages are answered in time.
//! After any other end it gets a new one, so that an answer that comes late is nobody's, and never taken for that of
//! the next message in the slot.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_nats::Subject;
use factum::integration::{Answer, Confirm};
use tokio::sync::Notify;

/// The slots of one bus.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// In front of every reply subject, with its dot.
    prefix: String,
    most: usize,
    table: Mutex<Table>,
    room: Notify,
    quiet: Notify,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    reply: Subject,
    round: u64,
    taken: Option<(Confirm, Instant)>,
}

/// A place that was taken.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) reply: Subject,
    place: Place,
}

/// Names one use of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    slot: u32,
    round: u64,
}

impl InFlight {
    /// `inbox` is the subject under which the answers come, without a dot at its end.
    pub(crate) fn new(inbox: &str, most: usize) -> Self {
        Self {
            prefix: format!("{inbox}."),
            most: most.max(1),
            table: Mutex::default(),
            room: Notify::new(),
            quiet: Notify::new(),
        }
    }

    /// What to subscribe to for the answers.
    pub(crate) fn replies(&self) -> String {
        format!("{}>", self.prefix)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code of others runs under the lock: a panic cannot have left half a change behind.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot, waiting for one as needed. Where the future is dropped, so is the confirmation: unknown.
    pub(crate) async fn take(&self, mut confirm: Confirm) -> Ticket {
        loop {
            confirm = match self.try_take(confirm, Instant::now()) {
                Ok(ticket) => return ticket,
                Err(confirm) => confirm,
            };
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            confirm = match self.try_take(confirm, Instant::now()) {
                Ok(ticket) => return ticket,
                Err(confirm) => confirm,
            };
            room.await;
        }
    }

    fn try_take(&self, confirm: Confirm, now: Instant) -> Result<Ticket, Confirm> {
        let mut table = self.lock();
        let slot = match table.free.pop() {
            Some(slot) => slot,
            None if table.slots.len() < self.most => {
                let slot = table.slots.len() as u32;
                let reply = reply(&self.prefix, slot, 0);
                table.slots.push(Slot { reply, round: 0, taken: None });
                slot
            }
            None => return Err(confirm),
        };
        match table.slots.get_mut(slot as usize) {
            Some(it) => {
                it.taken = Some((confirm, now));
                Ok(Ticket { reply: it.reply.clone(), place: Place { slot, round: it.round } })
            }
            None => Err(confirm),
        }
    }

    /// Whose answer comes on a subject; `None`: nobody's of ours.
    pub(crate) fn place(&self, reply: &str) -> Option<Place> {
        let (slot, round) = reply.strip_prefix(&*self.prefix)?.split_once('.')?;
        Some(Place { slot: slot.parse().ok()?, round: round.parse().ok()? })
    }

    /// Gives the answers to those who still wait for them.
    pub(crate) fn settle(&self, answers: impl IntoIterator<Item = (Place, Answer)>) {
        let mut told = Vec::new();
        let mut table = self.lock();
        for (place, answer) in answers {
            if let Some(confirm) = table.release(place) {
                told.push((confirm, answer));
            }
        }
        let quiet = table.is_quiet();
        drop(table);
        self.tell(told, quiet);
    }

    /// The message was not sent, or nobody waits for it any more.
    pub(crate) fn abandon(&self, ticket: Ticket, answer: Answer) {
        let mut table = self.lock();
        let confirm = table.release(ticket.place);
        table.renew(&self.prefix, ticket.place.slot);
        let quiet = table.is_quiet();
        drop(table);
        self.tell(confirm.into_iter().map(|confirm| (confirm, answer.clone())), quiet);
    }

    /// Answers `Unknown` to all that have waited since before `since`. Their answers, should they come, are nobody's.
    pub(crate) fn give_up(&self, since: Option<Instant>, why: &str) {
        let mut table = self.lock();
        let late = |slot: &Slot| match (&slot.taken, since) {
            (Some((_, at)), Some(since)) => *at < since,
            (taken, _) => taken.is_some(),
        };
        let given_up: Vec<u32> =
            (0..).zip(&table.slots).filter(|(_, slot)| late(slot)).map(|(n, _)| n).collect();
        if given_up.is_empty() {
            return;
        }
        let mut told = Vec::with_capacity(given_up.len());
        for slot in given_up {
            let round = table.slots.get(slot as usize).map_or(0, |slot| slot.round);
            if let Some(confirm) = table.release(Place { slot, round }) {
                told.push((confirm, Answer::Unknown(why.to_owned())));
            }
            table.renew(&self.prefix, slot);
        }
        let quiet = table.is_quiet();
        drop(table);
        self.tell(told, quiet);
    }

    fn tell(&self, answers: impl IntoIterator<Item = (Confirm, Answer)>, quiet: bool) {
        for (confirm, answer) in answers {
            confirm.answer(answer);
        }
        self.room.notify_waiters();
        if quiet {
            self.quiet.notify_waiters();
        }
    }

    /// Ends when nothing waits for an answer.
    pub(crate) async fn quiet(&self) {
        loop {
            let mut quiet = std::pin::pin!(self.quiet.notified());
            quiet.as_mut().enable();
            if self.lock().is_quiet() {
                return;
            }
            quiet.await;
        }
    }
}

impl Table {
    fn release(&mut self, place: Place) -> Option<Confirm> {
        let slot = self.slots.get_mut(place.slot as usize).filter(|slot| slot.round == place.round)?;
        let (confirm, _) = slot.taken.take()?;
        self.free.push(place.slot);
        Some(confirm)
    }

    /// What is still to come under the old subject is nobody's from now on.
    fn renew(&mut self, prefix: &str, slot: u32) {
        if let Some(it) = self.slots.get_mut(slot as usize) {
            it.round += 1;
            it.reply = reply(prefix, slot, it.round);
        }
    }

    fn is_quiet(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}

fn reply(prefix: &str, slot: u32, round: u64) -> Subject {
    Subject::from(format!("{prefix}{slot}.{round}"))
}

/// A message on its way to the client. Dropped on the way, it was not sent, and is unknown.
pub(crate) struct Sending<'a> {
    in_flight: &'a InFlight,
    ticket: Option<Ticket>,
}

impl<'a> Sending<'a> {
    pub(crate) fn new(in_flight: &'a InFlight, ticket: Ticket) -> Self {
        Self { in_flight, ticket: Some(ticket) }
    }

    /// The client has it: the answer comes from the server, or from the deadline.
    pub(crate) fn sent(mut self) {
        self.ticket = None;
    }

    /// The client would not take it, and why.
    pub(crate) fn failed(mut self, answer: Answer) {
        if let Some(ticket) = self.ticket.take() {
            self.in_flight.abandon(ticket, answer);
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.in_flight.abandon(ticket, Answer::Unknown("publishing it was given up".into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Told = Arc<Mutex<Vec<(u64, Answer)>>>;

    fn confirm(told: &Told, n: u64) -> Confirm {
        let told = Arc::clone(told);
        Confirm::new(n, Arc::new(move |n, answer| told.lock().unwrap().push((n, answer))))
    }

    #[test]
    fn an_answer_goes_to_whoever_published_under_its_subject() {
        let (told, in_flight) = (Told::default(), InFlight::new("in.box", 2));
        let now = Instant::now();
        let one = in_flight.try_take(confirm(&told, 1), now).unwrap();
        let two = in_flight.try_take(confirm(&told, 2), now).unwrap();
        assert!(in_flight.try_take(confirm(&told, 3), now).is_err(), "there were two slots");
        assert_eq!(in_flight.place(&two.reply), Some(two.place));
        in_flight.settle([(two.place, Answer::Confirmed), (two.place, Answer::Unroutable)]);
        in_flight.settle([(one.place, Answer::Refused("no".into()))]);
        let told = told.lock().unwrap();
        assert_eq!(told[1..], [(2, Answer::Confirmed), (1, Answer::Refused("no".into()))]);
        for nobodys in ["in.box.0", "in.box.x.0", "in.other.0.0", "in.box.9999999999.0"] {
            assert_eq!(in_flight.place(nobodys), None, "{nobodys}");
        }
    }

    /// The answer to what was given up comes when its slot has the next message in it.
    #[test]
    fn f_52_a_late_answer_confirms_no_other_message() {
        let (told, in_flight) = (Told::default(), InFlight::new("in.box", 1));
        let now = Instant::now();
        let first = in_flight.try_take(confirm(&told, 1), now).unwrap();
        in_flight.give_up(None, "late");
        let second = in_flight.try_take(confirm(&told, 2), now).unwrap();
        let place = in_flight.place(&first.reply).unwrap();
        in_flight.settle([(place, Answer::Confirmed)]);
        assert_eq!(*told.lock().unwrap(), [(1, Answer::Unknown("late".into()))]);
        in_flight.settle([(in_flight.place(&second.reply).unwrap(), Answer::Confirmed)]);
        assert_eq!(told.lock().unwrap()[1..], [(2, Answer::Confirmed)]);
    }

    #[test]
    fn only_what_has_waited_too_long_is_given_up() {
        let (told, in_flight) = (Told::default(), InFlight::new("in.box", 9));
        let long_ago = Instant::now();
        let now = long_ago + std::time::Duration::from_secs(10);
        in_flight.try_take(confirm(&told, 1), long_ago).unwrap();
        in_flight.try_take(confirm(&told, 2), now).unwrap();
        in_flight.give_up(Some(now), "late");
        assert_eq!(*told.lock().unwrap(), [(1, Answer::Unknown("late".into()))]);
    }
}
