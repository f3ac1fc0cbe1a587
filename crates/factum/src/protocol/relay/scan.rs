//! Where to read next: onwards at the tail, where rows that were forgotten are wanted again, and from the start now
//! and then. Nothing is concluded from a `seq` that is absent: a row that appears late, below the tail, is found by the
//! next sweep.

use std::time::Duration;

use super::{Options, Size};

/// Reading what brings little takes at most about one part in so many of the time.
const SHARE: u32 = 8;

/// What a read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// What was never seen.
    Tail,
    /// All of it, from the start.
    Sweep,
    /// Rows that were forgotten.
    Seek,
}

/// A read that is on its way.
#[derive(Debug)]
pub(super) struct Reading {
    /// Ascends by one a read.
    pub(super) number: u64,
    /// The floor.
    pub(super) above: i64,
    /// Up to here everything was seen: what is in hand of it need not be shown again.
    pub(super) seen_to: i64,
    /// At most so many rows were asked for.
    pub(super) rows_max: usize,
    /// About so many bytes.
    pub(super) bytes_max: usize,
    asked_at: Duration,
    purpose: Purpose,
    hinted: bool,
    /// Its cursor no longer counts: it was asked before the buckets changed.
    void: bool,
}

impl Reading {
    /// The buckets changed under it: nothing that it shows may be taken.
    pub(super) fn is_void(&self) -> bool {
        self.void
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brought {
    /// The last `seq` that was looked at; `None` where there was none.
    pub(super) last: Option<i64>,
    /// Whether there is probably more.
    pub(super) full: bool,
    /// How many rows there were.
    pub(super) rows: usize,
    /// How many of them are new in hand.
    pub(super) new: usize,
}

#[derive(Debug)]
struct Sweep {
    at: i64,
    until: i64,
    spent: Duration,
}

#[derive(Debug)]
pub(super) struct Scan {
    tail: i64,
    /// About how low the store begins where it is asked for what lies above the tail.
    floor: i64,
    tail_due: bool,
    sweep: Option<Sweep>,
    latest: Purpose,
    /// Up to here the last seek came.
    sought: i64,
    seek_free_at: Duration,
    reading: Option<Reading>,
    reads: u64,
    poll_every: Duration,
    poll_at: Duration,
    sweep_free_at: Duration,
    rescan_at: Duration,
    rest_until: Duration,
    failures: u32,
}

impl Scan {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            tail: 0,
            floor: i64::MAX,
            tail_due: true,
            sweep: None,
            latest: Purpose::Tail,
            sought: 0,
            seek_free_at: Duration::ZERO,
            reading: None,
            reads: 0,
            poll_every: options.poll_least,
            poll_at: Duration::ZERO,
            sweep_free_at: Duration::ZERO,
            rescan_at: Duration::ZERO,
            rest_until: Duration::ZERO,
            failures: 0,
        }
    }

    /// The number of the latest read.
    pub(super) fn number(&self) -> u64 {
        self.reads
    }

    pub(super) fn reading(&self) -> Option<&Reading> {
        self.reading.as_ref()
    }

    /// Reads as soon as may be.
    pub(super) fn hint(&mut self) {
        self.tail_due = true;
        if let Some(reading) = &mut self.reading {
            reading.hinted = true;
        }
    }

    /// Behind this `seq` the next seek looks, and up to this: what lies above the tail was not seen yet, and comes with
    /// all that is older of its key.
    pub(super) fn seeks_in(&self) -> (i64, i64) {
        (self.sought, self.tail.saturating_add(1))
    }

    pub(super) fn floor(&self) -> i64 {
        self.floor
    }

    /// The store has said how low it will begin.
    pub(super) fn begins_above(&mut self, floor: i64) {
        self.floor = floor;
    }

    /// Begins again at the start, at once: the buckets are others, or rows have appeared anywhere.
    pub(super) fn restart(&mut self) {
        self.tail = 0;
        self.tail_due = true;
        self.sweep = None;
        if let Some(reading) = &mut self.reading {
            reading.void = true;
        }
    }

    /// Asks for the next read, if one is due; `wanted` is a row that was forgotten. At most one is on its way.
    pub(super) fn next(&mut self, now: Duration, room: Size, wanted: Option<i64>) -> Option<&Reading> {
        if self.reading.is_some() || now < self.rest_until {
            return None;
        }
        let polls = !self.tail_due && now >= self.poll_at;
        self.tail_due |= polls;
        self.begin_sweep(now, polls);
        let (purpose, above) = self.choose(now, wanted)?;
        self.latest = purpose;
        self.reads += 1;
        let Size { rows: rows_max, bytes: bytes_max } = room;
        let reading = Reading {
            number: self.reads,
            above,
            seen_to: self.tail.max(above),
            rows_max,
            bytes_max,
            asked_at: now,
            purpose,
            hinted: false,
            void: false,
        };
        Some(self.reading.insert(reading))
    }

    /// They take turns.
    fn choose(&self, now: Duration, wanted: Option<i64>) -> Option<(Purpose, i64)> {
        let tail = self.tail_due.then_some((Purpose::Tail, self.tail));
        let sweep = self.sweep.as_ref().map(|sweep| (Purpose::Sweep, sweep.at));
        let seek =
            wanted.filter(|_| now >= self.seek_free_at).map(|seq| (Purpose::Seek, seq.saturating_sub(1)));
        match self.latest {
            Purpose::Tail => sweep.or(seek).or(tail),
            Purpose::Sweep => seek.or(tail).or(sweep),
            Purpose::Seek => tail.or(sweep).or(seek),
        }
    }

    fn begin_sweep(&mut self, now: Duration, polls: bool) {
        // A read that nobody waits for may as well begin at the start: with little in the outbox that costs nothing. One
        // that was asked for must not wait behind a walk over what was deleted lately.
        let due = polls || now >= self.rescan_at;
        if self.sweep.is_none() && due && now >= self.sweep_free_at {
            self.latest = Purpose::Tail;
            self.sweep = Some(Sweep { at: 0, until: self.tail, spent: Duration::ZERO });
        }
    }

    /// The read that was on its way, taken out so that its rows can be looked at.
    pub(super) fn take(&mut self) -> Option<Reading> {
        self.reading.take()
    }

    /// Moves the cursors on.
    pub(super) fn done(&mut self, now: Duration, reading: &Reading, brought: Brought, options: &Options) {
        self.failures = 0;
        if reading.void {
            return;
        }
        let last = brought.last.unwrap_or(reading.above);
        let is_at_tail = match reading.purpose {
            Purpose::Tail => true,
            Purpose::Sweep => self.sweep_on(now, reading, last, options),
            Purpose::Seek => {
                self.sought = last;
                let spent = now.saturating_sub(reading.asked_at);
                let pause = spent.saturating_mul(SHARE).clamp(options.poll_least, options.rescan);
                let is_worth_it = brought.new * SHARE as usize >= brought.rows && brought.new > 0;
                self.seek_free_at = if is_worth_it { now } else { now.saturating_add(pause) };
                return;
            }
        };
        if is_at_tail {
            self.tail = self.tail.max(last);
            // A sweep that ended in the midst of more has not answered what is at the tail.
            let more = brought.full && (brought.new > 0 || reading.purpose == Purpose::Sweep);
            self.tail_due = reading.hinted || more;
            self.poll_every = match brought.new > 0 || brought.full {
                true => options.poll_least,
                false => self.poll_every.saturating_mul(2).min(options.poll_most),
            };
            self.poll_at = now.saturating_add(self.poll_every);
        }
    }

    /// Whether the sweep has come to its end.
    fn sweep_on(&mut self, now: Duration, reading: &Reading, last: i64, options: &Options) -> bool {
        let Some(mut sweep) = self.sweep.take() else { return true };
        sweep.spent += now.saturating_sub(reading.asked_at);
        sweep.at = last;
        // A store that begins lower shows what is not taken again and again: a sweep that gets no further has ended.
        if last > reading.above && last < sweep.until {
            self.sweep = Some(sweep);
            return false;
        }
        let pause = sweep.spent.saturating_mul(SHARE).clamp(options.poll_least, options.rescan);
        self.sweep_free_at = now.saturating_add(pause);
        self.rescan_at = now.saturating_add(options.rescan);
        true
    }

    /// The store failed: nothing is read for a while.
    pub(super) fn failed(&mut self, now: Duration, delay: impl FnOnce(u32) -> Duration) {
        if let Some(reading) = self.reading.take() {
            self.tail_due |= reading.purpose == Purpose::Tail || reading.hinted;
        }
        self.failures = self.failures.saturating_add(1);
        self.rest_until = now + delay(self.failures);
    }

    /// When it next wants to be asked, if nothing else happens.
    pub(super) fn wake_at(&self, wants: bool) -> Duration {
        if self.reading.is_some() {
            return Duration::MAX;
        }
        let at_once = self.tail_due || self.sweep.is_some();
        let due =
            if at_once { Duration::ZERO } else { self.poll_at.min(self.rescan_at.max(self.sweep_free_at)) };
        let seek = if wants { self.seek_free_at } else { Duration::MAX };
        due.min(seek).max(self.rest_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for a read and answers it with a row at `last`; where it began.
    fn read(scan: &mut Scan, now: Duration, last: i64) -> Option<i64> {
        let options = Options::default();
        let above = scan.next(now, options.batch, None)?.above;
        let reading = scan.take()?;
        scan.done(now, &reading, Brought { last: Some(last), full: false, rows: 1, new: 0 }, &options);
        Some(above)
    }

    #[test]
    fn a_sweep_that_gets_no_further_has_ended() {
        let options = Options::default();
        let mut scan = Scan::new(&options);
        while read(&mut scan, Duration::ZERO, 1_000).is_some() {}
        let now = options.rescan * 2;
        // The store begins below 900, and shows it again. The tail is polled in between.
        let reads: Vec<_> = std::iter::from_fn(|| read(&mut scan, now, 900)).take(9).collect();
        assert_eq!(reads, [0, 1_000, 900]);
    }
}
