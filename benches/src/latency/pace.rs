//! A steady rate of events, numbered from 0, from a thread of its own: a timer of the runtime would bunch them at whole
//! milliseconds. It refuses to slow down for writers that do not keep up.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// `events` numbers, `rate` a second.
pub(super) fn pace(rate: u64, events: u64) -> UnboundedReceiver<i64> {
    let (due, numbers) = unbounded_channel();
    thread::spawn(move || {
        let began = Instant::now();
        for n in 0..events {
            let at = began + Duration::from_nanos(n * 1_000_000_000 / rate);
            if let Some(left) = at.checked_duration_since(Instant::now()) {
                // tidy: allow(sleep): it makes the rate
                thread::sleep(left);
            }
            if due.send(n.cast_signed()).is_err() {
                break;
            }
        }
    });
    numbers
}
