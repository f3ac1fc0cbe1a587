//! Where reads begin, by what the reads and looks before them have shown.

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
