//! What recording, dispatching and saving cost in time, beside boxed async calls of the same handlers by hand. It
//! counts no allocations: a counting allocator would slow both sides down alike, and so flatter the ratio.

#[path = "support/model.rs"]
mod model;
#[path = "support/rounds.rs"]
mod rounds;

use std::borrow::Borrow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use model::{Counter, EVENTS, Ticked};
use rounds::{Figure, Rounds};

const ROUNDS: usize = 801;
/// Of each way in a round, one after the other.
const REPEATS: usize = 4;

fn main() {
    dispatch(1);
    dispatch(3);
    record();
    save_one_event();
}

/// All of `save_changes` with 1,000 recorded events, beside loops that call the same handlers as often: one over events
/// that lie in a list (`dispatch`), one that uses up a list of boxed events, as recorded ones are (`dispatch of boxes`).
/// So an event bears its thousandth of the write, of the commit and of putting the events in order, and all of finding
/// its handlers by type.
fn dispatch(handlers: usize) {
    let (mut ours, mut list, mut boxes) = (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        ours.note(saves(handlers, EVENTS, REPEATS), EVENTS * REPEATS);
        list.note(calls(handlers, ticks), EVENTS * REPEATS);
        boxes.note(calls(handlers, || ticks().into_iter().map(Box::new).collect()), EVENTS * REPEATS);
    }
    for (bench, by_hand) in [("dispatch", &list), ("dispatch of boxes", &boxes)] {
        let what = format!(r#""bench":"{bench}","handlers":{handlers},"events":{EVENTS}"#);
        println!("{}", Figure { what: &what, ours: &ours, by_hand });
    }
}

fn ticks() -> Vec<Ticked> {
    (0..EVENTS as u64).map(|nth| Ticked { nth }).collect()
}

/// `record`, beside boxing the same event and pushing it on a list. The list grows from nothing in both.
fn record() {
    let (mut ours, mut hand) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        let (mut of_ours, mut of_hand) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..REPEATS {
            let mut counter = Counter::new();
            of_ours += time(|| (0..EVENTS).for_each(|_| black_box(&mut counter).tick()));
            counter.forget();
            let mut list: Vec<Box<dyn factum::DomainEvent>> = Vec::new();
            of_hand += time(|| {
                (0..EVENTS as u64).for_each(|nth| black_box(&mut list).push(Box::new(Ticked { nth })))
            });
        }
        ours.note(of_ours, EVENTS * REPEATS);
        hand.note(of_hand, EVENTS * REPEATS);
    }
    let what = format!(r#""bench":"record","events":{EVENTS}"#);
    println!("{}", Figure { what: &what, ours: &ours, by_hand: &hand });
}

/// A save of one aggregate with one event and one handler, beside a save of one with none: what is left is the dispatch.
fn save_one_event() {
    let (mut with, mut without) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        with.note(saves(1, 1, 500), 500);
        without.note(saves(1, 0, 500), 500);
    }
    let (with, without) = (with.median(), without.median());
    println!(
        r#"{{"bench":"save of one event","handlers":1,"ours_ns":{with:.1},"without_event_ns":{without:.1}}}"#
    );
}

/// The time of saves alone: beginning and recording are done before.
fn saves(handlers: usize, events: usize, repeats: usize) -> Duration {
    let mut all = Duration::ZERO;
    for _ in 0..repeats {
        let work = model::work(handlers);
        let uow = model::recorded(&work, events);
        let mut saved = None;
        all += time(|| saved = Some(model::now(uow.save_changes())));
        assert_eq!(saved.unwrap().unwrap().dispatched, events);
    }
    all
}

/// The time of the same calls by hand, in a unit of work of their own, on lists that are made before.
fn calls<E: Borrow<Ticked>>(handlers: usize, events: impl Fn() -> Vec<E>) -> Duration {
    let handlers = model::by_hand(handlers);
    let mut uow = model::recorded(&model::work(0), 0);
    let mut all = Duration::ZERO;
    for _ in 0..REPEATS {
        let events = events();
        all += time(|| {
            model::now(model::call_all(black_box(&handlers), black_box(events), &mut uow)).unwrap();
        });
    }
    all
}

fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
