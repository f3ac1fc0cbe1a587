//! How often recording and dispatching ask for memory. Apart from the times, because counting costs time.

#[path = "support/model.rs"]
mod model;

use allocation_counter::measure;
use model::{Counter, EVENTS, Ticked};

fn main() {
    let without = save(0);
    for handlers in [1, 3] {
        let calls = (EVENTS * handlers) as f64;
        let (ours, by_hand) = ((save(handlers) - without) as f64 / calls, hand(handlers) as f64 / calls);
        println!(
            r#"{{"bench":"dispatch","handlers":{handlers},"events":{EVENTS},"allocations_per_call":{ours},"by_hand_allocations_per_call":{by_hand}}}"#
        );
    }
    println!(r#"{{"bench":"save of {EVENTS} events that nobody handles","allocations":{without}}}"#);
    println!(
        r#"{{"bench":"record","events":{EVENTS},"allocations_per_event":{}}}"#,
        record() as f64 / EVENTS as f64
    );
}

fn save(handlers: usize) -> u64 {
    let work = model::work(handlers);
    let uow = model::recorded(&work, EVENTS);
    measure(|| {
        let saved = model::now(uow.save_changes());
        assert_eq!(saved.unwrap().dispatched, EVENTS);
    })
    .count_total
}

fn hand(handlers: usize) -> u64 {
    let handlers = model::by_hand(handlers);
    let events: Vec<_> = (0..EVENTS as u64).map(|nth| Ticked { nth }).collect();
    let mut uow = model::recorded(&model::work(0), 0);
    measure(|| model::now(model::call_all(&handlers, &events, &mut uow)).unwrap()).count_total
}

/// With the growth of the list.
fn record() -> u64 {
    let mut counter = Counter::new();
    let info = measure(|| (0..EVENTS).for_each(|_| counter.tick()));
    counter.forget();
    info.count_total
}
