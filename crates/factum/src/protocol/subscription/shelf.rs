//! What is in hand, by lane, and which lanes are ready to be taken from.
//!
//! A lane that was taken from is busy, and gives nothing more until it is freed: that is the whole order within a key.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::{Arrival, Lane, Occurrence};

/// A delivery in hand.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) arrival: Arrival,
    /// It may be the one that kills the process: its attempts are counted before they are made.
    pub(super) suspect: bool,
    /// It shares no commit.
    pub(super) alone: bool,
    /// Its attempts are used up: how many, and why the last one failed.
    pub(super) verdict: Option<(u32, String)>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<u64>,
    busy: bool,
}

/// What is in hand.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    held: BTreeMap<u64, Held>,
    lanes: HashMap<Lane, Queue>,
    ready: VecDeque<Lane>,
    released: HashSet<Occurrence>,
    bytes: usize,
    verdicts: usize,
}

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn deliveries(&self) -> usize {
        self.held.len() - self.released.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn holds_released(&self, event: Occurrence) -> bool {
        self.released.contains(&event)
    }

    pub(super) fn get(&self, token: u64) -> Option<&Held> {
        self.held.get(&token)
    }

    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut Held> {
        self.held.get_mut(&token)
    }

    /// Puts a delivery at the end of its lane.
    pub(super) fn put(&mut self, held: Held) {
        let Arrival { token, lane, event, bytes, released, .. } = held.arrival;
        let queue = self.lanes.entry(lane).or_default();
        if !queue.busy && queue.waiting.is_empty() {
            self.ready.push_back(lane);
        }
        queue.waiting.push_back(token);
        self.bytes += bytes;
        if released {
            self.released.insert(event);
        }
        self.held.insert(token, held);
    }

    /// Notes that its attempts are used up.
    pub(super) fn judge(&mut self, token: u64, attempts: u32, reason: String) {
        if let Some(held) = self.held.get_mut(&token) {
            self.verdicts += usize::from(held.verdict.is_none());
            held.verdict = Some((attempts, reason));
        }
    }

    /// The head of the lane that is next, where its attempts are used up: the lane is busy from then on.
    pub(super) fn take_given_up(&mut self) -> Option<(u64, u32, String)> {
        if self.verdicts == 0 {
            return None;
        }
        let place =
            self.ready.iter().position(|lane| self.head(*lane).is_some_and(|held| held.verdict.is_some()))?;
        let lane = self.ready.remove(place)?;
        let token = self.occupy(lane)?.waiting.pop_front()?;
        let (attempts, reason) = self.held.get(&token)?.verdict.clone()?;
        Some((token, attempts, reason))
    }

    fn head(&self, lane: Lane) -> Option<&Held> {
        self.held.get(self.lanes.get(&lane)?.waiting.front()?)
    }

    fn occupy(&mut self, lane: Lane) -> Option<&mut Queue> {
        let queue = self.lanes.get_mut(&lane)?;
        queue.busy = true;
        Some(queue)
    }

    /// Takes what shares the next commit, at most `most`: whole runs of lanes, in the order in which they got ready.
    /// Their lanes are busy from then on. One that is to be alone comes alone.
    pub(super) fn take(&mut self, most: usize) -> Vec<u64> {
        let mut tokens = Vec::new();
        let mut events = HashSet::new();
        while tokens.len() < most
            && let Some(lane) = self.ready.front().copied()
        {
            let alone = self.head(lane).is_some_and(|held| held.alone);
            if alone && !tokens.is_empty() {
                break;
            }
            let before = tokens.len();
            let room = if alone { 1 } else { most - tokens.len() };
            self.take_from(lane, room, alone, &mut tokens, &mut events);
            if tokens.len() == before {
                break;
            }
            self.ready.pop_front();
            if alone {
                break;
            }
        }
        tokens
    }

    fn take_from(
        &mut self,
        lane: Lane,
        room: usize,
        alone: bool,
        tokens: &mut Vec<u64>,
        events: &mut HashSet<Occurrence>,
    ) {
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        for _ in 0..room {
            let Some(token) = queue.waiting.front().copied() else { break };
            let Some(held) = self.held.get(&token) else { break };
            // The same event twice in one claim would break it; the copy comes next time, and is found to be one.
            if held.alone != alone || held.verdict.is_some() || !events.insert(held.arrival.event) {
                break;
            }
            queue.waiting.pop_front();
            queue.busy = true;
            tokens.push(token);
        }
    }

    /// Puts what was taken back to the front of its lanes, in its order.
    pub(super) fn put_back(&mut self, tokens: &[u64]) {
        for token in tokens.iter().rev() {
            let Some(held) = self.held.get(token) else { continue };
            self.lanes.entry(held.arrival.lane).or_default().waiting.push_front(*token);
        }
    }

    /// Makes a lane ready again, behind the others.
    pub(super) fn free(&mut self, lane: Lane) {
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        if !std::mem::take(&mut queue.busy) {
            return;
        }
        match queue.waiting.is_empty() {
            true => drop(self.lanes.remove(&lane)),
            false => self.ready.push_back(lane),
        }
    }

    /// Lets go of a delivery that was taken.
    pub(super) fn drop(&mut self, token: u64) -> Option<Held> {
        let held = self.held.remove(&token)?;
        self.bytes = self.bytes.saturating_sub(held.arrival.bytes);
        self.verdicts -= usize::from(held.verdict.is_some());
        if held.arrival.released {
            self.released.remove(&held.arrival.event);
        }
        Some(held)
    }

    /// Lets go of the deliveries that wait in a lane, in their order; what a person has released stays.
    pub(super) fn drop_waiting(&mut self, lane: Lane) -> Vec<Arrival> {
        let Some(queue) = self.lanes.get_mut(&lane) else { return Vec::new() };
        let stays = |token: &u64| self.held.get(token).is_some_and(|held| held.arrival.released);
        let (stay, go): (Vec<_>, Vec<_>) = queue.waiting.drain(..).partition(stays);
        queue.waiting = stay.into();
        go.into_iter().filter_map(|token| self.drop(token)).map(|held| held.arrival).collect()
    }

    /// Lets go of everything that was not taken, in the order of arrival.
    pub(super) fn drop_idle(&mut self) -> Vec<u64> {
        self.ready.clear();
        let mut idle: Vec<u64> = self.lanes.values_mut().flat_map(|queue| queue.waiting.drain(..)).collect();
        self.lanes.retain(|_, queue| queue.busy);
        idle.sort_unstable();
        for token in &idle {
            self.drop(*token);
        }
        idle
    }
}
