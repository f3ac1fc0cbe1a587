//! What the relay has in hand: rows, their keys, and which of them may publish, rest, or have to be read again.
//!
//! The one rule: a row is taken in only when every older row of its key that the outbox still has is in hand too. So
//! a key of which something was forgotten takes nothing until a read begins below what it misses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::keys::{Keys, Missing, NONE};
use super::rows::{Rows, Stands};
use super::scan::Scan;
use super::{Options, Row};

#[derive(Debug, Default)]
pub(super) struct Hand {
    pub(super) rows: Rows,
    pub(super) keys: Keys,
    /// Keys that may publish, first come first served.
    pub(super) ready: VecDeque<u32>,
    /// Keys that rest, by when they have rested.
    rests: BTreeSet<(Duration, u32)>,
    /// Keys that wait to be read again, by what they miss, with the number of the read after which they began to.
    wanting: BTreeMap<(i64, u32), u64>,
    /// Rows of keys that could not be remembered.
    strangers: Missing,
    /// Keys of which the read at hand has brought some of what they miss.
    partly_taken: Vec<u32>,
    /// What the driver may let go of.
    pub(super) forgotten: Vec<i64>,
}

/// What became of a row that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in hand now.
    New,
    /// It was in hand.
    Known,
    /// Its key does not take it now; it is read again.
    LeftOut(u32),
    /// Its key is not known, and cannot be remembered now; it is read again.
    Stranger,
}

impl Hand {
    pub(super) fn seeded(seed: u64) -> Self {
        Self { keys: Keys::seeded(seed), ..Self::default() }
    }

    /// Takes in nothing: what is not kept already is let go of.
    pub(super) fn refuse(&mut self, row: &Row) -> Taken {
        let kept = self.rows.find(row.seq).is_some_and(|at| self.rows[at].stands == Stands::Waiting);
        if !kept {
            self.forgotten.push(row.seq);
        }
        Taken::Known
    }

    /// Takes in a row that read `number` showed, which looked above a floor.
    pub(super) fn take(&mut self, row: &Row, kind: u32, above: i64, number: u64, options: &Options) -> Taken {
        if let Some(at) = self.rows.find(row.seq) {
            if self.rows[at].stands != Stands::Waiting {
                self.forgotten.push(row.seq);
            }
            return Taken::Known;
        }
        let key = match self.keys.find(&row.key) {
            Some(key) => key,
            None if self.keys.len() >= options.keys_max || self.strangers.bars(above, number) => {
                self.strangers.add(row.seq);
                self.strangers.left_out_in = number;
                self.forgotten.push(row.seq);
                return Taken::Stranger;
            }
            None => {
                self.strangers.none_to(row.seq);
                let key = self.keys.insert(row.key.clone(), row.bucket);
                // Some of those may be its own.
                self.keys[key].missing.range = self.strangers.range;
                key
            }
        };
        let fits = self.fits(key, row.bytes, options);
        let state = &mut self.keys[key];
        let barred = state.missing.bars(above, number)
            || state.settling > 0
            || state.failed.is_some()
            || state.rests_until.is_some();
        if barred || !fits {
            state.missing.add(row.seq);
            state.missing.left_out_in = number;
            self.forgotten.push(row.seq);
            return Taken::LeftOut(key);
        }
        state.missing.none_to(row.seq);
        if state.missing.range.is_some() {
            self.partly_taken.push(key);
        }
        if let Some(seq) = state.wanted.take() {
            self.wanting.remove(&(seq, key));
        }
        let at = self.rows.insert(row, key, kind);
        self.append(key, at);
        self.enqueue(key);
        Taken::New
    }

    /// A key may have as many waiting rows as there is still room for: one key alone gets half of it, and never all.
    fn fits(&self, key: u32, bytes: usize, options: &Options) -> bool {
        let state = &self.keys[key];
        if state.waiting == 0 && state.unanswered == 0 {
            return true;
        }
        let (rows, taken) = self.rows.waiting();
        (state.waiting as usize) < options.waiting.rows.saturating_sub(rows)
            && taken + bytes <= options.waiting.bytes
    }

    /// Puts a row behind the older ones of its key.
    fn append(&mut self, key: u32, at: u32) {
        let seq = self.rows[at].seq;
        let state = &mut self.keys[key];
        state.waiting += 1;
        if state.last == NONE {
            (state.first, state.last) = (at, at);
        } else if self.rows[state.last].seq < seq {
            self.rows[state.last].next = at;
            state.last = at;
        } else if seq < self.rows[state.first].seq {
            self.rows[at].next = state.first;
            state.first = at;
        } else {
            let mut before = state.first;
            while self.rows[self.rows[before].next].seq < seq {
                before = self.rows[before].next;
            }
            self.rows[at].next = self.rows[before].next;
            self.rows[before].next = at;
        }
    }

    /// Size and type of the oldest waiting row of a key.
    pub(super) fn front(&self, key: u32) -> Option<(usize, u32)> {
        let first = self.keys[key].first;
        (first != NONE).then(|| (self.rows[first].bytes, self.rows[first].kind))
    }

    /// Takes the oldest waiting row of a key.
    pub(super) fn pop(&mut self, key: u32) -> Option<u32> {
        let state = &mut self.keys[key];
        let at = (state.first != NONE).then_some(state.first)?;
        state.first = self.rows[at].next;
        state.waiting -= 1;
        if state.first == NONE {
            state.last = NONE;
        }
        Some(at)
    }

    fn enqueue(&mut self, key: u32) {
        let state = &mut self.keys[key];
        if state.waiting > 0 && state.may_publish() && !state.queued {
            state.queued = true;
            self.ready.push_back(key);
        }
    }

    /// A key's state has changed: it publishes, waits to be read again, or is no longer remembered.
    pub(super) fn look_at(&mut self, key: u32, scan: &Scan) {
        let state = &mut self.keys[key];
        if !state.may_publish() {
            return;
        }
        if state.waiting > 0 {
            self.enqueue(key);
        } else if let Some((seq, _)) = state.missing.range {
            if state.wanted != Some(seq) {
                if let Some(before) = state.wanted.replace(seq) {
                    self.wanting.remove(&(before, key));
                }
                self.wanting.insert((seq, key), scan.number());
            }
        } else {
            self.keys.retire(key, scan.reading().map(|reading| reading.number));
        }
    }

    /// Nothing of the key is published before a moment.
    pub(super) fn rest(&mut self, key: u32, until: Duration) {
        self.wake(key);
        self.keys[key].rests_until = Some(until);
        self.rests.insert((until, key));
    }

    fn wake(&mut self, key: u32) {
        if let Some(until) = self.keys[key].rests_until.take() {
            self.rests.remove(&(until, key));
        }
    }

    /// When the first of the resting keys has rested.
    pub(super) fn rested_at(&self) -> Option<Duration> {
        self.rests.first().map(|(until, _)| *until)
    }

    /// Ends the rest of those whose time has come.
    pub(super) fn wake_rested(&mut self, now: Duration, scan: &Scan) {
        while let Some((_, key)) = self.rests.first().copied().filter(|(until, _)| *until <= now) {
            self.wake(key);
            self.look_at(key, scan);
        }
    }

    /// Forgets the waiting rows of a key; they are read again.
    pub(super) fn forget_waiting(&mut self, key: u32, scan: &Scan) {
        while let Some(at) = self.pop(key) {
            let seq = self.rows[at].seq;
            self.rows.remove(at);
            self.forgotten.push(seq);
            self.keys[key].missing.add(seq);
        }
        self.keys[key].missing.left_out_in = scan.number();
    }

    /// Lets go of a row that is to be published again.
    pub(super) fn forget_row(&mut self, at: u32, scan: &Scan) {
        let (key, seq) = (self.rows[at].key, self.rows[at].seq);
        self.rows.remove(at);
        self.keys[key].missing.add(seq);
        self.keys[key].missing.left_out_in = scan.number();
    }

    /// Forgets all that belongs to buckets that are no longer ours, or ours anew.
    pub(super) fn disown(&mut self, of: impl Fn(u8) -> bool, scan: &Scan) {
        for at in self.rows.all() {
            match self.rows[at].stands {
                _ if !of(self.rows[at].bucket) => {}
                Stands::Unanswered => self.rows.disown(at),
                Stands::Answered | Stands::Gone => self.rows.remove(at),
                Stands::Waiting | Stands::Disowned | Stands::Nowhere => {}
            }
        }
        for key in self.keys.all() {
            if of(self.keys[key].bucket) {
                self.forget_waiting(key, scan);
                self.wake(key);
                let state = &mut self.keys[key];
                if let Some(seq) = state.wanted.take() {
                    self.wanting.remove(&(seq, key));
                }
                (state.missing.range, state.failed) = (None, None);
                (state.settling, state.unroutable) = (0, 0);
                self.keys.retire(key, scan.reading().map(|reading| reading.number));
            }
        }
    }

    /// Begins nothing more in these buckets: they go to others. What is on its way is answered and written down.
    pub(super) fn leave(&mut self, of: impl Fn(u8) -> bool, scan: &Scan) {
        for key in self.keys.all() {
            if of(self.keys[key].bucket) {
                self.forget_waiting(key, scan);
                self.wake(key);
                let state = &mut self.keys[key];
                if let Some(seq) = state.wanted.take() {
                    self.wanting.remove(&(seq, key));
                }
                state.missing.range = None;
                self.look_at(key, scan);
            }
        }
    }

    /// A read has looked at everything above one `seq` up to another: what was missed there and was not shown is no
    /// longer in the outbox, or is held by a dead letter.
    pub(super) fn covered(&mut self, above: i64, up_to: i64, number: u64, scan: &Scan) {
        if above >= up_to {
            return;
        }
        if !self.strangers.bars(above, number) {
            self.strangers.none_to(up_to);
        }
        for key in std::mem::take(&mut self.partly_taken) {
            let missing = &mut self.keys[key].missing;
            if !missing.bars(above, number) {
                missing.none_to(up_to);
            }
        }
        let absent: Vec<(i64, u32)> = self
            .wanting
            .range((above + 1, 0)..=(up_to, u32::MAX))
            .filter(|((_, key), asked)| **asked < number && !self.keys[*key].missing.bars(above, number))
            .map(|(wanting, _)| *wanting)
            .collect();
        for (seq, key) in absent {
            self.wanting.remove(&(seq, key));
            self.keys[key].wanted = None;
            self.keys[key].missing.none_to(up_to);
            self.look_at(key, scan);
        }
    }

    /// The oldest row behind one `seq` that is to be read again, or else the oldest of all; none above the other.
    pub(super) fn wanted(&self, (behind, up_to): (i64, i64), options: &Options) -> Option<i64> {
        let by_key = |seq| self.wanting.range((seq, 0)..).next().map(|((wanted, _), _)| *wanted);
        // Of keys that could not be remembered, and now can be.
        let strangers = self.strangers.range.filter(|_| self.keys.len() < options.keys_max);
        let by_strangers = |seq| strangers.map(|(from, _)| from).filter(|from| *from >= seq);
        let next =
            |seq| [by_key(seq), by_strangers(seq)].into_iter().flatten().min().filter(|seq| *seq <= up_to);
        next(behind.saturating_add(1)).or_else(|| next(i64::MIN))
    }

    /// No read is on its way any more.
    pub(super) fn read_is_over(&mut self) {
        self.partly_taken.clear();
        self.rows.remove_gone();
        self.keys.retire_lingering();
    }
}
