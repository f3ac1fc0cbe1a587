//! Up to which `seq` the outbox is final: no row at or below it will become visible that is not.
//!
//! InnoDB draws numbers before it inserts, and commits in any order; nobody tells which transactions are open. But a row
//! that is inserted and not committed *is* visible under `READ UNCOMMITTED`. So whatever lies below the highest number
//! that was shown is in one of three states: committed; in flight, for as long as its transaction lives, and that may be
//! long; or without any trace. The last are numbers of transactions that were rolled back and rows that somebody has
//! deleted, and, for a few instructions, numbers that were drawn and not inserted yet. They hold the horizon for a
//! *trail* of some seconds, during which the server has answered us.

use std::collections::{BTreeMap, VecDeque};
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
}

/// What a look has shown of the numbers above one and up to another.
#[derive(Debug)]
pub(crate) struct Look {
    /// It saw all numbers above this,
    pub(crate) above: i64,
    /// and up to this.
    pub(crate) up_to: i64,
    /// Rows, committed or not, ascending; seen first.
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
        }
    }

    /// Final up to here, for whoever takes his snapshot from now on.
    pub(crate) fn proven(&self) -> i64 {
        self.proven
    }

    /// The numbers that a look is wanted of: above the first, and up to the second.
    pub(crate) fn wants_look(&self, now: Duration) -> Option<(i64, i64)> {
        let rests = self.looked_at.is_some_and(|at| now < at + LOOK_EVERY);
        (!rests && self.proven < self.top).then_some((self.proven, self.top))
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
            && at + self.trail <= self.served
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

    /// Goes on over what is committed, and over what was seen without a trace for long enough: only up to `seen`, and
    /// to what is in flight.
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
            if end < next {
                return;
            }
            self.proven = end;
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
            let of = |kinds: &str| {
                let rows =
                    table.iter().filter(|(seq, kind)| above < *seq && *seq <= up_to && kinds.contains(*kind));
                rows.map(|(seq, _)| *seq).collect::<Vec<_>>()
            };
            let look = Look { above, up_to, any: of("cf"), committed: of("c") };
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
    fn f_21_a_row_in_flight_holds_it_for_as_long_as_its_transaction_lives() {
        let mut world = World::new();
        world.horizon.shown([1, 2, 4, 5]);
        assert_eq!(world.looks(&[(1, 'c'), (2, 'c'), (3, 'f'), (4, 'c'), (5, 'c')], 600), 2);
        assert_eq!(world.looks(&[(3, 'c')], 1), 5);
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
    fn what_was_drawn_and_is_inserted_within_the_trail_is_waited_for() {
        let mut world = World::new();
        world.horizon.shown([2]);
        assert_eq!(world.looks(&[], 4), 0);
        assert_eq!(world.looks(&[(1, 'f')], 60), 0);
        assert_eq!(world.looks(&[(1, 'c')], 1), 2);
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
        world.looks(&[(5, 'f')], 6);
        assert_eq!(world.horizon.proven(), 4);
        let look = Look { above: 4, up_to: 7, any: vec![], committed: vec![] };
        world.horizon.looked(world.now, &look);
        assert_eq!(world.horizon.proven(), 7);
    }
}
