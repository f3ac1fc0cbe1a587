//! Where to read next: onwards at the tail, and again from the start now and then. Nothing is concluded from a `seq`
//! that is absent: a row below the tail that appears late is found by the next sweep.

use std::time::Duration;

use super::Options;

/// Sweeps take at most one part in so many of the time.
const SWEEP_SHARE: u32 = 8;

/// A read that is on its way.
#[derive(Debug)]
pub(super) struct Reading {
    /// Ascends by one a read.
    pub(super) number: u64,
    /// The floor.
    pub(super) above: i64,
    /// At most so many rows were asked for.
    pub(super) rows_max: usize,
    /// About so many bytes.
    pub(super) bytes_max: usize,
    asked_at: Duration,
    sweeps: bool,
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
    /// How many rows are new in hand.
    pub(super) new: usize,
}

#[derive(Debug)]
struct Sweep {
    from: i64,
    at: i64,
    until: i64,
    spent: Duration,
}

#[derive(Debug)]
pub(super) struct Scan {
    tail: i64,
    tail_due: bool,
    sweep: Option<Sweep>,
    swept_last: bool,
    wanted: Option<i64>,
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
            tail_due: true,
            sweep: None,
            swept_last: false,
            wanted: None,
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

    /// Somebody waits for the row with this `seq`, which may lie below the tail.
    pub(super) fn want(&mut self, seq: i64) {
        self.wanted = Some(self.wanted.map_or(seq, |wanted| wanted.min(seq)));
    }

    /// Begins again at the start, at once: the buckets are others.
    pub(super) fn restart(&mut self) {
        self.tail = 0;
        self.tail_due = true;
        self.sweep = None;
        if let Some(reading) = &mut self.reading {
            reading.void = true;
        }
    }

    /// Asks for the next read, if one is due. At most one is on its way.
    pub(super) fn next(&mut self, now: Duration, rows_max: usize, bytes_max: usize) -> Option<&Reading> {
        if self.reading.is_some() || now < self.rest_until {
            return None;
        }
        self.tail_due |= now >= self.poll_at;
        self.begin_sweep(now);
        let sweeps = self.sweep.is_some() && !(self.tail_due && self.swept_last);
        let above = match (&self.sweep, self.tail_due) {
            (Some(sweep), _) if sweeps => sweep.at,
            (_, true) => self.tail,
            _ => return None,
        };
        self.swept_last = sweeps;
        self.reads += 1;
        let number = self.reads;
        Some(self.reading.insert(Reading {
            number,
            above,
            rows_max,
            bytes_max,
            asked_at: now,
            sweeps,
            hinted: false,
            void: false,
        }))
    }

    fn begin_sweep(&mut self, now: Duration) {
        if self.sweep.is_some() || now < self.sweep_free_at {
            return;
        }
        // Where a read is due anyway it may as well begin at the start: with little in the outbox that costs nothing,
        // and finds at once what became visible below the tail.
        let from = match self.wanted {
            _ if self.tail_due || now >= self.rescan_at => 0,
            Some(seq) => seq.saturating_sub(1),
            None => return,
        };
        self.wanted = None;
        self.swept_last = false;
        self.sweep = Some(Sweep { from, at: from, until: self.tail, spent: Duration::ZERO });
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
        if !reading.sweeps || self.sweep_on(now, reading, brought, last, options) {
            self.tail = self.tail.max(last);
            // A sweep that ended in the midst of more has not answered what is at the tail.
            let more = brought.full && (brought.new > 0 || reading.sweeps);
            self.tail_due = reading.hinted || more;
            self.poll_every = match brought.new > 0 || brought.full {
                true => options.poll_least,
                false => (self.poll_every * 2).min(options.poll_most),
            };
            self.poll_at = now + self.poll_every;
        }
    }

    /// Whether the sweep has come to its end.
    fn sweep_on(
        &mut self,
        now: Duration,
        reading: &Reading,
        brought: Brought,
        last: i64,
        options: &Options,
    ) -> bool {
        let Some(mut sweep) = self.sweep.take() else { return true };
        sweep.spent += now.saturating_sub(reading.asked_at);
        sweep.at = last;
        if brought.last.is_some() && last < sweep.until {
            self.sweep = Some(sweep);
            return false;
        }
        self.sweep_free_at = now + (sweep.spent * SWEEP_SHARE).clamp(options.poll_least, options.rescan);
        if sweep.from == 0 {
            self.rescan_at = now + options.rescan;
        }
        true
    }

    /// The store failed: nothing is read for a while.
    pub(super) fn failed(&mut self, now: Duration, delay: impl FnOnce(u32) -> Duration) {
        if let Some(reading) = self.reading.take() {
            self.tail_due |= !reading.sweeps || reading.hinted;
        }
        self.failures = self.failures.saturating_add(1);
        self.rest_until = now + delay(self.failures);
    }

    /// When it next wants to be asked, if nothing else happens.
    pub(super) fn wake_at(&self) -> Duration {
        if self.reading.is_some() {
            return Duration::MAX;
        }
        let at_once = self.tail_due || self.sweep.is_some();
        let due =
            if at_once { Duration::ZERO } else { self.poll_at.min(self.rescan_at.max(self.sweep_free_at)) };
        let wanted = self.wanted.map_or(Duration::MAX, |_| self.sweep_free_at);
        due.min(wanted).max(self.rest_until)
    }
}
