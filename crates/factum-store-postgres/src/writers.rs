//! How low a read has to begin, so that no row of a key is shown while an older one of it never was.
//!
//! Writers commit out of `seq` order, so a row may become visible below what was read before. Sequence values are drawn
//! without a transaction id, so a snapshot proves nothing. But whoever may still commit a row holds a lock on the outbox
//! (`RowExclusiveLock`, taken before the value is drawn, released after the commit is visible), and everybody can see who
//! does. A *look* at these locks, taken within a read and therefore after its snapshot, gives two facts:
//!
//! - whoever may still commit a row up to the highest `seq` that this read has shown is in this look, or has ended
//!   between the snapshot and the look: so the next read, whose snapshot is younger, begins where the one *before* ended;
//! - whoever is not in a look and appears in a later one draws values above all that had been drawn before the earlier
//!   look. So of what was drawn by then, the next reads miss no row but of those in the look: a long backlog is walked
//!   once.
//!
//! A writer that was seen is remembered, with the `seq` above which its rows are (`since`), until it has ended and a read
//! that began at or below `since` has shown what it left. While it is young every read begins there. Once it is old,
//! reads leave it alone, because walking again and again over what was deleted since would cost more and more; instead
//! the look within each of them tells whether it is still there, and a read that misses it is made again from `since`.
//!
//! Who has rolled back to a savepoint has given the lock up, and may take it again: what was gone is then there again.
//!
//! A crash of the server may take numbers back that were drawn, and nothing that is known of them counts any more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use factum::port::{BucketSet, Read};

/// Writers that have been open for longer are looked for within a read rather than read for.
const YOUNG: Duration = Duration::from_millis(200);

/// So long one look is good for the reads after it, which begin as low as it allows: a look takes every lock of the server's
/// table of locks, and whoever looks a thousand times a second holds up those who write.
const GOOD_FOR: Duration = Duration::from_millis(10);

/// The sets of buckets of so many reads are taken for those that are read.
const READS_KEPT: usize = 16;

/// A transaction that holds the lock: its virtual id, or what stands for it once it is prepared.
type Writer = String;

/// What is not a running transaction but a prepared one: it has no session, and another name than it had before.
fn is_prepared(writer: &str) -> bool {
    writer.starts_with('-')
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Its rows are above this.
    since: i64,
    first: Instant,
    /// Which absorption was the last that saw it.
    seen: u64,
    /// Which absorption found it gone.
    ended: Option<u64>,
    /// Buckets of which nobody has read yet what it left.
    owed: BucketSet,
}

impl Seen {
    fn new(since: i64, first: Instant, seen: u64) -> Self {
        Self { since, first, seen, ended: None, owed: BucketSet::ALL }
    }
}

/// What is known of writers, by all reads of one store.
#[derive(Debug)]
pub(crate) struct Writers {
    /// By bucket: every row up to this was shown, or is a known writer's.
    proven: [i64; 64],
    /// The highest `seq` that was drawn, or at least shown, before the last look.
    known: i64,
    /// The highest `seq` that was shown.
    shown: i64,
    open: HashMap<Writer, Seen>,
    looked: Option<Instant>,
    /// The buckets of the last reads.
    asked: std::collections::VecDeque<BucketSet>,
    /// Counts what was absorbed.
    absorbed: u64,
    /// How many connections had been opened when all this became known.
    opened: u64,
}

impl Default for Writers {
    fn default() -> Self {
        Self {
            proven: [0; 64],
            known: 0,
            shown: 0,
            open: HashMap::new(),
            looked: None,
            asked: std::collections::VecDeque::new(),
            absorbed: 0,
            opened: 0,
        }
    }
}

/// How a read is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where it begins.
    pub(crate) begin: i64,
    /// Whether it has to look at the locks: now and then, and always where an old writer is left alone.
    pub(crate) look: bool,
    buckets: BucketSet,
    /// `known` and `shown`, as they were when the read was planned: several reads may be on their way.
    known: i64,
    shown: i64,
    /// What had been absorbed by then.
    absorbed: u64,
    /// Writers that had ended by then; and those that had not, with the `seq` above which their rows are.
    ended: Vec<Writer>,
    open: Vec<(Writer, i64)>,
}

/// What a read has shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The highest `seq`, if any.
    pub(crate) last: Option<i64>,
    /// Whether there may be more above that.
    pub(crate) cut: bool,
    /// What the locks told, if they were looked at.
    pub(crate) look: Option<Look>,
}

/// A look at the locks.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The highest `seq` that had been drawn before; 0 where that cannot be seen.
    pub(crate) drawn: i64,
    /// Who held the lock.
    pub(crate) writers: Vec<Writer>,
}

impl Look {
    /// As a read brings it: the number first.
    pub(crate) fn read(mut texts: Vec<String>) -> Option<Self> {
        if texts.is_empty() {
            return None;
        }
        let drawn = texts.remove(0).parse().ok()?;
        Some(Self { drawn, writers: texts })
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It can be used; the next one will begin about here.
    Sound(i64),
    /// A writer that was left alone has ended: rows of it may be missing below what was shown. Or numbers were taken back.
    Again,
}

impl Writers {
    /// Forgets everything if a connection was opened since: the server may have crashed in between, and no connection
    /// outlives that. Then all is read from the start once.
    pub(crate) fn of_life(&mut self, opened: u64) {
        if self.opened != opened {
            *self = Self { opened, ..Self::default() };
        }
    }

    /// Where a read begins, and what it has to look at. `all`: no writer is left alone, however old.
    pub(crate) fn plan(&self, read: &Read, all: bool, now: Instant) -> Plan {
        let proven = self.lowest(read.buckets);
        let owing = self.open.values().filter(|seen| !seen.owed.intersection(read.buckets).is_empty());
        let read_for =
            owing.filter(|seen| all || seen.ended.is_some() || now.duration_since(seen.first) < YOUNG);
        let begin = read_for.map(|seen| seen.since).fold(read.above.min(proven), i64::min);
        let leaves_alone = self.open.values().any(|seen| seen.ended.is_none() && seen.since < begin);
        let wants = !self.open.is_empty() || self.shown > proven;
        let is_due = self.looked.is_none_or(|looked| now.duration_since(looked) >= GOOD_FOR);
        let (ended, open): (Vec<_>, Vec<_>) = self.open.iter().partition(|(_, seen)| seen.ended.is_some());
        Plan {
            begin,
            look: leaves_alone || (wants && is_due),
            buckets: read.buckets,
            known: self.known,
            shown: self.shown,
            absorbed: self.absorbed,
            ended: ended.into_iter().map(|(writer, _)| writer.clone()).collect(),
            open: open.into_iter().map(|(writer, seen)| (writer.clone(), seen.since)).collect(),
        }
    }

    fn lowest(&self, buckets: BucketSet) -> i64 {
        buckets.iter().filter_map(|bucket| self.proven.get(usize::from(bucket))).copied().min().unwrap_or(0)
    }

    /// Takes in what a read has shown.
    pub(crate) fn absorb(&mut self, plan: &Plan, shown: &Shown, now: Instant) -> Verdict {
        self.absorbed += 1;
        if let Some(look) = &shown.look {
            if look.drawn != 0 && look.drawn < plan.known {
                // A pooler keeps its connections when the server crashes.
                *self = Self { opened: self.opened, ..Self::default() };
                return Verdict::Again;
            }
            if self.has_missed(plan, &look.writers) {
                return Verdict::Again;
            }
        }
        self.shown = self.shown.max(shown.last.unwrap_or(0));
        let end = if shown.cut { shown.last.unwrap_or(plan.begin) } else { i64::MAX };
        self.prove(plan, end);
        self.forget(plan, end);
        if let Some(look) = &shown.look {
            self.note(plan, &look.writers, now);
            self.looked = Some(now);
            self.known = self.known.max(plan.shown).max(shown.last.unwrap_or(0)).max(look.drawn);
        }
        Verdict::Sound(self.next(plan.buckets, now))
    }

    /// Marks who has ended, and says whether one of them was left alone by this read.
    fn has_missed(&mut self, plan: &Plan, look: &[Writer]) -> bool {
        let mut lowest = None;
        for (writer, since) in plan.open.iter().filter(|(writer, _)| !look.contains(writer)) {
            let mut since = *since;
            // Another read has found it gone, and all that it left, or so it seems.
            if let Some(seen) = self.open.get_mut(writer) {
                since = since.min(seen.since);
                // Another look has seen it since, perhaps a later one than this.
                if seen.seen <= plan.absorbed {
                    seen.ended.get_or_insert(self.absorbed);
                }
            }
            lowest = Some(lowest.map_or(since, |lowest: i64| lowest.min(since)));
        }
        let Some(lowest) = lowest else { return false };
        for writer in look.iter().filter(|writer| is_prepared(writer)) {
            // It may be one of those that are gone, under another name.
            let seen = Seen::new(lowest, Instant::now(), self.absorbed);
            let kept = self.open.entry(writer.clone()).or_insert(seen);
            kept.since = kept.since.min(lowest);
        }
        lowest < plan.begin
    }

    /// All that the last look knew of up to `known` has been shown now, as far as this read went.
    fn prove(&mut self, plan: &Plan, end: i64) {
        let reached = plan.known.min(end);
        for bucket in plan.buckets.iter() {
            if let Some(proven) = self.proven.get_mut(usize::from(bucket))
                && plan.begin <= *proven
            {
                *proven = reached.max(*proven);
            }
        }
    }

    /// What those who had ended before this read have left was shown, as far as it went.
    fn forget(&mut self, plan: &Plan, end: i64) {
        self.asked.push_back(plan.buckets);
        if self.asked.len() > READS_KEPT {
            self.asked.pop_front();
        }
        let asked = self.asked.iter().fold(BucketSet::default(), |all, one| all.union(*one));
        for writer in &plan.ended {
            let Some(seen) = self.open.get_mut(writer) else { continue };
            if seen.ended.is_none_or(|ended| ended > plan.absorbed) {
                // It was there again meanwhile.
                continue;
            }
            if plan.begin <= seen.since {
                if end >= plan.known {
                    seen.owed = seen.owed.without(plan.buckets);
                } else if seen.owed.without(plan.buckets).is_empty() {
                    seen.since = seen.since.max(end);
                }
            }
            if seen.owed.intersection(asked).is_empty() {
                // Whoever has not read for a while, and comes back, begins where it has to.
                for bucket in seen.owed.iter() {
                    if let Some(proven) = self.proven.get_mut(usize::from(bucket)) {
                        *proven = seen.since.min(*proven);
                    }
                }
                self.open.remove(writer);
            }
        }
    }

    fn note(&mut self, plan: &Plan, look: &[Writer], now: Instant) {
        for writer in look {
            let fresh = Seen::new(plan.known, now, self.absorbed);
            let seen = self.open.entry(writer.clone()).or_insert(fresh.clone());
            seen.seen = self.absorbed;
            if seen.ended.is_some() {
                *seen = Seen { since: seen.since.min(fresh.since), ..fresh };
            }
        }
    }

    fn next(&self, buckets: BucketSet, now: Instant) -> i64 {
        let read = Read { buckets, above: i64::MAX, except: Vec::new(), rows_max: 0, bytes_max: 0 };
        self.plan(&read, false, now).begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one after the other, at moments of the test's choosing.
    struct Reads {
        writers: Writers,
        now: Instant,
    }

    impl Reads {
        fn new() -> Self {
            Self { writers: Writers::default(), now: Instant::now() }
        }

        fn plan(&self, above: i64) -> Plan {
            let read = Read { buckets: BucketSet::ALL, above, except: Vec::new(), rows_max: 9, bytes_max: 9 };
            self.writers.plan(&read, false, self.now)
        }

        fn shows(&mut self, plan: &Plan, last: i64, cut: bool, look: &[&str]) -> Verdict {
            self.shows_drawn(plan, last, cut, look, 0)
        }

        fn shows_drawn(&mut self, plan: &Plan, last: i64, cut: bool, look: &[&str], drawn: i64) -> Verdict {
            let writers = look.iter().map(|writer| (*writer).to_owned()).collect();
            let look = plan.look.then_some(Look { drawn, writers });
            let shown = Shown { last: Some(last).filter(|last| *last > 0), cut, look };
            self.writers.absorb(plan, &shown, self.now)
        }

        /// A read that shows up to `last`, all of it, a while after the one before.
        fn read(&mut self, last: i64, look: &[&str]) -> Verdict {
            self.now += GOOD_FOR;
            let plan = self.plan(i64::MAX);
            self.shows(&plan, last, false, look)
        }
    }

    #[test]
    fn a_quiet_table_is_not_looked_at_and_not_read_again() {
        let mut reads = Reads::new();
        assert!(!reads.plan(0).look);
        for last in [10, 10, 10] {
            reads.read(last, &[]);
        }
        let plan = reads.plan(10);
        assert_eq!((plan.begin, plan.look), (10, false));
    }

    #[test]
    fn what_had_been_drawn_before_a_look_is_walked_once() {
        let mut reads = Reads::new();
        reads.read(10, &[]);
        let plan = reads.plan(10);
        reads.shows_drawn(&plan, 20, true, &["3/7"], 1_000);
        // Whoever was there then is still read for; all others have shown what they drew.
        reads.read(30, &[]);
        reads.read(30, &[]);
        for last in [100, 200, 300] {
            let plan = reads.plan(last);
            assert!(!plan.look);
            reads.shows(&plan, last + 100, true, &[]);
            assert_eq!(reads.plan(last + 100).begin, last + 100);
        }
        // Above that nothing is known.
        let plan = reads.plan(400);
        reads.shows(&plan, 1_100, true, &[]);
        reads.now += GOOD_FOR;
        assert_eq!((reads.plan(1_100).begin, reads.plan(1_100).look), (1_000, true));
    }

    #[test]
    fn a_look_is_good_for_a_while_unless_an_old_writer_is_left_alone() {
        let mut reads = Reads::new();
        for look in [&[][..], &[], &["3/7"]] {
            reads.read(10, look);
        }
        let plan = reads.plan(20);
        assert_eq!((plan.begin, plan.look), (10, false));
        reads.shows(&plan, 30, false, &[]);
        reads.now += YOUNG;
        reads.read(30, &["3/7"]);
        reads.read(30, &["3/7"]);
        let plan = reads.plan(30);
        assert_eq!((plan.begin, plan.look), (30, true));
    }

    #[test]
    fn what_one_read_has_shown_is_read_by_the_next_too() {
        let mut reads = Reads::new();
        reads.read(10, &[]);
        reads.read(20, &[]);
        assert_eq!(reads.plan(20).begin, 0);
        reads.read(30, &[]);
        assert_eq!(reads.plan(30).begin, 20);
    }

    #[test]
    fn a_read_that_is_cut_short_proves_no_more_than_it_has_shown() {
        let mut reads = Reads::new();
        reads.read(10, &[]);
        reads.read(20, &[]);
        let plan = reads.plan(20);
        reads.shows(&plan, 15, true, &[]);
        assert_eq!(reads.plan(20).begin, 15);
    }

    #[test]
    fn a_young_writer_is_read_for_until_what_it_left_was_read() {
        let mut reads = Reads::new();
        for _ in 0..3 {
            reads.read(10, &[]);
        }
        reads.read(20, &[]);
        reads.read(20, &["3/7"]);
        for _ in 0..3 {
            assert_eq!(reads.read(30, &["3/7"]), Verdict::Sound(10));
        }
        // It may have ended before this read's snapshot, or after it.
        assert_eq!(reads.read(30, &[]), Verdict::Sound(10));
        assert_eq!(reads.read(30, &[]), Verdict::Sound(30));
    }

    #[test]
    fn a_read_that_misses_an_old_writer_is_made_again() {
        let mut reads = Reads::new();
        for look in [&[][..], &[], &["3/7"], &["3/7"]] {
            reads.read(10, look);
        }
        reads.now += YOUNG * 2;
        assert_eq!(reads.read(20, &["3/7"]), Verdict::Sound(10));
        reads.read(20, &["3/7"]);
        let plan = reads.plan(20);
        assert_eq!((plan.begin, plan.look), (20, true));
        assert_eq!(reads.shows(&plan, 30, false, &[]), Verdict::Again);
        assert!(reads.plan(20).begin <= 10);
    }

    #[test]
    fn a_transaction_that_is_prepared_under_another_name_is_the_same() {
        let mut reads = Reads::new();
        for look in [&[][..], &[], &["3/7"]] {
            reads.read(10, look);
        }
        for last in [20, 30, 40] {
            reads.read(last, &["3/7"]);
        }
        // It was seen after 10 was shown; whatever has the other name may be it.
        for _ in 0..4 {
            reads.read(40, &["-1/99"]);
        }
        assert_eq!(reads.plan(40).begin, 10);
    }

    #[test]
    fn a_transaction_that_two_reads_saw_under_two_names_is_read_for_from_where_it_began() {
        let mut reads = Reads::new();
        for last in [10, 10, 10, 20] {
            reads.read(last, &[]);
        }
        let early = reads.plan(i64::MAX);
        reads.read(30, &[]);
        let late = reads.plan(i64::MAX);
        reads.shows(&early, 20, false, &["3/7"]);
        reads.shows(&late, 30, false, &["-1/99"]);
        for _ in 0..4 {
            reads.read(30, &["-1/99"]);
        }
        assert_eq!(reads.plan(30).begin, 10);
    }

    #[test]
    fn several_reads_on_their_way_take_no_writer_for_gone_that_they_did_not_know() {
        let mut reads = Reads::new();
        reads.read(10, &[]);
        let early = reads.plan(10);
        reads.read(20, &["3/7"]);
        assert_eq!(reads.shows(&early, 10, false, &[]), Verdict::Sound(0));
        assert!(reads.writers.open.values().all(|seen| seen.ended.is_none()));
    }

    #[test]
    fn what_is_read_of_some_buckets_is_not_read_of_others() {
        let mut reads = Reads::new();
        let some: BucketSet = (0..32).collect();
        for _ in 0..4 {
            let mut plan = reads.plan(i64::MAX);
            plan.buckets = some;
            reads.shows(&plan, 10, false, &[]);
        }
        let read = |buckets| Read { buckets, above: 10, except: Vec::new(), rows_max: 9, bytes_max: 9 };
        assert_eq!(reads.writers.plan(&read(some), false, reads.now).begin, 10);
        assert_eq!(reads.writers.plan(&read(BucketSet::ALL), false, reads.now).begin, 0);
    }

    /// `ROLLBACK TO` a savepoint gives the lock up, and the next insert takes it again.
    #[test]
    fn who_comes_back_is_read_for_from_where_it_began() {
        let mut reads = Reads::new();
        let plan = reads.plan(0);
        reads.shows(&plan, 10, true, &[]);
        reads.now += GOOD_FOR;
        let plan = reads.plan(10);
        reads.shows_drawn(&plan, 20, true, &["3/7"], 5_000);
        // It is gone, it is there again and has drawn a number, and then a read is not cut short.
        for (last, look, drawn) in [(30, &[][..], 5_001), (40, &["3/7"], 5_051), (40, &["3/7"], 5_051)] {
            reads.now += GOOD_FOR;
            let plan = reads.plan(last);
            reads.shows_drawn(&plan, last, true, look, drawn);
        }
        for _ in 0..2 {
            reads.now += GOOD_FOR;
            let plan = reads.plan(5_051);
            reads.shows_drawn(&plan, 5_051, false, &["3/7"], 5_052);
        }
        assert!(reads.plan(5_052).begin < 5_002, "{}", reads.plan(5_052).begin);
    }

    #[test]
    fn who_has_not_read_for_long_begins_at_what_somebody_left_who_is_forgotten() {
        let mut reads = Reads::new();
        for _ in 0..3 {
            reads.read(10, &[]);
        }
        let halves: [BucketSet; 2] = [(0..32).collect(), (32..64).collect()];
        let read = |reads: &mut Reads, half: BucketSet, last: i64, look: &[&str]| {
            reads.now += GOOD_FOR;
            let mut plan = reads.plan(i64::MAX);
            plan.buckets = half;
            reads.shows(&plan, last, false, look)
        };
        for last in [20, 40, 40, 40] {
            read(&mut reads, halves[0], last, &["3/7"]);
        }
        let away = {
            let read = Read { buckets: halves[0], above: 40, except: Vec::new(), rows_max: 9, bytes_max: 9 };
            reads.now += YOUNG;
            reads.writers.plan(&read, false, reads.now)
        };
        assert!(away.look && away.begin > 10, "it is left alone: {away:?}");
        for _ in 0..2 * READS_KEPT {
            read(&mut reads, halves[1], 60, &[]);
        }
        assert!(reads.writers.open.is_empty());
        let seen = Shown { last: Some(60), cut: false, look: Some(Look { drawn: 0, writers: Vec::new() }) };
        assert_eq!(reads.writers.absorb(&away, &seen, reads.now), Verdict::Again);
        let again = Read { buckets: halves[0], above: 40, except: Vec::new(), rows_max: 9, bytes_max: 9 };
        assert!(reads.writers.plan(&again, false, reads.now).begin <= 10);
    }

    #[test]
    fn numbers_that_a_crash_takes_back_are_known_no_more() {
        let mut reads = Reads::new();
        for _ in 0..3 {
            reads.read(10, &[]);
        }
        for _ in 0..2 {
            reads.now += GOOD_FOR;
            let plan = reads.plan(10);
            reads.shows_drawn(&plan, 20, false, &["3/7"], 1_000);
        }
        reads.now += GOOD_FOR;
        reads.writers.of_life(0);
        let plan = reads.plan(20);
        assert!(plan.look && plan.begin > 0);
        assert_eq!(reads.shows_drawn(&plan, 20, false, &[], 21), Verdict::Again);
        assert_eq!(reads.plan(20).begin, 0);
        reads.read(20, &[]);
        reads.writers.of_life(1);
        assert_eq!((reads.plan(20).begin, reads.writers.open.len()), (0, 0));
    }
}
