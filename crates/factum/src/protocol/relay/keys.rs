//! What is known of the keys that have rows in hand, or rows that were forgotten and are to be read again.
//!
//! A key is remembered as long as anything of it may be published too early; one that is idle is not.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::time::Duration;

use super::Key;
use super::hashing::Seeded;
use crate::integration::Answer;

/// No row.
pub(super) const NONE: u32 = u32::MAX;

/// Rows that were seen and not taken: none newer may be taken before them.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Between these two, both included, there may be some.
    pub(super) range: Option<(i64, i64)>,
    /// The latest read that showed, or may show, some of them.
    pub(super) left_out_in: u64,
}

impl Missing {
    /// This row is not in hand, and is to be read again.
    pub(super) fn add(&mut self, seq: i64) {
        let (from, to) = self.range.unwrap_or((seq, seq));
        self.range = Some((from.min(seq), to.max(seq)));
    }

    /// None is missing up to here.
    pub(super) fn none_to(&mut self, seq: i64) {
        let rest = self.range.map(|(from, to)| (from.max(seq.saturating_add(1)), to));
        self.range = rest.filter(|(from, to)| from <= to);
    }

    /// Whether nothing may be taken from a read with this number, which began above a floor.
    pub(super) fn bars(&self, above: i64, number: u64) -> bool {
        self.left_out_in == number || self.range.is_some_and(|(from, _)| above >= from)
    }
}

/// A key in hand. Its waiting rows form a list through the slots of [`Rows`](super::rows::Rows).
#[derive(Debug)]
pub(super) struct KeyState {
    pub(super) key: Key,
    pub(super) bucket: u8,
    /// The first and last waiting row.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Waiting rows.
    pub(super) waiting: u32,
    /// Handed over and unanswered, those whose lease was lost meanwhile included.
    pub(super) unanswered: u32,
    /// Failures whose settlement is not written yet.
    pub(super) settling: u32,
    pub(super) missing: Missing,
    /// The `seq` under which it waits to be read again.
    pub(super) wanted: Option<i64>,
    /// Nothing of it is published before.
    pub(super) rests_until: Option<Duration>,
    /// How often nobody took its head.
    pub(super) unroutable: u32,
    /// The lowest of its rows that failed, while others of the batch are unanswered.
    pub(super) failed: Option<(u32, Answer)>,
    /// It is in the queue of those that may publish.
    pub(super) queued: bool,
    /// It is forgotten when the read on its way is back.
    lingers: bool,
    /// The slot is in use.
    known: bool,
}

impl KeyState {
    fn new(key: Key, bucket: u8) -> Self {
        Self {
            key,
            bucket,
            first: NONE,
            last: NONE,
            waiting: 0,
            unanswered: 0,
            settling: 0,
            missing: Missing::default(),
            wanted: None,
            rests_until: None,
            unroutable: 0,
            failed: None,
            queued: false,
            lingers: false,
            known: true,
        }
    }

    /// Nothing of it is on its way, and nothing forbids to publish.
    pub(super) fn may_publish(&self) -> bool {
        self.unanswered == 0 && self.settling == 0 && self.rests_until.is_none() && self.failed.is_none()
    }

    /// Nothing has to be remembered of it.
    pub(super) fn is_idle(&self) -> bool {
        self.may_publish() && self.waiting == 0 && self.missing.range.is_none()
    }
}

/// The keys, by slot and by name. A slot stays the key's own until [`retire`](Keys::retire) forgets it.
#[derive(Debug, Default)]
pub(super) struct Keys {
    slots: Vec<KeyState>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32, Seeded>,
    /// Idle but for a read that was asked before they became so.
    lingering: Vec<u32>,
}

impl Keys {
    pub(super) fn seeded(seed: u64) -> Self {
        Self { by_key: HashMap::with_hasher(Seeded(seed)), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(super) fn insert(&mut self, key: Key, bucket: u8) -> u32 {
        let state = KeyState::new(key.clone(), bucket);
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = state;
                at
            }
            None => {
                self.slots.push(state);
                self.slots.len() as u32 - 1
            }
        };
        self.by_key.insert(key, at);
        at
    }

    /// Forgets a key that is idle; one that the read on its way may still show waits for that read.
    pub(super) fn retire(&mut self, at: u32, reading: Option<u64>) {
        let state = &mut self.slots[at as usize];
        if !state.is_idle() || state.queued || state.lingers {
            return;
        }
        if Some(state.missing.left_out_in) == reading {
            state.lingers = true;
            self.lingering.push(at);
            return;
        }
        state.known = false;
        self.by_key.remove(&state.key);
        self.free.push(at);
    }

    /// No read is on its way any more.
    pub(super) fn retire_lingering(&mut self) {
        for at in std::mem::take(&mut self.lingering) {
            self.slots[at as usize].lingers = false;
            self.retire(at, None);
        }
    }

    /// The slots in use, ascending.
    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|at| self[*at].known).collect()
    }
}

impl Index<u32> for Keys {
    type Output = KeyState;
    fn index(&self, at: u32) -> &KeyState {
        &self.slots[at as usize]
    }
}

impl IndexMut<u32> for Keys {
    fn index_mut(&mut self, at: u32) -> &mut KeyState {
        &mut self.slots[at as usize]
    }
}
