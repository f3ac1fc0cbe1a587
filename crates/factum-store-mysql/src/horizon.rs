//! Up to which `seq` the outbox is final: no row at or below it will become visible that is not.
//!
//! InnoDB draws numbers before it inserts, and commits in any order; nobody tells which transactions are open. But a row
//! that is inserted and not committed *is* visible under `READ UNCOMMITTED`. So whatever lies below the highest number
//! that was shown is in one of three states: committed; in flight, for as long as its transaction lives, and that may be
//! long; or without any trace. The last are numbers of transactions that were rolled back and rows that somebody has
//! deleted, and, for a few instructions, numbers that were drawn and not inserted yet. They hold the horizon for a
//! *trail* of some seconds, during which the server has answered us.
//!
//! What is in flight for longer than the trail is *watched* instead: the horizon passes it, so that reads need not begin
//! below it for an hour, and each read looks, in its own snapshot, whether one of them has appeared. If so the horizon
//! goes back there, and that read is made again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How much time passes at most between two looks, for the trail: while the server does not answer, it does not
/// insert either.
const STEP_MAX: Duration = Duration::from_secs(1);

/// So often at most the server is asked.
const LOOK_EVERY: Duration = Duration::from_millis(80);

/// Rows that one look is shown at most.
pub(crate) const LOOK_ROWS: usize = 5_000;

/// So many separate ranges of committed numbers are remembered; what is beyond is seen again, or waits for the trail.
const RANGES_MAX: usize = 50_000;

/// So many numbers in flight are watched at most; one more holds the horizon.
const WATCHED_MAX: usize = 1_000;

/// So often it is looked whether what is watched was rolled back.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// So many returns are remembered; who has missed more begins at the start.
const LOWERED_MAX: usize = 1_000;

/// See the module. Times are counted from any start, and never go back.
#[derive(Debug)]
pub(crate) struct Horizon {
    trail: Duration,
    /// Final up to here.
    proven: i64,
    /// The highest number that was ever shown.
    top: i64,
    /// Committed numbers above `proven`: the first and the last of each range.
    committed: BTreeMap<i64, i64>,
    /// How high the numbers were at which time of the server's.
    marks: VecDeque<(i64, Duration)>,
    /// All up to here was drawn longer than a trail ago.
    aged: i64,
    /// Time during which the server has answered.
    served: Duration,
    looked_at: Option<Duration>,
    /// In flight for long, at or below `proven`.
    watched: BTreeSet<i64>,
    /// To where it went back, the last times,
    lowered: VecDeque<i64>,
    /// and how often altogether.
    times_lowered: usize,
}

/// What a look has shown of the numbers above one and up to another.
#[derive(Debug)]
pub(crate) struct Look {
    /// It saw all numbers above this,
    pub(crate) above: i64,
    /// and up to this.
    pub(crate) up_to: i64,
    /// Rows, committed or not, ascending, and what is watched; seen first.
    pub(crate) any: Vec<i64>,
    /// Committed rows, ascending; seen after that.
    pub(crate) committed: Vec<i64>,
}

impl Horizon {
    pub(crate) fn new(trail: Duration) -> Self {
        Self {
            trail,
            proven: 0,
            top: 0,
            committed: BTreeMap::new(),
            marks: VecDeque::new(),
            aged: 0,
            served: Duration::ZERO,
            looked_at: None,
            watched: BTreeSet::new(),
            lowered: VecDeque::new(),
            times_lowered: 0,
        }
    }

    /// Final up to here but for what is watched, for whoever takes his snapshot from now on.
    pub(crate) fn proven(&self) -> i64 {
        self.proven
    }

    /// The numbers that a look is wanted of: above the first, and up to the second.
    pub(crate) fn wants_look(&self, now: Duration) -> Option<(i64, i64)> {
        let every = match (self.proven < self.top, self.watched.is_empty()) {
            (true, _) => LOOK_EVERY,
            (false, false) => WATCH_EVERY,
            (false, true) => return None,
        };
        let rests = self.looked_at.is_some_and(|at| now < at + every);
        (!rests).then_some((self.proven, self.top))
    }

    /// What a read has to look for, in its own snapshot, and a look, whether committed or not.
    pub(crate) fn watched(&self) -> impl Iterator<Item = i64> {
        self.watched.iter().copied()
    }

    /// A read has found that this number, which is watched, was committed: nothing from there on is final any more.
    pub(crate) fn appeared(&mut self, seq: i64) {
        let low = seq.saturating_sub(1);
        self.proven = self.proven.min(low);
        self.watched.split_off(&seq);
        self.lowered.push_back(low);
        if self.lowered.len() > LOWERED_MAX {
            self.lowered.pop_front();
        }
        self.times_lowered += 1;
    }

    /// How low it has gone since somebody asked last; `seen` counts for him.
    pub(crate) fn lowered_since(&self, seen: &mut usize) -> Option<i64> {
        let missed = self.times_lowered.saturating_sub(std::mem::replace(seen, self.times_lowered));
        match missed > self.lowered.len() {
            true => Some(0),
            false => self.lowered.iter().rev().take(missed).copied().min(),
        }
    }

    /// A read has shown these committed rows, in ascending order.
    pub(crate) fn shown(&mut self, seqs: impl IntoIterator<Item = i64>) {
        for seq in seqs {
            self.top = self.top.max(seq);
            self.commit(seq);
        }
        self.advance(i64::MIN, &[]);
    }

    /// A look that began at `now` has been answered.
    pub(crate) fn looked(&mut self, now: Duration, look: &Look) {
        let step = self.looked_at.map_or(Duration::ZERO, |at| now.saturating_sub(at).min(STEP_MAX));
        self.looked_at = Some(now);
        self.served += step;
        while let Some((top, at)) = self.marks.front().copied()
            && at.saturating_add(self.trail) <= self.served
        {
            self.aged = self.aged.max(top);
            self.marks.pop_front();
        }
        if self.marks.back().is_none_or(|(top, _)| *top < self.top) && self.aged < self.top {
            self.marks.push_back((self.top, self.served));
        }
        for seq in &look.committed {
            self.commit(*seq);
        }
        let in_flight: Vec<_> =
            look.any.iter().copied().filter(|seq| look.committed.binary_search(seq).is_err()).collect();
        // What can no longer be seen was rolled back.
        self.watched.retain(|seq| look.any.binary_search(seq).is_ok());
        if look.above <= self.proven {
            self.advance(look.up_to, &in_flight);
        }
    }

    /// Notes a committed row, and joins it to its neighbours.
    fn commit(&mut self, seq: i64) {
        if seq <= self.proven {
            return;
        }
        let before = self.committed.range(..=seq).next_back().map(|(first, last)| (*first, *last));
        let first = match before {
            Some((_, last)) if seq <= last => return,
            Some((first, last)) if last + 1 == seq => first,
            _ => seq,
        };
        let last = self.committed.remove(&seq.saturating_add(1)).unwrap_or(seq);
        self.committed.insert(first, last);
        if self.committed.len() > RANGES_MAX {
            self.committed.pop_last();
        }
    }

    /// Goes on over what is committed, over what was seen without a trace for long enough, and, watching it, over what is
    /// in flight for as long: only up to `seen`.
    fn advance(&mut self, seen: i64, in_flight: &[i64]) {
        loop {
            let next = self.proven.saturating_add(1);
            let mut end = self.aged.min(seen);
            if let Some(entry) = self.committed.first_entry() {
                if *entry.key() <= next {
                    self.proven = self.proven.max(entry.remove());
                    continue;
                }
                end = end.min(entry.key() - 1);
            }
            if let Some(first) = in_flight.iter().find(|seq| **seq >= next) {
                end = end.min(first - 1);
            }
            if end >= next {
                self.proven = end;
                continue;
            }
            let is_old = next <= self.aged.min(seen) && in_flight.binary_search(&next).is_ok();
            if !is_old || self.watched.len() >= WATCHED_MAX {
                return;
            }
            self.watched.insert(next);
            self.proven = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAIL: Duration = Duration::from_secs(5);

    /// Looks every 100 ms, at what `table` says of each number: 'c' committed, 'f' in flight.
    struct World {
        horizon: Horizon,
        now: Duration,
    }

    impl World {
        fn new() -> Self {
            Self { horizon: Horizon::new(TRAIL), now: Duration::ZERO }
        }

        fn look(&mut self, table: &[(i64, char)]) {
            self.now += Duration::from_millis(100);
            let Some((above, up_to)) = self.horizon.wants_look(self.now) else { return };
            let watched: Vec<_> = self.horizon.watched().collect();
            let is_asked = |seq: i64| above < seq && seq <= up_to;
            let of = |is_wanted: &dyn Fn(i64, char) -> bool| {
                let rows = table.iter().filter(|(seq, kind)| is_wanted(*seq, *kind));
                rows.map(|(seq, _)| *seq).collect::<Vec<_>>()
            };
            let any = of(&|seq, _| is_asked(seq) || watched.contains(&seq));
            let committed = of(&|seq, kind| is_asked(seq) && kind == 'c');
            let look = Look { above, up_to, any, committed };
            self.horizon.looked(self.now, &look);
        }

        fn looks(&mut self, table: &[(i64, char)], seconds: u32) -> i64 {
            for _ in 0..seconds * 10 {
                self.look(table);
            }
            self.horizon.proven()
        }
    }

    #[test]
    fn what_a_read_shows_without_a_gap_is_final_at_once() {
        let mut world = World::new();
        world.horizon.shown(1..=1_000);
        assert_eq!((world.horizon.proven(), world.horizon.wants_look(world.now)), (1_000, None));
        world.horizon.shown([1_003, 1_004]);
        assert_eq!(world.horizon.proven(), 1_000);
        world.horizon.shown([1_002, 1_001]);
        assert_eq!(world.horizon.proven(), 1_004);
    }

    #[test]
    fn f_21_a_row_in_flight_holds_it_for_a_trail_and_is_watched_for_as_long_as_its_transaction_lives() {
        let mut world = World::new();
        let rest = [(1, 'c'), (2, 'c'), (3, 'f'), (4, 'c'), (5, 'c'), (6, 'f')];
        world.horizon.shown([1, 2, 4, 5, 7]);
        assert_eq!(world.looks(&rest, 4), 2);
        assert_eq!(world.looks(&rest, 600), 7);
        assert_eq!(world.horizon.watched().collect::<Vec<_>>(), [3, 6]);
        let mut seen = 0;
        assert_eq!(world.horizon.lowered_since(&mut seen), None);
        world.horizon.appeared(3);
        assert_eq!((world.horizon.proven(), world.horizon.watched().count()), (2, 0));
        assert_eq!((world.horizon.lowered_since(&mut seen), seen), (Some(2), 1));
        assert_eq!(world.horizon.lowered_since(&mut seen), None);
        assert_eq!(world.looks(&[(3, 'c'), (6, 'f')], 1), 7, "what is old is passed again at once");
        assert_eq!(world.horizon.watched().collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn what_is_watched_and_rolled_back_is_forgotten() {
        let mut world = World::new();
        world.horizon.shown([2]);
        assert_eq!(world.looks(&[(1, 'f')], 10), 2);
        assert_eq!(world.horizon.watched().count(), 1);
        assert_eq!(world.looks(&[], 3), 2);
        assert_eq!(world.horizon.watched().count(), 0);
    }

    #[test]
    fn who_has_missed_too_many_returns_begins_at_the_start() {
        let mut horizon = Horizon::new(TRAIL);
        let (mut slow, mut quick) = (0, 0);
        for seq in 0..LOWERED_MAX as i64 + 2 {
            horizon.appeared(seq + 10);
            assert_eq!(horizon.lowered_since(&mut quick), Some(seq + 9));
        }
        assert_eq!(horizon.lowered_since(&mut slow), Some(0));
        assert_eq!(horizon.lowered_since(&mut slow), None);
    }

    #[test]
    fn f_21_a_hole_holds_it_for_a_trail_and_no_longer() {
        let mut world = World::new();
        world.horizon.shown([1, 2, 4, 5]);
        assert_eq!(world.looks(&[], 4), 2);
        assert_eq!(world.looks(&[], 2), 5);
        world.horizon.shown([9]);
        assert_eq!(world.looks(&[], 4), 5, "a new hole has a trail of its own");
        assert_eq!(world.looks(&[], 2), 9);
    }

    #[test]
    fn what_was_drawn_and_is_inserted_within_the_trail_is_not_taken_for_a_hole() {
        let mut world = World::new();
        world.horizon.shown([2]);
        assert_eq!(world.looks(&[], 4), 0);
        assert_eq!(world.looks(&[(1, 'f')], 60), 2);
        assert_eq!(world.horizon.watched().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn while_the_server_does_not_answer_no_trail_passes() {
        let mut world = World::new();
        world.horizon.shown([2]);
        world.look(&[]);
        world.now += Duration::from_secs(3600);
        world.look(&[]);
        assert_eq!(world.horizon.proven(), 0);
        assert_eq!(world.looks(&[], 5), 2);
    }

    #[test]
    fn what_was_not_looked_at_is_not_final() {
        let mut world = World::new();
        world.horizon.shown([10]);
        for _ in 0..100 {
            world.now += Duration::from_millis(100);
            let look = Look { above: 0, up_to: 7, any: vec![], committed: vec![] };
            world.horizon.looked(world.now, &look);
        }
        assert_eq!(world.horizon.proven(), 7);
    }
}
