//! What a relay decides: which rows to read, which to publish now, and what to write down of the answers.
//!
//! It sees rows without their payload, and keeps four promises, whatever the order of what happens: nothing is
//! published but under a lease that holds; of a key nothing is on its way while an older row of it is unconfirmed (a
//! bus that stops at the first failure takes several in one batch); only a refusal counts as an attempt; and only a
//! confirmation, or a dead letter, takes a row out of the outbox. What it forgets is read again.

mod answers;
mod cleaning;
mod deadlines;
mod hand;
mod hashing;
mod io;
mod keys;
mod leases;
#[cfg(test)]
mod model;
mod options;
mod publishing;
mod rows;
mod scan;
mod settling;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use hashing::BySeq;
pub use io::{Input, Key, Output, Report, Row, Sent, Summary};
pub use options::{Options, Size};

use self::cleaning::Cleaning;
use self::deadlines::Deadlines;
use self::hand::{Hand, Taken};
use self::leases::{Change, Leases};
use self::publishing::Kinds;
use self::scan::{Brought, Scan};
use self::settling::Settling;
use super::Jitter;
use crate::integration::Answer;
use crate::port::{BucketSet, Leased, Read};

/// Where it is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Publishes nothing more, waits for answers, and writes them down.
    Closing(Duration),
    /// Gives the leases back.
    Releasing(Duration),
    Done,
}

/// The relay's decisions. Times are counted from a start of the driver's own choosing, and never go back.
#[derive(Debug)]
pub struct Relay {
    options: Options,
    leases: Leases,
    hand: Hand,
    scan: Scan,
    settling: Settling,
    deadlines: Deadlines,
    cleaning: Cleaning,
    kinds: Kinds,
    jitter: Jitter,
    phase: Phase,
    /// The bus is left alone before.
    bus_rests_until: Duration,
    bus_failures: u32,
    /// The row whose dead letter halts this route, until that is written.
    halting: Option<u64>,
    /// What the store said last of requeued and discarded rows.
    generation: Option<i64>,
    crowded: bool,
    crammed_until: Duration,
}

impl Relay {
    /// A relay that holds nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            leases: Leases::new(),
            hand: Hand::seeded(options.seed),
            scan: Scan::new(&options),
            settling: Settling::default(),
            deadlines: Deadlines::default(),
            cleaning: Cleaning::default(),
            kinds: Kinds::default(),
            jitter: Jitter::new(options.seed),
            phase: Phase::Running,
            bus_rests_until: Duration::ZERO,
            bus_failures: 0,
            halting: None,
            generation: None,
            crowded: false,
            crammed_until: Duration::ZERO,
            options,
        }
    }

    /// Takes note of what has happened, and appends to `out` what is to be done.
    pub fn on(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        if self.phase == Phase::Done {
            return;
        }
        // First, so that no answer to a lease that has run out counts.
        self.expire(now, out);
        self.overdue(now, out);
        match input {
            Input::Leased(leased) => self.leased(now, &leased, out),
            Input::LeaseFailed => self.leases.failed(now, backoff(&self.options, &mut self.jitter)),
            Input::Found { rows, floor, generation } => {
                self.turn_over(generation);
                self.scan.begins_above(floor);
                self.rows(now, &rows, out);
            }
            Input::ReadFailed => {
                self.scan.failed(now, backoff(&self.options, &mut self.jitter));
                self.hand.read_is_over();
            }
            Input::Answered(answers) => self.answered(now, answers, out),
            Input::Unreachable(reason) => self.bus_failed(now, reason, out),
            Input::Settled(changed) => {
                self.settled(now, changed);
                self.give_back(now);
            }
            Input::SettleFailed => self.settling.failed(now, backoff(&self.options, &mut self.jitter)),
            Input::CleanedUp(more) => self.cleaning.done(now, more, &self.options),
            Input::Released => self.end(out),
            Input::Hint => self.scan.hint(),
            Input::Tick => {}
            Input::Shutdown => self.shut_down(now),
        }
        self.proceed(now, out);
    }

    /// When it wants an [`Input::Tick`], if nothing else happens before.
    pub fn wake_at(&self) -> Duration {
        let closing = match self.phase {
            Phase::Running => Duration::MAX,
            Phase::Closing(until) => until,
            Phase::Releasing(until) => return until,
            Phase::Done => return Duration::MAX,
        };
        let settle = self.settling.due_at(self.hand.rows.unanswered(), self.is_closing(), &self.options);
        let rested = self.hand.rested_at().unwrap_or(Duration::MAX);
        let [publish, read] = [self.publish_at(), self.read_at()];
        let [answer, clean] = [self.deadlines.wake_at(), self.cleaning.wake_at(self.may_clean())];
        let all = [self.leases.wake_at(), closing, settle, rested, publish, read, answer, clean];
        all.into_iter().min().unwrap_or(closing)
    }

    /// Rows whose envelopes are kept: those that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.hand.rows.waiting().0
    }

    fn proceed(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.hand.wake_rested(now, &self.scan);
        if self.is_at_work() {
            out.extend(self.leases.ask(now, self.is_closing(), &self.options).map(Output::Lease));
        }
        self.publish(now, out);
        self.deadlines.prune(&self.hand.rows);
        if self.is_at_work() {
            self.settle(now, out);
        }
        self.close(now, out);
        self.read(now, out);
        if self.cleaning.begin(now, self.may_clean()) {
            out.push(Output::CleanUp);
        }
        if !self.hand.forgotten.is_empty() {
            out.push(Output::Forget(std::mem::take(&mut self.hand.forgotten)));
        }
    }

    fn is_at_work(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing(_))
    }

    fn is_closing(&self) -> bool {
        self.phase != Phase::Running
    }

    fn expire(&mut self, now: Duration, out: &mut Vec<Output>) {
        let lost = self.leases.expire(now);
        self.lose(lost, out);
    }

    fn lose(&mut self, lost: BucketSet, out: &mut Vec<Output>) {
        if lost.is_empty() {
            return;
        }
        out.push(Output::Report(Report::LeasesLost(lost.len())));
        self.scan.restart();
        self.hand.disown(|bucket| lost.contains(bucket), &self.scan);
    }

    fn leased(&mut self, now: Duration, leased: &Leased, out: &mut Vec<Output>) {
        let before = (self.leases.relays(), self.leases.buckets().len());
        let Change { lost, left, gained, leaving } = self.leases.answered(now, leased, &self.options);
        self.lose(lost, out);
        if !left.is_empty() || !leaving.is_empty() {
            // What a read on its way brings of them must not be taken.
            self.scan.restart();
            self.hand.disown(|bucket| left.contains(bucket), &self.scan);
            self.hand.leave(|bucket| leaving.contains(bucket), &self.scan);
        }
        if !gained.is_empty() {
            self.scan.restart();
        }
        let (relays, buckets) = (self.leases.relays(), self.leases.buckets().len());
        if (relays, buckets) != before {
            out.push(Output::Report(Report::Shared { relays, buckets }));
        }
        self.give_back(now);
    }

    /// Gives back, with the next renewal, those of the buckets to leave of which nothing is on its way.
    fn give_back(&mut self, now: Duration) {
        let leaving = self.leases.leaving();
        if !leaving.is_empty() {
            let quiet = self.hand.rows.quiet(leaving);
            self.leases.give_back(now, quiet);
        }
    }

    /// Rows may have appeared below what was read, and younger ones of their keys above it: all is read again.
    fn turn_over(&mut self, generation: i64) {
        if self.generation.replace(generation).is_some_and(|known| known != generation) {
            self.scan.restart();
        }
    }

    /// What the bus did not answer in time it is taken to have left unanswered.
    fn overdue(&mut self, now: Duration, out: &mut Vec<Output>) {
        let overdue = self.deadlines.overdue(now, &self.hand.rows);
        if !overdue.is_empty() {
            let why = format!("no answer within {:?}", self.options.publish_deadline);
            let unknown = |ticket| (ticket, Answer::Unknown(why.clone()));
            self.answered(now, overdue.into_iter().map(unknown).collect(), out);
        }
    }

    /// How much may be read, if it is worth a read.
    fn room(&self) -> Option<Size> {
        let (rows, bytes) = self.hand.rows.on_the_way();
        let Size { rows: rows_max, bytes: bytes_max } = self.options.batch;
        let rows = self.options.window.rows.saturating_sub(rows).min(rows_max);
        let bytes = self.options.window.bytes.saturating_sub(bytes).min(bytes_max);
        (rows >= rows_max.div_ceil(4) && bytes >= bytes_max.div_ceil(4)).then_some(Size { rows, bytes })
    }

    /// So much waits behind unanswered rows that little of what is read could be kept. Reading goes on slowly, for the
    /// sake of other keys, and at once when it is better.
    fn is_crammed(&self) -> bool {
        let (rows, bytes) = self.hand.rows.waiting();
        rows * 4 > self.options.waiting.rows * 3 || bytes * 4 > self.options.waiting.bytes * 3
    }

    fn may_read(&self) -> bool {
        self.phase == Phase::Running && self.halting().is_none() && !self.leases.buckets().is_empty()
    }

    fn read_at(&self) -> Duration {
        match self.room() {
            Some(_) if self.may_read() => {
                let wants = self.hand.wanted(self.scan.seeks_in(), &self.options).is_some();
                let eased = if self.is_crammed() { self.crammed_until } else { Duration::ZERO };
                self.scan.wake_at(wants).max(self.bus_rests_until).max(eased)
            }
            _ => Duration::MAX,
        }
    }

    fn read(&mut self, now: Duration, out: &mut Vec<Output>) {
        let rests = now < self.bus_rests_until || (self.is_crammed() && now < self.crammed_until);
        let Some(room) = self.room().filter(|_| self.may_read() && !rests) else { return };
        let wanted = self.hand.wanted(self.scan.seeks_in(), &self.options);
        if let Some(reading) = self.scan.next(now, room, wanted) {
            let buckets = self.leases.buckets();
            let (above, seen_to) = (reading.above, reading.seen_to);
            let (rows_max, bytes_max) = (reading.rows_max, reading.bytes_max);
            let except = self.hand.rows.between(self.scan.floor().min(above), seen_to);
            out.push(Output::Read(Read { buckets, above, except, rows_max, bytes_max }));
        }
    }

    fn rows(&mut self, now: Duration, rows: &[Row], out: &mut Vec<Output>) {
        let Some(reading) = self.scan.take() else { return };
        let mut brought = Brought {
            last: rows.last().map(|row| row.seq),
            full: rows.len() >= reading.rows_max
                || rows.iter().map(|row| row.bytes).sum::<usize>() >= reading.bytes_max / 2,
            rows: rows.len(),
            new: 0,
        };
        self.crammed_until = now.saturating_add(self.options.poll_least);
        let mut left_out = Vec::new();
        let refuses = reading.is_void() || !self.may_read();
        self.crowded &= self.hand.keys.len() >= self.options.keys_max;
        for row in rows {
            let taken = match refuses {
                true => self.hand.refuse(row),
                false => {
                    let kind = self.kinds.index(&row.r#type, &self.options.on_dead_letter);
                    self.hand.take(row, kind, reading.above, reading.number, &self.options)
                }
            };
            match taken {
                Taken::New => brought.new += 1,
                Taken::Known => {}
                Taken::LeftOut(key) => left_out.push(key),
                Taken::Stranger => self.too_many_keys(out),
            }
        }
        self.scan.done(now, &reading, brought, &self.options);
        if !refuses {
            let up_to = brought.last.unwrap_or(i64::MAX);
            self.hand.covered(reading.above, up_to, reading.number, &self.scan);
        }
        left_out.into_iter().for_each(|key| self.hand.look_at(key, &self.scan));
        self.hand.read_is_over();
    }

    fn too_many_keys(&mut self, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.crowded, true) {
            out.push(Output::Report(Report::TooManyKeys));
        }
    }

    fn shut_down(&mut self, now: Duration) {
        if self.phase == Phase::Running {
            self.phase = Phase::Closing(now.saturating_add(self.options.shutdown));
        }
    }

    fn close(&mut self, now: Duration, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Closing(until) => {
                // A lease call that is on its way could come after the release, and undo it.
                let quiet = self.hand.rows.unanswered() == 0
                    && self.settling.is_quiet()
                    && !self.leases.is_asking()
                    && self.scan.reading().is_none();
                if quiet || now >= until {
                    self.phase = Phase::Releasing(now.saturating_add(self.options.renew));
                    out.push(Output::Release);
                }
            }
            Phase::Releasing(until) if now >= until => self.end(out),
            Phase::Running | Phase::Releasing(_) | Phase::Done => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Done;
        out.push(Output::Done);
    }
}

/// How long the store is left alone after it failed.
fn backoff<'a>(options: &Options, jitter: &'a mut Jitter) -> impl FnOnce(u32) -> Duration + use<'a> {
    let store = options.store;
    move |failures| store.delay(failures, jitter)
}
