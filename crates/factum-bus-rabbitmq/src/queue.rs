//! What one process holds of a subscription: a lane for each key that has something, and the consumers that compete.
//!
//! At most one delivery of a lane is out at a time, and what is handed back stays at its head. Nothing is ever handed
//! back to the broker one by one: a quorum queue would put it at its end. Nothing here waits or talks to anybody.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use factum::Envelope;
use factum::integration::Source;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

/// What keeps its order: a source and an ordering key.
type Key = (Source, Arc<str>);

/// Where a delivery came from, and how it is acknowledged there.
#[derive(Clone)]
pub(crate) struct Origin {
    /// Which channel of which connection: a tag means nothing on another one.
    pub(crate) channel: u64,
    pub(crate) tag: u64,
    pub(crate) acks: UnboundedSender<u64>,
}

struct Waiting {
    envelope: Arc<Envelope>,
    attempts: u32,
    /// `None`: its channel is gone, so the broker delivers it again.
    origin: Option<Origin>,
}

/// Which delivery of which consumer is out.
#[derive(Clone, Copy)]
struct Out {
    consumer: usize,
    number: u64,
}

enum Turn {
    Ready,
    Later,
    Out(Out),
}

struct Lane {
    key: Key,
    /// Never empty. The head stays here while it is out.
    waiting: VecDeque<Waiting>,
    turn: Turn,
}

struct Consumer {
    prefetch: usize,
    holds: usize,
}

/// What a consumer takes along.
pub(crate) struct Taken {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) attempt: u32,
    pub(crate) ticket: Ticket,
}

/// Names one delivery of one lane; stale as soon as that was settled or handed back.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    lane: u64,
    number: u64,
}

/// The delivery is no longer the ticket's.
#[derive(Debug, thiserror::Error)]
#[error(
    "the delivery is no longer out: its consumer was dropped, its connection was lost, or the bus has closed; it comes again"
)]
pub(crate) struct Stale;

#[derive(Default)]
pub(crate) struct Queue {
    lanes: HashMap<u64, Lane>,
    by_key: HashMap<Key, u64>,
    ready: VecDeque<u64>,
    later: BTreeSet<(Instant, u64)>,
    consumers: HashMap<usize, Consumer>,
    /// Lanes, deliveries and consumers so far.
    numbers: u64,
}

impl Queue {
    /// Adds what the broker delivered.
    pub(crate) fn push(&mut self, envelope: Envelope, attempts: u32, origin: Origin) {
        let key = (envelope.source.clone(), envelope.ordering_key_shared());
        let waiting = Waiting { envelope: Arc::new(envelope), attempts, origin: Some(origin) };
        match self.by_key.entry(key) {
            Entry::Occupied(lane) => {
                if let Some(lane) = self.lanes.get_mut(lane.get()) {
                    lane.waiting.push_back(waiting);
                }
            }
            Entry::Vacant(entry) => {
                self.numbers += 1;
                let (at, key) = (self.numbers, entry.key().clone());
                entry.insert(at);
                self.lanes.insert(at, Lane { key, waiting: [waiting].into(), turn: Turn::Ready });
                self.ready.push_back(at);
            }
        }
    }

    /// What the consumer may have now, at most `most`.
    pub(crate) fn take(&mut self, consumer: usize, most: usize, now: Instant) -> Vec<Taken> {
        while let Some((_, at)) = self.later.first().copied().filter(|(until, _)| *until <= now) {
            self.later.pop_first();
            self.is_ready(at);
        }
        let Some(by) = self.consumers.get_mut(&consumer) else { return Vec::new() };
        let count = most.min(by.prefetch.saturating_sub(by.holds)).min(self.ready.len());
        let mut taken = Vec::with_capacity(count);
        for at in self.ready.drain(..count) {
            let Some(lane) = self.lanes.get_mut(&at) else { continue };
            let Some(head) = lane.waiting.front_mut() else { continue };
            self.numbers += 1;
            by.holds += 1;
            head.attempts = head.attempts.saturating_add(1);
            lane.turn = Turn::Out(Out { consumer, number: self.numbers });
            let ticket = Ticket { lane: at, number: self.numbers };
            taken.push(Taken { envelope: Arc::clone(&head.envelope), attempt: head.attempts, ticket });
        }
        taken
    }

    /// Until when the first of those that wait has to wait.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.later.first().map(|(until, _)| *until)
    }

    /// How many are out.
    pub(crate) fn out(&self) -> usize {
        self.consumers.values().map(|consumer| consumer.holds).sum()
    }

    /// The delivery is done with: it is acknowledged, and the next of its lane may go.
    pub(crate) fn finish(&mut self, ticket: Ticket) -> Result<(), Stale> {
        self.release(ticket)?;
        let origin = self.next_of(ticket.lane).ok_or(Stale)?;
        origin.acks.send(origin.tag).map_err(|_| Stale)
    }

    /// The delivery comes again, not before `until`.
    pub(crate) fn hand_back(&mut self, ticket: Ticket, until: Option<Instant>) -> Result<(), Stale> {
        self.release(ticket)?;
        let head = self.lanes.get(&ticket.lane).and_then(|lane| lane.waiting.front());
        if head.is_none_or(|head| head.origin.is_none()) {
            // The broker brings it; the copy in our hands is in the way.
            self.next_of(ticket.lane);
            return Err(Stale);
        }
        match until {
            None => self.is_ready(ticket.lane),
            Some(until) => {
                if let Some(lane) = self.lanes.get_mut(&ticket.lane) {
                    lane.turn = Turn::Later;
                    self.later.insert((until, ticket.lane));
                }
            }
        }
        Ok(())
    }

    fn release(&mut self, ticket: Ticket) -> Result<(), Stale> {
        let Some(Lane { turn: Turn::Out(out), .. }) = self.lanes.get(&ticket.lane) else { return Err(Stale) };
        if out.number != ticket.number {
            return Err(Stale);
        }
        if let Some(consumer) = self.consumers.get_mut(&out.consumer) {
            consumer.holds -= 1;
        }
        Ok(())
    }

    fn is_ready(&mut self, at: u64) {
        if let Some(lane) = self.lanes.get_mut(&at) {
            lane.turn = Turn::Ready;
            self.ready.push_back(at);
        }
    }

    /// Takes away the head of a lane that is out no more, and says where it came from.
    fn next_of(&mut self, at: u64) -> Option<Origin> {
        let lane = self.lanes.get_mut(&at)?;
        let done = lane.waiting.pop_front();
        match lane.waiting.is_empty() {
            true => self.remove(at),
            false => self.is_ready(at),
        }
        done.and_then(|done| done.origin)
    }

    fn remove(&mut self, at: u64) {
        if let Some(lane) = self.lanes.remove(&at) {
            self.by_key.remove(&lane.key);
        }
    }

    /// A channel is to be given up: what is not out will be delivered by another one. Says how much is out.
    pub(crate) fn withdraw(&mut self, channel: u64) -> usize {
        self.take_away(channel, |_| {});
        let heads = self.lanes.values().filter(|lane| matches!(lane.turn, Turn::Out(_)));
        let origins = heads.filter_map(|lane| lane.waiting.front()?.origin.as_ref());
        origins.filter(|origin| origin.channel == channel).count()
    }

    /// A channel is gone: the broker delivers all of it again. What is out stays in its hands, and holds its lane.
    pub(crate) fn lose(&mut self, channel: u64) {
        self.take_away(channel, |out| out.origin = None);
    }

    /// Takes away what is not out, and does `to_the_rest` with what is.
    fn take_away(&mut self, channel: u64, to_the_rest: impl Fn(&mut Waiting)) {
        let is_of = |origin: &Option<Origin>| origin.as_ref().is_some_and(|it| it.channel == channel);
        let mut empty = Vec::new();
        for (at, lane) in &mut self.lanes {
            let mut is_head_out = matches!(lane.turn, Turn::Out(_));
            lane.waiting.retain_mut(|waiting| {
                let (is_lost, is_out) = (is_of(&waiting.origin), std::mem::take(&mut is_head_out));
                if is_lost && is_out {
                    to_the_rest(waiting);
                }
                !is_lost || is_out
            });
            if lane.waiting.is_empty() {
                empty.push(*at);
            }
        }
        empty.into_iter().for_each(|at| self.remove(at));
        self.ready.retain(|at| self.lanes.contains_key(at));
        self.later.retain(|(_, at)| self.lanes.contains_key(at));
    }

    /// A consumer that holds at most `prefetch`.
    pub(crate) fn join(&mut self, prefetch: usize) -> usize {
        self.numbers += 1;
        let consumer = self.numbers as usize;
        self.consumers.insert(consumer, Consumer { prefetch, holds: 0 });
        consumer
    }

    /// The consumer is gone: what it held comes again at once. Says whether it was the last one.
    pub(crate) fn part(&mut self, consumer: usize) -> bool {
        self.consumers.remove(&consumer);
        let held = self
            .lanes
            .iter()
            .filter(|(_, lane)| matches!(lane.turn, Turn::Out(out) if out.consumer == consumer));
        for at in held.map(|(at, _)| *at).collect::<Vec<_>>() {
            let head = self.lanes.get(&at).and_then(|lane| lane.waiting.front());
            match head.is_some_and(|head| head.origin.is_some()) {
                true => self.is_ready(at),
                false => drop(self.next_of(at)),
            }
        }
        self.consumers.is_empty()
    }

    /// Lets go of everything that is held; the broker delivers it again, to whoever reads then.
    pub(crate) fn clear(&mut self) {
        let (consumers, numbers) = (std::mem::take(&mut self.consumers), self.numbers);
        *self = Self { consumers, numbers, ..Self::default() };
        self.consumers.values_mut().for_each(|consumer| consumer.holds = 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    struct Bench {
        queue: Queue,
        acks: UnboundedSender<u64>,
        acked: UnboundedReceiver<u64>,
        consumer: usize,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let mut queue = Queue::default();
            let (acks, acked) = unbounded_channel();
            let consumer = queue.join(10);
            Self { queue, acks, acked, consumer, now: Instant::now() }
        }

        fn deliver(&mut self, channel: u64, tag: u64, id: &str, key: &str) {
            let envelope = Envelope::new(id, "urn:a", "t", *b"{}");
            let envelope = Envelope { partitionkey: Some(key.into()), ..envelope };
            self.queue.push(envelope, 0, Origin { channel, tag, acks: self.acks.clone() });
        }

        fn take(&mut self) -> Vec<(String, u32, Ticket)> {
            let taken = self.queue.take(self.consumer, 10, self.now);
            taken.into_iter().map(|it| (it.envelope.id.to_string(), it.attempt, it.ticket)).collect()
        }

        fn take_one(&mut self) -> (String, u32, Ticket) {
            let mut taken = self.take();
            assert_eq!(taken.len(), 1);
            taken.remove(0)
        }
    }

    #[tokio::test]
    async fn one_of_a_key_is_out_at_a_time_and_comes_again_before_the_next() {
        let mut bench = Bench::new();
        bench.deliver(1, 1, "a1", "a");
        bench.deliver(1, 2, "a2", "a");
        bench.deliver(1, 3, "b1", "b");
        let taken = bench.take();
        assert_eq!(taken.iter().map(|it| &*it.0).collect::<Vec<_>>(), ["a1", "b1"]);
        let later = bench.now + Duration::from_secs(1);
        bench.queue.hand_back(taken[0].2, Some(later)).unwrap();
        assert!(bench.take().is_empty());
        assert_eq!(bench.queue.earliest(), Some(later));
        bench.now = later;
        let (id, attempt, ticket) = bench.take_one();
        assert_eq!((&*id, attempt), ("a1", 2));
        bench.queue.finish(ticket).unwrap();
        assert_eq!(bench.take_one().0, "a2");
        bench.queue.finish(taken[1].2).unwrap();
        assert_eq!([bench.acked.recv().await, bench.acked.recv().await], [Some(1), Some(3)]);
    }

    #[tokio::test]
    async fn what_comes_again_over_another_channel_waits_for_the_copy_that_is_out() {
        let mut bench = Bench::new();
        bench.deliver(1, 1, "a1", "a");
        bench.deliver(1, 2, "a2", "a");
        let (_, _, stale) = bench.take_one();
        bench.queue.lose(1);
        bench.deliver(2, 1, "a1", "a");
        bench.deliver(2, 2, "a2", "a");
        assert!(bench.take().is_empty());
        assert!(bench.queue.finish(stale).is_err(), "its acknowledgement went nowhere");
        for id in ["a1", "a2"] {
            let (taken, _, ticket) = bench.take_one();
            assert_eq!(taken, id);
            bench.queue.finish(ticket).unwrap();
        }
        assert!(bench.queue.lanes.is_empty() && bench.queue.by_key.is_empty());
    }

    #[tokio::test]
    async fn what_is_handed_back_after_its_channel_went_is_left_to_the_broker() {
        let mut bench = Bench::new();
        bench.deliver(1, 1, "a1", "a");
        let (_, _, stale) = bench.take_one();
        bench.queue.lose(1);
        assert!(bench.queue.hand_back(stale, None).is_err());
        assert!(bench.take().is_empty());
        bench.deliver(2, 1, "a1", "a");
        assert_eq!(bench.take_one().0, "a1");
    }

    #[tokio::test]
    async fn a_consumer_that_goes_leaves_what_it_held_and_its_tickets_are_worth_nothing() {
        let mut bench = Bench::new();
        bench.deliver(1, 1, "a1", "a");
        let (_, _, ticket) = bench.take_one();
        let other = bench.queue.join(10);
        assert!(!bench.queue.part(bench.consumer));
        bench.consumer = other;
        assert!(bench.queue.finish(ticket).is_err());
        let (_, attempt, _) = bench.take_one();
        assert_eq!(attempt, 2);
        assert!(bench.queue.part(other));
    }

    #[tokio::test]
    async fn a_key_that_waits_for_later_is_forgotten_with_its_channel() {
        let mut bench = Bench::new();
        bench.deliver(1, 1, "a1", "a");
        let (_, _, ticket) = bench.take_one();
        bench.queue.hand_back(ticket, Some(bench.now + Duration::from_secs(9))).unwrap();
        bench.queue.lose(1);
        assert_eq!(bench.queue.earliest(), None);
        bench.deliver(2, 1, "a1", "a");
        assert_eq!(bench.take_one().0, "a1");
    }

    #[tokio::test]
    async fn a_channel_that_is_given_up_hands_out_no_more_and_takes_acknowledgements() {
        let mut bench = Bench::new();
        bench.deliver(1, 1, "a1", "a");
        bench.deliver(1, 2, "a2", "a");
        bench.deliver(2, 1, "b1", "b");
        let taken = bench.take();
        assert_eq!(bench.queue.withdraw(1), 1);
        bench.queue.finish(taken[0].2).unwrap();
        assert_eq!((bench.queue.withdraw(1), bench.acked.recv().await), (0, Some(1)));
        assert!(bench.take().is_empty());
    }

    #[tokio::test]
    async fn a_consumer_holds_no_more_than_its_prefetch() {
        let mut bench = Bench::new();
        bench.consumer = bench.queue.join(1);
        bench.deliver(1, 1, "a1", "a");
        bench.deliver(1, 2, "b1", "b");
        let (_, _, ticket) = bench.take_one();
        assert!(bench.take().is_empty());
        bench.queue.finish(ticket).unwrap();
        assert_eq!(bench.take_one().0, "b1");
    }
}
