//! The machine's rules, one by one.

use super::*;
use crate::integration::{Answer, OnDeadLetter};
use crate::port::{Asked, Lease, Settlement};

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

/// A machine under test, its clock, and what it last asked for.
struct Bench {
    relay: Relay,
    now: Duration,
    out: Vec<Output>,
}

impl Bench {
    /// It has leased all buckets, and has asked for its first read.
    fn new(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let mut bench = Self { relay: Relay::new(options), now: Duration::ZERO, out: Vec::new() };
        assert!(matches!(bench.on(Input::Tick)[..], [Output::Lease(Asked { most: 64, .. })]));
        let out = bench.on(Input::Leased(leases(1)));
        let begins = |output: &Output| matches!(output, Output::Read(Read { above: 0, rows_max: 1_000, .. }));
        assert!(out.iter().any(begins), "{out:?}");
        bench
    }

    fn on(&mut self, input: Input) -> Vec<Output> {
        self.out.clear();
        self.relay.on(self.now, input, &mut self.out);
        self.out.clone()
    }

    /// Time passes; it is asked whenever it wants to be.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut all = Vec::new();
        while self.relay.wake_at() <= until {
            self.now = self.now.max(self.relay.wake_at());
            all.extend(self.on(Input::Tick));
        }
        self.now = until;
        all.extend(self.on(Input::Tick));
        all
    }

    fn read(&mut self, rows: &[(i64, &str)]) -> Vec<Output> {
        self.on(found(rows.iter().map(|(seq, key)| row(*seq, key, 0)).collect()))
    }

    fn answer(&mut self, ticket: u64, answer: Answer) -> Vec<Output> {
        self.on(Input::Answered(vec![(ticket, answer)]))
    }
}

fn leases(epoch: i64) -> Leased {
    Leased { leases: (0..64).map(|bucket| Lease { bucket, epoch }).collect(), relays: 1 }
}

fn found(rows: Vec<Row>) -> Input {
    Input::Found { rows, floor: i64::MAX, generation: 0 }
}

fn row(seq: i64, key: &str, attempts: u32) -> Row {
    let bucket = key.len() as u8;
    let key = Key { name: key.into(), source: "https://shop.example".into() };
    Row { seq, bucket, attempts, bytes: 500, key, r#type: "com.example.shop.v1".into() }
}

/// What is published, batch by batch.
fn batches(out: &[Output]) -> Vec<Vec<i64>> {
    let batch = |output: &Output| match output {
        Output::Publish(batch) => Some(batch.iter().map(|sent| sent.seq).collect()),
        _ => None,
    };
    out.iter().filter_map(batch).collect()
}

fn ticket(out: &[Output], seq: i64) -> u64 {
    let sent = out.iter().find_map(|output| match output {
        Output::Publish(batch) => batch.iter().find(|sent| sent.seq == seq),
        _ => None,
    });
    sent.unwrap_or_else(|| panic!("{seq} is not published in {out:?}")).ticket
}

fn settlement(out: &[Output]) -> Option<Settlement> {
    out.iter().find_map(|output| match output {
        Output::Settle(_, settlement) => Some(settlement.clone()),
        _ => None,
    })
}

fn asks(out: &[Output]) -> bool {
    out.iter().any(|output| matches!(output, Output::Lease(_)))
}

fn reads(out: &[Output]) -> usize {
    out.iter().filter(|output| matches!(output, Output::Read(_))).count()
}

#[test]
fn of_a_key_one_envelope_is_on_its_way_and_other_keys_do_not_wait_for_it() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a"), (2, "a"), (3, "b")]);
    assert_eq!(batches(&out), [[1, 3]]);
    assert_eq!(bench.relay.waiting(), 1);
    let b = ticket(&out, 3);
    assert!(batches(&bench.answer(b, Answer::Confirmed)).is_empty());
    let out = bench.answer(ticket(&out, 1), Answer::Confirmed);
    assert_eq!(batches(&out), [[2]]);
}

#[test]
fn a_bus_that_stops_at_the_first_failure_takes_several_of_a_key_but_in_one_batch() {
    let mut bench = Bench::new(|o| o.fail_stop = true);
    let out = bench.read(&[(1, "a"), (2, "b"), (3, "a")]);
    assert_eq!(batches(&out), [[1, 3, 2]]);
    bench.on(Input::Hint);
    let out_of_more = bench.read(&[(4, "a"), (5, "c")]);
    assert_eq!(batches(&out_of_more), [[5]], "4 waits for the batch of its key");
    bench.answer(ticket(&out, 1), Answer::Confirmed);
    assert_eq!(batches(&bench.answer(ticket(&out, 3), Answer::Confirmed)), [[4]]);
}

#[test]
fn an_outcome_is_judged_by_the_first_that_failed_whatever_the_order_of_the_answers() {
    let mut bench = Bench::new(|o| o.fail_stop = true);
    let out = bench.read(&[(1, "a"), (2, "a"), (3, "a")]);
    assert_eq!(batches(&out), [[1, 2, 3]]);
    let tickets = [3, 2, 1].map(|seq| ticket(&out, seq));
    bench.answer(tickets[0], Answer::Refused("behind".into()));
    bench.answer(tickets[1], Answer::Refused("no".into()));
    let out = bench.answer(tickets[2], Answer::Confirmed);
    let settlement = settlement(&out).unwrap();
    assert_eq!(settlement.confirmed, [1]);
    assert_eq!((settlement.failed[0].seq, settlement.failed[0].attempts), (2, 1));
    assert_eq!(settlement.failed.len(), 1);
}

#[test]
fn confirmed_rows_share_a_settlement_and_none_waits_longer_than_the_delay() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a"), (2, "b"), (3, "c")]);
    let [a, b, c] = [1, 2, 3].map(|seq| ticket(&out, seq));
    assert_eq!(settlement(&bench.answer(a, Answer::Confirmed)), None);
    assert_eq!(settlement(&bench.answer(b, Answer::Confirmed)), None);
    assert_eq!(settlement(&bench.pass(MILLIS(19))), None);
    assert_eq!(settlement(&bench.pass(MILLIS(1))).unwrap().confirmed, [1, 2]);
    // One at a time, although nothing is unanswered any more.
    assert_eq!(settlement(&bench.answer(c, Answer::Confirmed)), None);
    assert_eq!(settlement(&bench.on(Input::Settled(2))), None);
    assert_eq!(settlement(&bench.pass(MILLIS(19))), None);
    assert_eq!(settlement(&bench.pass(MILLIS(1))).unwrap().confirmed, [3]);
}

#[test]
fn what_is_confirmed_alone_is_settled_at_once_where_nothing_was_settled_lately() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a")]);
    assert_eq!(settlement(&bench.answer(ticket(&out, 1), Answer::Confirmed)).unwrap().confirmed, [1]);
    bench.on(Input::Settled(1));
    bench.on(found(Vec::new()));
    bench.pass(MILLIS(20));
    bench.on(found(Vec::new()));
    bench.on(Input::Hint);
    let out = bench.read(&[(2, "b")]);
    assert_eq!(settlement(&bench.answer(ticket(&out, 2), Answer::Confirmed)).unwrap().confirmed, [2]);
}

#[test]
fn only_a_refusal_counts_as_an_attempt_and_the_last_one_gives_the_row_up() {
    for (answer, failed) in
        [(Answer::Unknown("?".into()), 0), (Answer::Unroutable, 0), (Answer::Refused("no".into()), 1)]
    {
        let mut bench = Bench::new(|_| {});
        let out = bench.read(&[(1, "a")]);
        let out = bench.answer(ticket(&out, 1), answer);
        assert_eq!(settlement(&out).map_or(0, |settlement| settlement.failed.len()), failed);
    }
    let mut bench =
        Bench::new(|o| _ = o.on_dead_letter.insert("com.example.shop.v1".into(), OnDeadLetter::Skip));
    let out = bench.on(found(vec![row(1, "a", 24)]));
    let out = bench.answer(ticket(&out, 1), Answer::Refused("no".into()));
    let given_up = &settlement(&out).unwrap().given_up[0];
    assert_eq!((given_up.attempts, given_up.policy), (25, OnDeadLetter::Skip));
}

#[test]
fn a_row_in_hand_is_recognised_when_it_is_read_again() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a"), (2, "a")]);
    assert_eq!(batches(&out), [[1]]);
    assert_eq!(reads(&bench.on(Input::Hint)) + reads(&out), 1);
    let out = bench.read(&[(1, "a"), (2, "a")]);
    assert!(batches(&out).is_empty());
    assert_eq!(bench.relay.waiting(), 1);
}

#[test]
fn a_row_that_was_settled_while_a_read_was_on_its_way_is_not_published_again() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a")]);
    let a = ticket(&out, 1);
    assert_eq!(reads(&bench.on(Input::Hint)) + reads(&out), 1, "the second read saw the row");
    bench.answer(a, Answer::Confirmed);
    bench.on(Input::Settled(1));
    assert!(batches(&bench.read(&[(1, "a")])).is_empty());
}

#[test]
fn f_42_without_a_renewal_publishing_stops_when_the_lease_counted_from_its_asking_is_over() {
    let mut bench = Bench::new(|options| options.publish_deadline = Duration::MAX);
    let out = bench.read(&[(1, "a"), (2, "a")]);
    let a = ticket(&out, 1);
    assert!(asks(&bench.pass(MILLIS(3_000))));
    bench.pass(MILLIS(6_000));
    // That was long on its way. The next is asked for, and nobody answers.
    assert!(asks(&bench.on(Input::Leased(leases(1)))));
    let lost = Output::Report(Report::LeasesLost(64));
    assert!(!bench.pass(MILLIS(3_999)).contains(&lost));
    assert!(bench.pass(MILLIS(1)).contains(&lost));
    assert_eq!(bench.relay.waiting(), 0);
    let out = bench.answer(a, Answer::Confirmed);
    assert!(batches(&out).is_empty() && settlement(&out).is_none(), "{out:?}");
}

#[test]
fn rows_of_a_bucket_under_a_new_epoch_are_forgotten_and_wait_for_what_is_unanswered() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a"), (2, "a")]);
    let a = ticket(&out, 1);
    bench.on(found(Vec::new()));
    bench.pass(MILLIS(3_000));
    bench.on(found(Vec::new()));
    bench.on(Input::Leased(leases(2)));
    assert_eq!(bench.relay.waiting(), 0);
    let out = bench.read(&[(1, "a"), (2, "a")]);
    assert!(batches(&out).is_empty(), "the first try is still on its way: {out:?}");
    let out = bench.answer(a, Answer::Confirmed);
    assert_eq!(batches(&out), [[1]], "its answer belongs to a lease that is over");
}

#[test]
fn a_settlement_that_changed_too_little_asks_for_the_leases_at_once() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a")]);
    assert!(settlement(&bench.answer(ticket(&out, 1), Answer::Confirmed)).is_some());
    assert!(asks(&bench.on(Input::Settled(0))));
}

#[test]
fn while_the_bus_gives_no_answers_nothing_is_published_and_nothing_is_read() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a"), (2, "b")]);
    let [a, b] = [1, 2].map(|seq| ticket(&out, seq));
    bench.answer(a, Answer::Unknown("gone".into()));
    let wake = bench.relay.wake_at();
    let out = bench.answer(b, Answer::Unknown("gone".into()));
    assert!(batches(&out).is_empty() && reads(&out) == 0);
    assert!(wake > bench.now && wake <= bench.now + MILLIS(200), "{wake:?}");
}

#[test]
fn f_26_the_window_bounds_what_is_read_and_it_goes_on_when_there_is_room() {
    let mut bench = Bench::new(|o| (o.window.rows, o.batch.rows) = (1_000, 1_000));
    let rows: Vec<Row> =
        (1..=1_000).map(|n| row(n, &format!("{:0w$}", n, w = n as usize % 60 + 4), 0)).collect();
    let out = bench.on(found(rows));
    assert_eq!(batches(&out).iter().map(Vec::len).sum::<usize>(), 1_000);
    assert_eq!(reads(&out) + reads(&bench.on(Input::Hint)), 0, "the window is full");
    let answers = (1..=1_000).map(|n| (ticket(&out, n), Answer::Confirmed)).collect();
    bench.on(Input::Answered(answers));
    assert_eq!(reads(&bench.on(Input::Settled(1_000))), 1);
}

#[test]
fn a_hint_is_read_at_once_and_an_idle_relay_polls_more_and_more_slowly() {
    let mut bench = Bench::new(|_| {});
    let mut pauses = Vec::new();
    for _ in 0..8 {
        bench.read(&[]);
        let wake = bench.relay.wake_at();
        pauses.push(wake.saturating_sub(bench.now));
        bench.now = wake;
        let out = bench.on(Input::Tick);
        if asks(&out) {
            bench.on(Input::Leased(leases(1)));
        }
    }
    assert!(pauses.iter().all(|pause| *pause >= MILLIS(20) && *pause <= MILLIS(1_000)), "{pauses:?}");
    assert!(pauses.is_sorted() || pauses.contains(&MILLIS(1_000)), "{pauses:?}");
    bench.read(&[]);
    assert_eq!(reads(&bench.on(Input::Hint)), 1);
}

#[test]
fn a_shutdown_publishes_nothing_more_and_ends_when_all_is_answered_written_and_given_back() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a"), (2, "a")]);
    let a = ticket(&out, 1);
    if reads(&out) == 1 {
        bench.read(&[]);
    }
    assert!(bench.on(Input::Shutdown).is_empty());
    let out = bench.answer(a, Answer::Confirmed);
    assert!(batches(&out).is_empty());
    assert_eq!(settlement(&out).unwrap().confirmed, [1]);
    assert!(bench.on(Input::Settled(1)).contains(&Output::Release));
    assert!(bench.on(Input::Released).contains(&Output::Done));
    assert!(bench.on(Input::Hint).is_empty(), "it is over");
}

#[test]
fn numbers_that_never_come_to_an_end_overflow_nothing() {
    let mut bench = Bench::new(|options| {
        (options.lease, options.renew, options.shutdown) = (Duration::MAX, Duration::MAX, Duration::MAX);
        (options.poll_most, options.rescan) = (Duration::MAX, Duration::MAX);
    });
    bench.now += MILLIS(1);
    let a = ticket(&bench.read(&[(1, "a")]), 1);
    bench.now += MILLIS(1);
    bench.read(&[]);
    bench.on(Input::Shutdown);
    bench.answer(a, Answer::Confirmed);
    assert!(bench.on(Input::Settled(1)).contains(&Output::Release));
}

#[test]
fn f_54_an_answer_that_does_not_come_is_taken_for_unknown_and_a_late_one_changes_nothing() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, "a"), (2, "a"), (3, "b")]);
    let (a, b) = (ticket(&out, 1), ticket(&out, 3));
    bench.answer(b, Answer::Confirmed);
    bench.on(Input::Settled(1));
    for _ in 0..3 {
        bench.pass(MILLIS(3_000));
        bench.on(Input::Leased(leases(1)));
    }
    assert_eq!(bench.relay.hand.rows.unanswered(), 1);
    let out = bench.pass(MILLIS(1_000));
    assert!(out.iter().any(|output| matches!(output, Output::Report(Report::Unreachable(_)))), "{out:?}");
    assert!(batches(&bench.answer(a, Answer::Confirmed)).is_empty());
    assert!(settlement(&bench.pass(MILLIS(500))).is_none(), "a late answer is no confirmation");
    bench.read(&[]);
    let again = bench.read(&[(1, "a"), (2, "a")]);
    assert_eq!(batches(&again), [[1]]);
}

#[test]
fn what_was_put_back_below_is_read_before_anything_younger_of_its_key() {
    let mut bench = Bench::new(|_| {});
    bench.read(&[(5, "a")]);
    bench.on(Input::Hint);
    let rows = vec![row(9, "b", 0)];
    let out = bench.on(Input::Found { rows, floor: i64::MAX, generation: 1 });
    assert!(batches(&out).is_empty(), "an older one of its key may have been put back");
    let again = out.iter().find_map(|output| match output {
        Output::Read(read) => Some(read.above),
        _ => None,
    });
    assert_eq!(again, Some(0));
    let rows = vec![row(3, "b", 0), row(9, "b", 0)];
    assert_eq!(batches(&bench.on(Input::Found { rows, floor: i64::MAX, generation: 1 })), [[3]]);
}

#[test]
fn a_store_that_begins_lower_is_told_what_is_in_hand() {
    let mut bench = Bench::new(|options| options.rescan = MILLIS(60_000));
    let rows = vec![row(5, "a", 0), row(7, "b", 0), row(9, "c", 0)];
    let mut out = bench.on(Input::Found { rows, floor: 6, generation: 0 });
    let mut tail = None;
    for _ in 0..3 {
        tail = tail.or(out.iter().find_map(|output| match output {
            Output::Read(read) if read.above == 9 => Some(read.except.clone()),
            _ => None,
        }));
        out = bench.on(Input::Found { rows: Vec::new(), floor: 6, generation: 0 });
        out.extend(bench.on(Input::Hint));
    }
    assert_eq!(tail, Some(vec![7, 9]));
}

#[test]
fn a_read_from_the_start_is_not_shown_what_is_in_hand() {
    let mut bench = Bench::new(|_| {});
    let rows: Vec<Row> = (1..=1_000).map(|seq| row(seq, &seq.to_string(), 0)).collect();
    bench.on(found(rows));
    bench.on(found(Vec::new()));
    let out = bench.pass(MILLIS(100));
    let sweep = out.iter().find_map(|output| match output {
        Output::Read(read) if read.above == 0 => Some(read.except.clone()),
        _ => None,
    });
    assert_eq!(sweep, Some((1..=1_000).collect()));
}

#[test]
fn a_second_relay_gets_its_share_of_buckets_when_nothing_of_them_is_on_its_way() {
    let mut bench = Bench::new(|_| {});
    let out = bench.read(&[(1, &"k".repeat(40)), (2, &"k".repeat(3))]);
    let (far, near) = (ticket(&out, 1), ticket(&out, 2));
    let mut shared = leases(1);
    shared.relays = 2;
    let out = bench.pass(MILLIS(3_000));
    assert!(asks(&out), "{out:?}");
    let out = bench.on(Input::Leased(shared));
    let asked = |out: &[Output]| {
        out.iter().find_map(|output| match output {
            Output::Lease(asked) => Some((asked.most, asked.give_back)),
            _ => None,
        })
    };
    let upper: BucketSet = (32..64).collect();
    let busy: BucketSet = [40].into_iter().collect();
    assert_eq!(asked(&out), Some((32, upper.without(busy))), "bucket 40 has something on its way");
    let half =
        Leased { leases: (0..33).chain([40]).map(|bucket| Lease { bucket, epoch: 1 }).collect(), relays: 2 };
    bench.on(Input::Leased(Leased {
        leases: half.leases.into_iter().filter(|l| l.bucket != 32).collect(),
        ..half
    }));
    bench.answer(near, Answer::Confirmed);
    bench.answer(far, Answer::Confirmed);
    let out = bench.on(Input::Settled(2));
    assert_eq!(asked(&out), Some((32, busy)));
}

#[test]
fn when_the_other_relay_is_gone_its_buckets_are_taken_at_once() {
    let mut bench = Bench::new(|_| {});
    bench.read(&[]);
    let half = |relays| Leased { leases: (0..32).map(|bucket| Lease { bucket, epoch: 2 }).collect(), relays };
    bench.pass(MILLIS(3_000));
    bench.on(Input::Leased(half(2)));
    bench.pass(MILLIS(1_000));
    let out = bench.on(Input::Leased(half(1)));
    assert!(out.iter().any(|output| matches!(output, Output::Lease(Asked { most: 64, .. }))), "{out:?}");
}
