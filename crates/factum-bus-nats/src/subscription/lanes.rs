//! What one process holds of a subscription, and the order of it: of each (source, key) one delivery is out, and the next
//! waits behind it.
//!
//! Nothing here waits or talks to a server. The server's own redelivery would put a message behind later ones of its key;
//! so what is handed back stays here, at the head of its key, and the server only ever hears the end of it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use async_nats::Subject;
use factum::Envelope;
use factum::integration::Source;

/// Of each pull, how many finished messages are remembered for the case that their acknowledgement got lost.
const FINISHED_REMEMBERED: usize = 4_096;

/// A stream's share of a partition: what one consumer on the server reads.
pub(crate) type Pull = (Arc<str>, u8);

/// A message that was read and not finished.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) pull: Pull,
    /// Its place in the stream.
    pub(crate) sequence: u64,
    /// Where its acknowledgement goes.
    pub(crate) ack: Subject,
    /// 1 for the first time.
    pub(crate) attempt: u32,
    pub(crate) envelope: Arc<Envelope>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(Source, Arc<str>);

impl Key {
    fn of(envelope: &Envelope) -> Self {
        Self(envelope.source.clone(), envelope.ordering_key_shared())
    }
}

#[derive(Debug)]
struct Held {
    message: Message,
    state: State,
    /// Counts how often it was given out: who was given it before can settle nothing any more.
    round: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Behind another one of its key, or in a partition that is being given back.
    Waits,
    Ready,
    Until(Instant),
    /// With this consumer.
    Out(u64),
}

/// One giving out of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    number: u64,
    round: u32,
}

/// What a consumer is given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) attempt: u32,
    pub(crate) ticket: Ticket,
}

#[derive(Debug)]
struct Consumer {
    prefetch: usize,
    out: usize,
}

/// How much is held of one pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) held: usize,
    pub(crate) ready: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Lanes {
    numbers: u64,
    held: HashMap<u64, Held>,
    keys: HashMap<Key, VecDeque<u64>>,
    ready: VecDeque<u64>,
    delayed: BTreeSet<(Instant, u64)>,
    sequences: HashMap<Pull, HashMap<u64, u64>>,
    loads: HashMap<Pull, Load>,
    finished: HashMap<Pull, BTreeSet<u64>>,
    consumers: HashMap<u64, Consumer>,
    draining: BTreeSet<u8>,
    bytes: usize,
}

impl Lanes {
    pub(crate) fn join(&mut self, prefetch: usize) -> u64 {
        self.numbers += 1;
        self.consumers.insert(self.numbers, Consumer { prefetch, out: 0 });
        self.numbers
    }

    /// The consumer is gone: what it had out is ready again.
    pub(crate) fn part(&mut self, consumer: u64) {
        let out = self.held.iter().filter(|(_, held)| held.state == State::Out(consumer));
        let mut out: Vec<Ticket> = out.map(|(&number, held)| Ticket { number, round: held.round }).collect();
        out.sort_unstable_by_key(|ticket| ticket.number);
        for ticket in out {
            self.hand_back(ticket, None);
        }
        self.consumers.remove(&consumer);
    }

    pub(crate) fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// How many deliveries all consumers together may have out.
    pub(crate) fn prefetch(&self) -> usize {
        self.consumers.values().map(|consumer| consumer.prefetch).sum()
    }

    pub(crate) fn out(&self) -> usize {
        self.consumers.values().map(|consumer| consumer.out).sum()
    }

    /// What all that is held takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn load(&self, pull: &Pull) -> Load {
        self.loads.get(pull).copied().unwrap_or_default()
    }

    /// Whether it is here already. Then its next acknowledgement goes where this delivery of it says.
    pub(crate) fn knows(&mut self, pull: &Pull, sequence: u64, ack: &Subject) -> bool {
        let number = self.sequences.get(pull).and_then(|sequences| sequences.get(&sequence));
        let held = number.and_then(|number| self.held.get_mut(number));
        held.map(|held| held.message.ack = ack.clone()).is_some()
    }

    /// Whether it was finished here, lately: an acknowledgement of it got lost.
    pub(crate) fn has_finished(&self, pull: &Pull, sequence: u64) -> bool {
        self.finished.get(pull).is_some_and(|finished| finished.contains(&sequence))
    }

    /// Whether it is here.
    pub(crate) fn has(&self, pull: &Pull, sequence: u64) -> bool {
        self.sequences.get(pull).is_some_and(|sequences| sequences.contains_key(&sequence))
    }

    /// Takes a message in, behind what is here of its key.
    pub(crate) fn add(&mut self, message: Message) {
        self.numbers += 1;
        let number = self.numbers;
        let key = Key::of(&message.envelope);
        let pull = message.pull.clone();
        self.bytes += message.envelope.bytes();
        self.sequences.entry(pull.clone()).or_default().insert(message.sequence, number);
        self.loads.entry(pull).or_default().held += 1;
        self.held.insert(number, Held { message, state: State::Waits, round: 0 });
        let lane = self.keys.entry(key).or_default();
        lane.push_back(number);
        if lane.len() == 1 {
            self.make_ready(number);
        }
    }

    fn make_ready(&mut self, number: u64) {
        let Some(held) = self.held.get_mut(&number) else { return };
        if self.draining.contains(&held.message.pull.1) {
            held.state = State::Waits;
            return;
        }
        held.state = State::Ready;
        self.loads.entry(held.message.pull.clone()).or_default().ready += 1;
        self.ready.push_back(number);
    }

    fn no_longer_ready(&mut self, pull: &Pull) {
        if let Some(load) = self.loads.get_mut(pull) {
            load.ready = load.ready.saturating_sub(1);
        }
    }

    /// Gives the consumer what is ready, at most so much.
    pub(crate) fn take(&mut self, consumer: u64, most: usize, now: Instant) -> Vec<Given> {
        while let Some(&(until, number)) = self.delayed.first().filter(|(until, _)| *until <= now) {
            self.delayed.remove(&(until, number));
            self.make_ready(number);
        }
        let Some(room) = self.consumers.get(&consumer).map(|it| it.prefetch.saturating_sub(it.out)) else {
            return Vec::new();
        };
        let mut given = Vec::new();
        while given.len() < most.min(room) {
            let Some(number) = self.ready.pop_front() else { break };
            let Some(held) = self.held.get_mut(&number) else { continue };
            held.state = State::Out(consumer);
            held.round += 1;
            let ticket = Ticket { number, round: held.round };
            let (envelope, attempt) = (Arc::clone(&held.message.envelope), held.message.attempt);
            let pull = held.message.pull.clone();
            given.push(Given { envelope, attempt, ticket });
            self.no_longer_ready(&pull);
        }
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.out += given.len();
        }
        given
    }

    /// When the first delayed delivery is due.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.delayed.first().map(|(until, _)| *until)
    }

    fn is_out(&self, ticket: Ticket) -> Option<u64> {
        let held = self.held.get(&ticket.number).filter(|held| held.round == ticket.round)?;
        match held.state {
            State::Out(consumer) => Some(consumer),
            _ => None,
        }
    }

    pub(crate) fn holds(&self, ticket: Ticket) -> bool {
        self.is_out(ticket).is_some()
    }

    /// It is done with: the next of its key is ready. `None`: it is not out any more.
    pub(crate) fn finish(&mut self, ticket: Ticket) -> Option<Message> {
        self.is_out(ticket)?;
        let message = self.remove(ticket.number)?;
        let finished = self.finished.entry(message.pull.clone()).or_default();
        finished.insert(message.sequence);
        if finished.len() > FINISHED_REMEMBERED {
            finished.pop_first();
        }
        Some(message)
    }

    /// It comes again, before anything later of its key. `None`: it is not out any more.
    pub(crate) fn hand_back(&mut self, ticket: Ticket, until: Option<Instant>) -> Option<()> {
        let consumer = self.is_out(ticket)?;
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.out -= 1;
        }
        let held = self.held.get_mut(&ticket.number)?;
        held.message.attempt = held.message.attempt.saturating_add(1);
        match until {
            Some(until) => {
                held.state = State::Until(until);
                self.delayed.insert((until, ticket.number));
            }
            None => self.make_ready(ticket.number),
        }
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Message> {
        let held = self.held.remove(&number)?;
        let pull = held.message.pull.clone();
        match held.state {
            State::Out(consumer) => {
                if let Some(consumer) = self.consumers.get_mut(&consumer) {
                    consumer.out -= 1;
                }
            }
            State::Until(until) => {
                self.delayed.remove(&(until, number));
            }
            State::Ready => {
                self.no_longer_ready(&pull);
                self.ready.retain(|ready| *ready != number);
            }
            State::Waits => {}
        }
        self.bytes = self.bytes.saturating_sub(held.message.envelope.bytes());
        if let Some(load) = self.loads.get_mut(&pull) {
            load.held -= 1;
        }
        if let Some(sequences) = self.sequences.get_mut(&pull) {
            sequences.remove(&held.message.sequence);
        }
        let key = Key::of(&held.message.envelope);
        let next = self.keys.get_mut(&key).and_then(|lane| {
            let was_first = lane.front() == Some(&number);
            match was_first {
                true => drop(lane.pop_front()),
                false => lane.retain(|other| *other != number),
            }
            lane.front().copied().filter(|_| was_first)
        });
        match next {
            Some(next) => self.make_ready(next),
            None if self.keys.get(&key).is_some_and(VecDeque::is_empty) => drop(self.keys.remove(&key)),
            None => {}
        }
        Some(held.message)
    }

    /// Gives out nothing more of a partition: it is to go to another process.
    pub(crate) fn drain(&mut self, partition: u8) {
        if !self.draining.insert(partition) {
            return;
        }
        let Self { ready, held, loads, .. } = self;
        ready.retain(|number| {
            let Some(held) = held.get_mut(number).filter(|held| held.message.pull.1 == partition) else {
                return true;
            };
            held.state = State::Waits;
            if let Some(load) = loads.get_mut(&held.message.pull) {
                load.ready = load.ready.saturating_sub(1);
            }
            false
        });
    }

    /// Whether partitions are to go to other processes.
    pub(crate) fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Whether nothing of the partition is out.
    pub(crate) fn is_drained(&self, partition: u8) -> bool {
        let is_out = |held: &Held| matches!(held.state, State::Out(_)) && held.message.pull.1 == partition;
        !self.held.values().any(is_out)
    }

    /// Lets go of all of a partition, and returns it in the order of the streams. What is out is nobody's from now on.
    pub(crate) fn let_go(&mut self, partition: u8) -> Vec<Message> {
        self.drain(partition);
        let of_it = self.held.iter().filter(|(_, held)| held.message.pull.1 == partition);
        let numbers: Vec<u64> = of_it.map(|(number, _)| *number).collect();
        let mut gone: Vec<Message> = numbers.into_iter().filter_map(|number| self.remove(number)).collect();
        gone.sort_by(|a, b| (&a.pull, a.sequence).cmp(&(&b.pull, b.sequence)));
        self.draining.remove(&partition);
        self.sequences.retain(|pull, _| pull.1 != partition);
        self.loads.retain(|pull, _| pull.1 != partition);
        self.finished.retain(|pull, _| pull.1 != partition);
        gone
    }

    /// Where the server hears that all of this is still at work.
    pub(crate) fn acks(&self) -> Vec<Subject> {
        self.held.values().map(|held| held.message.ack.clone()).collect()
    }

    /// The first place in the stream that is not finished.
    pub(crate) fn lowest(&self, pull: &Pull) -> Option<u64> {
        self.sequences.get(pull).and_then(|sequences| sequences.keys().min().copied())
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
