//! The machine alone: rule by rule, then all of them under random arrivals and failures.

use std::time::Duration;

use super::{Arrival, Ending, Input, Lane, Lanes, LanesOptions, Occurrence, Output};
use crate::integration::OnDeadLetter;

mod random;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn arrival(token: u64, lane: u64) -> Arrival {
    Arrival { token, lane: Lane(lane), event: Occurrence(token), attempt: 1, bytes: 100, released: false }
}

/// A machine, its clock, and what it asked for and nobody answered.
struct Bench {
    lanes: Lanes,
    now: Duration,
}

impl Bench {
    fn new(change: impl FnOnce(&mut LanesOptions)) -> Self {
        let mut options = LanesOptions::default();
        change(&mut options);
        let mut bench = Self { lanes: Lanes::new(options, 7), now: Duration::ZERO };
        let asked = bench.tell(Input::Tick);
        assert_eq!(asked, [Output::Fetch { room: bench.room() }, Output::Look { room: bench.room() }]);
        bench
    }

    fn room(&self) -> usize {
        256
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.lanes.handle(self.now, input, &mut outputs);
        outputs
    }

    /// What it does, but for its questions to bus and store.
    fn does(&mut self, input: Input) -> Vec<Output> {
        let asks = |output: &Output| matches!(output, Output::Fetch { .. } | Output::Look { .. });
        self.tell(input).into_iter().filter(|output| !asks(output)).collect()
    }

    fn arrive(&mut self, arrivals: impl IntoIterator<Item = Arrival>) -> Vec<Output> {
        self.does(Input::Arrived(arrivals.into_iter().collect()))
    }

    fn end(&mut self, batch: u64, ending: Ending) -> Vec<Output> {
        self.does(Input::Ended { batch, ending })
    }

    fn fail(&mut self, batch: u64, attempts: u32) -> Vec<Output> {
        self.end(batch, failed(attempts))
    }

    /// Lets time pass until the machine wants to be told.
    fn wait(&mut self) -> Vec<Output> {
        self.now = self.now.max(self.lanes.wait_until().expect("it waits for nothing"));
        self.does(Input::Tick)
    }
}

fn failed(attempts: u32) -> Ending {
    Ending::Failed { attempts, reason: "no".into() }
}

fn tries(batch: u64, tokens: impl Into<Vec<u64>>) -> Output {
    Output::Try { batch, tokens: tokens.into(), count_before: false, released: false }
}

fn counted(batch: u64, token: u64) -> Output {
    Output::Try { batch, tokens: vec![token], count_before: true, released: false }
}

fn nacked(outputs: &[Output]) -> Vec<u64> {
    let token = |output: &Output| match output {
        Output::Nack { token, .. } => Some(*token),
        _ => None,
    };
    outputs.iter().filter_map(token).collect()
}

#[test]
fn a_batch_takes_what_is_ready_and_waits_for_nothing() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.arrive([arrival(1, 1)]), [tries(1, [1])]);
    assert_eq!(bench.arrive([arrival(2, 2), arrival(3, 3), arrival(4, 2)]), []);
    assert_eq!(bench.end(1, Ending::Committed), [Output::Ack(vec![1]), tries(2, [2, 4, 3])]);
}

#[test]
fn two_batches_never_have_deliveries_of_one_lane() {
    let mut bench = Bench::new(|options| (options.concurrent, options.batch_max) = (2, 2));
    let outputs = bench.arrive([arrival(1, 1), arrival(2, 1), arrival(3, 1), arrival(4, 2)]);
    assert_eq!(outputs, [tries(1, [1, 2]), tries(2, [4])]);
    assert_eq!(bench.end(2, Ending::Committed), [Output::Ack(vec![4])]);
    assert_eq!(bench.end(1, Ending::Committed), [Output::Ack(vec![1, 2]), tries(3, [3])]);
}

#[test]
fn the_same_event_is_never_twice_in_a_batch() {
    let mut bench = Bench::new(|_| {});
    let copy = Arrival { token: 2, ..arrival(1, 1) };
    assert_eq!(bench.arrive([arrival(1, 1), copy, arrival(3, 1)]), [tries(1, [1])]);
    assert_eq!(bench.end(1, Ending::Committed), [Output::Ack(vec![1]), tries(2, [2, 3])]);
}

#[test]
fn a_batch_that_fails_is_taken_apart_and_each_is_tried_alone_in_lane_order() {
    let mut bench = Bench::new(|_| {});
    bench.arrive([arrival(1, 9)]);
    bench.arrive([arrival(2, 1), arrival(3, 1), arrival(4, 2)]);
    assert_eq!(bench.end(1, Ending::Committed)[1..], [tries(2, [2, 3, 4])]);
    assert_eq!(bench.fail(2, 0), [tries(3, [2])]);
    assert_eq!(bench.end(3, Ending::Committed), [Output::Ack(vec![2]), tries(4, [4])]);
    assert_eq!(bench.end(4, Ending::Committed), [Output::Ack(vec![4]), tries(5, [3])]);
    assert_eq!(bench.end(5, Ending::Committed), [Output::Ack(vec![3])]);
    assert_eq!(bench.lanes.in_hand(), 0);
}

#[test]
fn trouble_halves_the_batches_and_success_doubles_them() {
    let mut bench = Bench::new(|options| options.batch_max = 8);
    let mut sizes = Vec::new();
    let mut outputs = bench.arrive((1..=100).map(|token| arrival(token, token)));
    for ending in [Ending::Later, Ending::Later, Ending::Committed, Ending::Committed, Ending::Committed] {
        let Some(Output::Try { batch, tokens, .. }) = outputs.pop() else { panic!("no batch: {outputs:?}") };
        sizes.push(tokens.len());
        outputs = bench.end(batch, ending);
        while !matches!(outputs.last(), Some(Output::Try { .. })) {
            outputs = bench.wait();
        }
    }
    assert_eq!(sizes, [8, 4, 2, 4, 8]);
}

#[test]
fn a_batch_that_takes_too_long_makes_the_next_one_smaller() {
    let mut bench = Bench::new(|options| options.batch_max = 8);
    bench.arrive((1..=20).map(|token| arrival(token, token)));
    bench.now = millis(1_001);
    assert_eq!(bench.end(1, Ending::Committed)[1..], [tries(2, [9, 10, 11, 12])]);
}

#[test]
fn a_failed_delivery_stays_away_with_backoff_and_its_lane_behind_it_while_others_go_on() {
    let mut bench = Bench::new(|options| options.batch_max = 1);
    bench.arrive([arrival(1, 1), arrival(2, 1), arrival(3, 1), arrival(4, 2)]);
    let outputs = bench.fail(1, 3);
    assert_eq!(nacked(&outputs), [1, 2, 3]);
    let waits: Vec<_> = outputs
        .iter()
        .filter_map(|output| if let Output::Nack { after, .. } = output { Some(*after) } else { None })
        .collect();
    assert!(waits[0] <= millis(800) && waits.iter().all(|wait| *wait == waits[0]), "{waits:?}");
    assert_eq!(outputs.last(), Some(&tries(2, [4])));
}

#[test]
fn from_the_second_delivery_on_an_attempt_is_counted_before_it_is_made_and_alone() {
    let mut bench = Bench::new(|_| {});
    let again = Arrival { attempt: 2, ..arrival(2, 2) };
    assert_eq!(bench.arrive([arrival(1, 1), again, arrival(3, 3)]), [tries(1, [1])]);
    assert_eq!(bench.end(1, Ending::Committed)[1..], [counted(2, 2)]);
    assert_eq!(bench.end(2, Ending::Committed)[1..], [tries(3, [3])]);
}

#[test]
fn on_a_bus_that_does_not_count_what_a_crash_may_have_left_is_counted_before_it_is_tried() {
    let mut bench = Bench::new(|options| options.counts_attempts = false);
    assert_eq!(bench.arrive([arrival(1, 1)]), [counted(1, 1)]);
    for token in 2..=256 {
        bench.end(token - 1, Ending::Committed);
        assert_eq!(bench.arrive([arrival(token, token)]), [counted(token, token)]);
    }
    bench.end(256, Ending::Committed);
    assert_eq!(bench.arrive([arrival(257, 1)]), [tries(257, [257])]);
    assert_eq!(nacked(&bench.fail(257, 1)), [257]);
    assert_eq!(bench.arrive([Arrival { token: 258, ..arrival(257, 1) }]), [counted(258, 258)]);
}

#[test]
fn when_its_attempts_are_used_up_a_delivery_is_settled_only_after_it_was_kept() {
    let mut bench = Bench::new(|_| {});
    bench.arrive([arrival(1, 1), arrival(2, 1)]);
    bench.fail(1, 0);
    let gives_up = Output::GiveUp { token: 1, attempts: 10, reason: "no".into() };
    assert_eq!(bench.fail(2, 10), [gives_up]);
    let outputs = bench.does(Input::GaveUp { token: 1, kept: true });
    assert_eq!(outputs, [Output::Reject { token: 1, reason: "no".into() }, tries(3, [2])]);
}

#[test]
fn a_dead_letter_that_could_not_be_kept_is_neither_settled_nor_tried_and_comes_up_again() {
    let mut bench = Bench::new(|_| {});
    bench.arrive([arrival(1, 1)]);
    let gives_up = Output::GiveUp { token: 1, attempts: 10, reason: "no".into() };
    assert_eq!(bench.fail(1, 10), std::slice::from_ref(&gives_up));
    assert_eq!(bench.does(Input::GaveUp { token: 1, kept: false }), []);
    assert_eq!(bench.wait(), [gives_up]);
}

#[test]
fn what_took_its_process_with_it_too_often_is_given_up_untried() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.arrive([Arrival { attempt: 12, ..arrival(1, 1) }]), [counted(1, 1)]);
    let outputs = bench.end(1, Ending::Exhausted { attempts: 10 });
    assert!(matches!(&*outputs, [Output::GiveUp { token: 1, attempts: 10, .. }]), "{outputs:?}");
}

#[test]
fn what_is_not_the_envelopes_fault_rests_everything_and_counts_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.arrive([arrival(1, 1)]);
    assert_eq!(bench.arrive([arrival(2, 2)]), []);
    for batch in 1..=50 {
        assert_eq!(bench.end(batch, Ending::Later), []);
        let begun = bench.now;
        let mut outputs = bench.wait();
        while outputs.is_empty() {
            outputs = bench.wait();
        }
        assert!(bench.now - begun <= Duration::from_secs(10), "rested {:?}", bench.now - begun);
        assert!(matches!(&*outputs, [Output::Try { count_before: false, .. }]), "{outputs:?}");
    }
}

#[test]
fn no_more_is_in_hand_than_the_prefetch_allows() {
    let mut bench = Bench::new(|_| {});
    let outputs = bench.tell(Input::Arrived((1..=200).map(|token| arrival(token, token)).collect()));
    assert_eq!(outputs[1..], [Output::Fetch { room: 56 }]);
    let outputs = bench.tell(Input::Arrived((201..=256).map(|token| arrival(token, token)).collect()));
    assert_eq!(outputs, []);
    let outputs = bench.tell(Input::Ended { batch: 1, ending: Ending::Committed });
    assert_eq!(outputs[2..], [Output::Fetch { room: 128 }]);
}

#[test]
fn nothing_is_asked_for_while_too_many_bytes_are_in_hand() {
    let mut bench = Bench::new(|options| options.prefetch_bytes = 1_000);
    let outputs = bench.tell(Input::Arrived(vec![Arrival { bytes: 1_000, ..arrival(1, 1) }]));
    assert_eq!(outputs, [tries(1, [1])]);
    let outputs = bench.tell(Input::Ended { batch: 1, ending: Ending::Committed });
    assert_eq!(outputs, [Output::Ack(vec![1]), Output::Fetch { room: 256 }]);
}

#[test]
fn a_bus_that_cannot_be_reached_is_asked_again_with_backoff() {
    let mut bench = Bench::new(|options| options.look = Duration::from_secs(1 << 20));
    bench.tell(Input::Looked { halted: false, released: vec![] });
    for _ in 0..100 {
        assert_eq!(bench.tell(Input::FetchFailed), []);
        let until = bench.lanes.wait_until().unwrap();
        assert!(until <= bench.now + Duration::from_secs(10), "{until:?}");
        bench.now = until;
        assert_eq!(bench.tell(Input::Tick), [Output::Fetch { room: 256 }]);
    }
}

#[test]
fn a_released_envelope_is_counted_and_tried_alone_once_at_a_time() {
    let mut bench = Bench::new(|_| {});
    let released = Arrival { released: true, ..arrival(1, 1) };
    let outputs = bench.does(Input::Looked { halted: false, released: vec![released] });
    assert_eq!(outputs, [Output::Try { batch: 1, tokens: vec![1], count_before: true, released: true }]);
    bench.now = Duration::from_secs(1);
    assert_eq!(bench.tell(Input::Tick), [Output::Look { room: 256 }]);
    let again = Arrival { token: 2, ..released };
    let outputs = bench.does(Input::Looked { halted: false, released: vec![again] });
    assert_eq!(nacked(&outputs), [2]);
    let outputs = bench.tell(Input::Ended { batch: 1, ending: Ending::Committed });
    assert_eq!(
        outputs,
        [Output::Ack(vec![1]), Output::Look { room: 256 }],
        "what stands behind it is looked for"
    );
}

#[test]
fn a_released_envelope_that_failed_is_not_tried_before_its_backoff_is_over() {
    let mut bench = Bench::new(|_| {});
    let released = |token| Arrival { token, released: true, ..arrival(1, 1) };
    bench.does(Input::Looked { halted: false, released: vec![released(1)] });
    let outputs = bench.fail(1, 9);
    let [Output::Nack { token: 1, after }] = *outputs else { panic!("{outputs:?}") };
    bench.tell(Input::Tick);
    bench.now = after - millis(1);
    assert_eq!(nacked(&bench.does(Input::Looked { halted: false, released: vec![released(2)] })), [2]);
    bench.now = after;
    let outputs = bench.does(Input::Looked { halted: false, released: vec![released(3)] });
    assert!(matches!(&*outputs, [Output::Try { released: true, .. }]), "{outputs:?}");
}

#[test]
fn a_halted_subscription_takes_nothing_and_holds_nothing_until_it_is_resumed() {
    let mut bench = Bench::new(|options| (options.policy, options.batch_max) = (OnDeadLetter::Halt, 1));
    bench.arrive([arrival(1, 1), arrival(2, 2), arrival(3, 3)]);
    bench.fail(1, 10);
    let outputs = bench.does(Input::GaveUp { token: 1, kept: true });
    assert_eq!(outputs[0], Output::Reject { token: 1, reason: "no".into() });
    assert_eq!(nacked(&outputs), [3], "2 is being tried");
    assert_eq!(bench.end(2, Ending::Committed), [Output::Ack(vec![2])]);
    assert_eq!(nacked(&bench.arrive([arrival(4, 4)])), [4]);
    assert_eq!(
        bench.does(Input::Looked { halted: false, released: vec![] }),
        [],
        "it looked before the halt"
    );
    assert!(bench.lanes.is_halted());
    assert_eq!(bench.tell(Input::Looked { halted: true, released: vec![] }), []);
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.tell(Input::Tick), [Output::Look { room: 256 }]);
    let outputs = bench.tell(Input::Looked { halted: false, released: vec![] });
    assert_eq!(outputs, [Output::Fetch { room: 256 }]);
}

#[test]
fn shutdown_hands_back_what_is_not_begun_and_waits_for_what_is() {
    let mut bench = Bench::new(|options| options.batch_max = 1);
    bench.arrive([arrival(1, 1), arrival(2, 1), arrival(3, 2)]);
    assert_eq!(nacked(&bench.tell(Input::Shutdown)), [2, 3]);
    assert_eq!(nacked(&bench.tell(Input::Arrived(vec![arrival(4, 4)]))), [4]);
    let outputs = bench.tell(Input::Ended { batch: 1, ending: Ending::Committed });
    assert_eq!(outputs, [Output::Ack(vec![1]), Output::Done]);
    assert_eq!(bench.lanes.wait_until(), None);
}

#[test]
fn shutdown_waits_no_longer_than_its_grace() {
    let mut bench = Bench::new(|options| options.concurrent = 2);
    bench.arrive([arrival(1, 1), arrival(2, 2)]);
    bench.tell(Input::Shutdown);
    assert_eq!(bench.lanes.wait_until(), Some(Duration::from_secs(10)));
    let outputs = bench.wait();
    let back = |token| Output::Nack { token, after: Duration::ZERO };
    assert_eq!(outputs, [Output::Abort { batch: 1 }, back(1), back(2), Output::Done]);
    assert_eq!(bench.end(1, Ending::Committed), [], "what comes too late changes nothing");
}

#[test]
fn on_a_bus_without_order_nothing_of_a_key_passes_what_was_handed_back() {
    let mut bench = Bench::new(|options| (options.ordered, options.batch_max) = (false, 1));
    bench.arrive([arrival(1, 1), arrival(2, 1)]);
    assert_eq!(nacked(&bench.fail(1, 1)), [1, 2]);
    assert_eq!(nacked(&bench.arrive([arrival(3, 1)])), [3], "a later one of the key");
    assert_eq!(
        nacked(&bench.arrive([Arrival { token: 4, ..arrival(2, 1) }])),
        [4],
        "the second before the first"
    );
    let first = Arrival { token: 5, attempt: 2, ..arrival(1, 1) };
    assert_eq!(bench.arrive([first]), [counted(2, 5)]);
    let second = Arrival { token: 6, ..arrival(2, 1) };
    let third = Arrival { token: 7, ..arrival(3, 1) };
    assert_eq!(bench.arrive([second, third]), []);
    assert_eq!(bench.end(2, Ending::Committed)[1..], [tries(3, [6])]);
}

#[test]
fn what_was_handed_back_and_never_comes_is_waited_for_only_so_long() {
    let mut bench = Bench::new(|options| (options.ordered, options.batch_max) = (false, 1));
    bench.arrive([arrival(1, 1)]);
    bench.fail(1, 1);
    assert_eq!(nacked(&bench.arrive([arrival(2, 1)])), [2]);
    bench.now += Duration::from_secs(31);
    assert_eq!(bench.arrive([arrival(2, 1)]), [tries(2, [2])]);
}

#[test]
fn a_patience_without_end_overflows_nothing() {
    let mut bench = Bench::new(|options| (options.grace, options.look) = (Duration::MAX, Duration::MAX));
    bench.now += Duration::from_secs(1);
    bench.arrive([arrival(1, 1)]);
    bench.tell(Input::Looked { halted: false, released: Vec::new() });
    bench.tell(Input::Shutdown);
    assert!(bench.end(1, Ending::Committed).contains(&Output::Done));
}
