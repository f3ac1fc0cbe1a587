//! One subscription's queue: a lane for each key that has something, and the consumers that compete for them.
//!
//! At most one delivery of a lane is out at a time. Nothing here waits, wakes or answers: it says whom to wake.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::integration::{Confirm, Source};
use crate::{Envelope, EventId};

/// An envelope on its way. Each queue that has it holds one `Arc`: whoever holds the last one owns the answer.
pub(super) struct Passage {
    pub(super) envelope: Arc<Envelope>,
    pub(super) confirm: Confirm,
}

/// What keeps its order: a source and an ordering key.
#[derive(Clone)]
pub(super) struct Key {
    source: Source,
    key: OrderingKey,
}

#[derive(Clone)]
enum OrderingKey {
    Given(Arc<str>),
    Own(EventId),
}

impl Key {
    pub(super) fn of(envelope: &Envelope) -> Self {
        let key = match &envelope.partitionkey {
            Some(key) => OrderingKey::Given(Arc::clone(key)),
            None => OrderingKey::Own(envelope.id.clone()),
        };
        Self { source: envelope.source.clone(), key }
    }

    fn text(&self) -> &str {
        match &self.key {
            OrderingKey::Given(key) => key,
            OrderingKey::Own(id) => id.as_str(),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() && self.source == other.source
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
        self.text().hash(state);
    }
}

struct Waiting {
    passage: Arc<Passage>,
    attempts: u32,
}

/// Which delivery of which consumer is out.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Out {
    consumer: usize,
    number: u64,
}

struct Lane {
    key: Key,
    /// The head stays here while it is out.
    waiting: VecDeque<Waiting>,
    out: Option<Out>,
}

struct Consumer {
    prefetch: usize,
    holds: usize,
    /// Set while it waits for a delivery.
    waker: Option<Waker>,
}

impl Consumer {
    fn has_room(&self) -> bool {
        self.holds < self.prefetch
    }
}

/// What a consumer takes along.
pub(super) struct Taken {
    pub(super) envelope: Arc<Envelope>,
    pub(super) attempt: u32,
    pub(super) ticket: Ticket,
}

/// Names one delivery of one lane; stale as soon as that was settled or handed back.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    lane: usize,
    number: u64,
}

/// A publisher that waits for room.
struct Publisher {
    id: u64,
    waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Queue {
    /// Queued or out.
    pub(super) len: usize,
    lanes: Vec<Lane>,
    free: Vec<usize>,
    by_key: HashMap<Key, usize>,
    /// Lanes whose head may be delivered.
    ready: VecDeque<usize>,
    /// Lanes whose head has to wait, and until when.
    delayed: BTreeSet<(Duration, usize)>,
    consumers: Vec<Option<Consumer>>,
    /// The consumer to be woken next.
    turn: usize,
    /// Deliveries so far.
    numbers: u64,
    /// Publishers that wait for room, first come, first served.
    line: VecDeque<Publisher>,
}

impl Queue {
    pub(super) fn push(&mut self, passage: Arc<Passage>) {
        self.len += 1;
        let key = Key::of(&passage.envelope);
        let waiting = Waiting { passage, attempts: 0 };
        match self.by_key.entry(key) {
            Entry::Occupied(lane) => self.lanes[*lane.get()].waiting.push_back(waiting),
            Entry::Vacant(entry) => {
                let key = entry.key().clone();
                let lane = match self.free.pop() {
                    Some(lane) => {
                        self.lanes[lane].key = key;
                        lane
                    }
                    None => {
                        self.lanes.push(Lane { key, waiting: VecDeque::new(), out: None });
                        self.lanes.len() - 1
                    }
                };
                self.lanes[lane].waiting.push_back(waiting);
                self.ready.push_back(lane);
                entry.insert(lane);
            }
        }
    }

    /// Until when the first of those that wait has to wait; `None` if nothing does.
    pub(super) fn earliest(&self) -> Option<Duration> {
        self.delayed.first().map(|(until, _)| *until)
    }

    /// Makes deliverable what has waited long enough.
    pub(super) fn ripen(&mut self, now: Duration) {
        while let Some((_, lane)) = self.delayed.first().copied().filter(|(until, _)| *until <= now) {
            self.delayed.pop_first();
            self.ready.push_back(lane);
        }
    }

    /// What the consumer may have now, at most `most`.
    pub(super) fn take(&mut self, consumer: usize, most: usize) -> Vec<Taken> {
        let Some(Some(by)) = self.consumers.get_mut(consumer) else { return Vec::new() };
        let count = most.min(by.prefetch - by.holds).min(self.ready.len());
        by.holds += count;
        by.waker = None;
        let mut taken = Vec::with_capacity(count);
        for lane in self.ready.drain(..count) {
            self.numbers += 1;
            let number = self.numbers;
            self.lanes[lane].out = Some(Out { consumer, number });
            if let Some(head) = self.lanes[lane].waiting.front_mut() {
                head.attempts = head.attempts.saturating_add(1);
                let envelope = Arc::clone(&head.passage.envelope);
                taken.push(Taken { envelope, attempt: head.attempts, ticket: Ticket { lane, number } });
            }
        }
        taken
    }

    /// Whether the consumer may hold more; otherwise only its own acknowledgements can wake it.
    pub(super) fn has_room_for(&self, consumer: usize) -> bool {
        self.consumers.get(consumer).and_then(Option::as_ref).is_some_and(Consumer::has_room)
    }

    /// The delivery is done with: the next of its lane may go. `None`: the ticket is stale.
    pub(super) fn finish(&mut self, ticket: Ticket, wake: &mut Vec<Waker>) -> Option<Arc<Passage>> {
        self.release(ticket, wake)?;
        let lane = &mut self.lanes[ticket.lane];
        let done = lane.waiting.pop_front()?;
        self.len -= 1;
        if lane.waiting.is_empty() {
            self.by_key.remove(&lane.key);
            self.free.push(ticket.lane);
        } else {
            self.ready.push_back(ticket.lane);
        }
        self.rouse(wake);
        Some(done.passage)
    }

    /// The delivery comes again, not before `until`. `None`: the ticket is stale.
    pub(super) fn hand_back(
        &mut self,
        ticket: Ticket,
        until: Option<Duration>,
        wake: &mut Vec<Waker>,
    ) -> Option<()> {
        self.release(ticket, wake)?;
        match until {
            None => {
                self.ready.push_back(ticket.lane);
                self.rouse(wake);
            }
            Some(until) => {
                let sooner = self.earliest().is_none_or(|earliest| until < earliest);
                self.delayed.insert((until, ticket.lane));
                if sooner {
                    // They wait for a later moment, or for none.
                    wake.extend(self.consumers.iter_mut().flatten().filter_map(|it| it.waker.take()));
                }
            }
        }
        Some(())
    }

    fn release(&mut self, ticket: Ticket, wake: &mut Vec<Waker>) -> Option<()> {
        let lane = self.lanes.get_mut(ticket.lane)?;
        let out = lane.out.filter(|out| out.number == ticket.number)?;
        lane.out = None;
        if let Some(Some(consumer)) = self.consumers.get_mut(out.consumer) {
            // A consumer that was full neither was roused nor knows when to look again.
            if !consumer.has_room() {
                wake.extend(consumer.waker.take());
            }
            consumer.holds -= 1;
        }
        Some(())
    }

    /// Wakes a consumer for every lane that is ready, as far as there are any with room.
    pub(super) fn rouse(&mut self, wake: &mut Vec<Waker>) {
        let mut lanes = self.ready.len();
        let consumers = self.consumers.len();
        let first = self.turn;
        for step in 0..consumers {
            if lanes == 0 {
                break;
            }
            let at = (first + step) % consumers;
            let Some(consumer) = self.consumers[at].as_mut().filter(|it| it.has_room()) else { continue };
            if let Some(waker) = consumer.waker.take() {
                wake.push(waker);
                self.turn = (at + 1) % consumers;
                lanes -= 1;
            }
        }
    }

    pub(super) fn join(&mut self, prefetch: usize) -> usize {
        let consumer = Some(Consumer { prefetch, holds: 0, waker: None });
        match self.consumers.iter().position(Option::is_none) {
            Some(free) => {
                self.consumers[free] = consumer;
                free
            }
            None => {
                self.consumers.push(consumer);
                self.consumers.len() - 1
            }
        }
    }

    /// The consumer is gone: what it held comes again at once.
    pub(super) fn part(&mut self, consumer: usize, wake: &mut Vec<Waker>) {
        self.consumers[consumer] = None;
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if lane.out.is_some_and(|out| out.consumer == consumer) {
                lane.out = None;
                self.ready.push_back(at);
            }
        }
        self.rouse(wake);
    }

    /// The consumer waits for a delivery.
    pub(super) fn wait(&mut self, consumer: usize, waker: &Waker) {
        if let Some(Some(consumer)) = self.consumers.get_mut(consumer) {
            consumer.waker = Some(waker.clone());
        }
    }

    /// The consumer no longer waits; what it may have been woken for is another's.
    pub(super) fn stop_waiting(&mut self, consumer: usize, wake: &mut Vec<Waker>) {
        if let Some(Some(consumer)) = self.consumers.get_mut(consumer) {
            consumer.waker = None;
        }
        self.rouse(wake);
    }

    /// Publishers in line.
    pub(super) fn line_len(&self) -> usize {
        self.line.len()
    }

    pub(super) fn is_first_in_line(&self, id: u64) -> bool {
        self.line.front().is_some_and(|first| first.id == id)
    }

    /// Stands in line, at the end of it if it is not yet in it.
    pub(super) fn stand(&mut self, id: u64, waker: &Waker) {
        let waker = Some(waker.clone());
        match self.line.iter_mut().find(|it| it.id == id) {
            Some(standing) => standing.waker = waker,
            None => self.line.push_back(Publisher { id, waker }),
        }
    }

    /// Leaves the line.
    pub(super) fn leave(&mut self, id: u64) {
        self.line.retain(|it| it.id != id);
    }

    /// Wakes the first in line if there is room.
    pub(super) fn call_next(&mut self, bound: usize, wake: &mut Vec<Waker>) {
        if self.len < bound {
            wake.extend(self.line.front_mut().and_then(|first| first.waker.take()));
        }
    }

    /// Wakes the whole line and dissolves it.
    pub(super) fn dissolve_line(&mut self, wake: &mut Vec<Waker>) {
        wake.extend(self.line.drain(..).filter_map(|it| it.waker));
    }

    /// Lets go of everything, and wakes the consumers so that they learn of it.
    pub(super) fn end(&mut self, wake: &mut Vec<Waker>) -> Vec<Arc<Passage>> {
        wake.extend(self.consumers.iter_mut().flatten().filter_map(|it| it.waker.take()));
        self.dissolve_line(wake);
        self.len = 0;
        self.ready.clear();
        self.delayed.clear();
        self.by_key.clear();
        let left = std::mem::take(&mut self.lanes);
        left.into_iter().flat_map(|lane| lane.waiting).map(|waiting| waiting.passage).collect()
    }
}
