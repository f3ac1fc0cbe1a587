//! The rows in hand, in slots that a ticket finds without a search.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};

use super::Row;
use super::hashing::BySeq;
use super::keys::NONE;
use crate::port::BucketSet;

/// Where a row in hand stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// The slot is free.
    Nowhere,
    /// Behind others of its key, or in front and about to be published.
    Waiting,
    /// Handed to the bus.
    Unanswered,
    /// Handed to the bus under a lease that was lost: the answer only ends the waiting for it.
    Disowned,
    /// Answered; what became of it is not written yet.
    Answered,
    /// Written, but a read that was asked before may still show it.
    Gone,
}

/// A row in hand.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) seq: i64,
    pub(super) bucket: u8,
    pub(super) attempts: u32,
    pub(super) bytes: usize,
    /// The slot of its key.
    pub(super) key: u32,
    /// The index of its type.
    pub(super) kind: u32,
    /// The next waiting row of its key.
    pub(super) next: u32,
    pub(super) stands: Stands,
    generation: u32,
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    slots: Vec<Held>,
    free: Vec<u32>,
    by_seq: HashMap<i64, u32, BySeq>,
    /// Slots whose rows a read may still show.
    gone: Vec<u32>,
    unanswered: usize,
    /// All in hand, and of them those that wait.
    in_hand: (usize, usize),
    waiting: (usize, usize),
}

impl Rows {
    /// Rows and bytes handed over, or answered and not settled.
    pub(super) fn on_the_way(&self) -> (usize, usize) {
        (self.in_hand.0 - self.waiting.0, self.in_hand.1 - self.waiting.1)
    }

    /// Rows and bytes that wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        self.waiting
    }

    pub(super) fn find(&self, seq: i64) -> Option<u32> {
        self.by_seq.get(&seq).copied()
    }

    /// The rows in hand above one `seq` up to another, ascending.
    pub(super) fn between(&self, above: i64, up_to: i64) -> Vec<i64> {
        if above >= up_to {
            return Vec::new();
        }
        let mut between: Vec<i64> =
            self.by_seq.keys().copied().filter(|seq| above < *seq && *seq <= up_to).collect();
        between.sort_unstable();
        between
    }

    /// Of these buckets, those that have nothing in hand.
    pub(super) fn quiet(&self, buckets: BucketSet) -> BucketSet {
        let busy =
            self.slots.iter().filter(|held| held.stands != Stands::Nowhere && held.stands != Stands::Gone);
        buckets.without(busy.map(|held| held.bucket).collect())
    }

    /// Takes a row in, waiting.
    pub(super) fn insert(&mut self, row: &Row, key: u32, kind: u32) -> u32 {
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        let generation = self.slots.get(at as usize).map_or(0, |held| held.generation);
        let held = Held {
            seq: row.seq,
            bucket: row.bucket,
            attempts: row.attempts,
            bytes: row.bytes,
            key,
            kind,
            next: NONE,
            stands: Stands::Waiting,
            generation,
        };
        match self.slots.get_mut(at as usize) {
            Some(slot) => *slot = held,
            None => self.slots.push(held),
        }
        self.by_seq.insert(row.seq, at);
        count(&mut self.in_hand, row.bytes);
        count(&mut self.waiting, row.bytes);
        at
    }

    /// It is handed over now: what the answer will name it by.
    pub(super) fn send(&mut self, at: u32) -> u64 {
        let held = &mut self.slots[at as usize];
        held.stands = Stands::Unanswered;
        uncount(&mut self.waiting, held.bytes);
        self.unanswered += 1;
        self.handle(at)
    }

    /// The answer has come.
    pub(super) fn answer(&mut self, at: u32) {
        self.slots[at as usize].stands = Stands::Answered;
        self.unanswered -= 1;
    }

    /// How many are handed over and unanswered, under leases that are still held.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// The row that a ticket stands for, unless it was let go of.
    pub(super) fn sent(&self, ticket: u64) -> Option<u32> {
        let at = ticket as u32;
        let held = self.slots.get(at as usize)?;
        let waits = matches!(held.stands, Stands::Unanswered | Stands::Disowned);
        (waits && self.handle(at) == ticket).then_some(at)
    }

    /// Names a row until it is let go of; never reused for another.
    pub(super) fn handle(&self, at: u32) -> u64 {
        u64::from(self[at].generation) << 32 | u64::from(at)
    }

    /// The row with this handle that was answered, unless it was let go of.
    pub(super) fn answered(&self, handle: u64) -> Option<u32> {
        let at = handle as u32;
        let held = self.slots.get(at as usize)?;
        (held.stands == Stands::Answered && self.handle(at) == handle).then_some(at)
    }

    /// Lets go of a row.
    pub(super) fn remove(&mut self, at: u32) {
        let held = &mut self.slots[at as usize];
        match held.stands {
            Stands::Nowhere => return,
            Stands::Waiting => uncount(&mut self.waiting, held.bytes),
            Stands::Unanswered => self.unanswered -= 1,
            Stands::Disowned | Stands::Answered | Stands::Gone => {}
        }
        uncount(&mut self.in_hand, held.bytes);
        if held.stands != Stands::Disowned {
            self.by_seq.remove(&held.seq);
        }
        held.stands = Stands::Nowhere;
        held.generation = held.generation.wrapping_add(1);
        self.free.push(at);
    }

    /// Forgets whose row it is; the answer is still to come.
    pub(super) fn disown(&mut self, at: u32) {
        let held = &mut self.slots[at as usize];
        held.stands = Stands::Disowned;
        self.unanswered -= 1;
        self.by_seq.remove(&held.seq);
    }

    /// What became of it is written: lets go of it, as soon as no read that was asked before can show it.
    pub(super) fn written(&mut self, at: u32, reading: bool) {
        if reading {
            self.slots[at as usize].stands = Stands::Gone;
            self.gone.push(at);
        } else {
            self.remove(at);
        }
    }

    /// No read is on its way any more.
    pub(super) fn remove_gone(&mut self) {
        for at in std::mem::take(&mut self.gone) {
            if self.slots[at as usize].stands == Stands::Gone {
                self.remove(at);
            }
        }
    }

    /// The slots in use, ascending.
    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|at| self[*at].stands != Stands::Nowhere).collect()
    }
}

fn count(of: &mut (usize, usize), bytes: usize) {
    *of = (of.0 + 1, of.1 + bytes);
}

fn uncount(of: &mut (usize, usize), bytes: usize) {
    *of = (of.0.saturating_sub(1), of.1.saturating_sub(bytes));
}

impl Index<u32> for Rows {
    type Output = Held;
    fn index(&self, at: u32) -> &Held {
        &self.slots[at as usize]
    }
}

impl IndexMut<u32> for Rows {
    fn index_mut(&mut self, at: u32) -> &mut Held {
        &mut self.slots[at as usize]
    }
}
