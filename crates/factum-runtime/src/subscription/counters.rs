//! What a receiver has done, in numbers that anybody may read while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use factum::port::Claim;
use factum::unit_of_work::Reception;

/// What a receiver, or several that share them, have done. They only go up.
#[derive(Debug, Default)]
pub struct Counters {
    batches: AtomicU64,
    handled: AtomicU64,
    duplicates: AtomicU64,
    parked: AtomicU64,
    failed: AtomicU64,
    dead_letters: AtomicU64,
    dispatched: AtomicU64,
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Units of work that were committed.
    pub batches: u64,
    /// Deliveries whose effects were committed.
    pub handled: u64,
    /// Redeliveries that the inbox absorbed.
    pub duplicates: u64,
    /// Deliveries that were put behind a dead letter of their key.
    pub parked: u64,
    /// Attempts at one delivery that failed.
    pub failed: u64,
    /// Deliveries that were given up.
    pub dead_letters: u64,
    /// Domain events that were dispatched.
    pub dispatched: u64,
}

impl Counters {
    /// Reads them.
    pub fn read(&self) -> Counts {
        Counts {
            batches: self.batches.load(Relaxed),
            handled: self.handled.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            parked: self.parked.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dead_letters: self.dead_letters.load(Relaxed),
            dispatched: self.dispatched.load(Relaxed),
        }
    }

    pub(super) fn committed(&self, reception: &Reception) {
        let count = |kind| reception.claims.iter().filter(|claim| **claim == kind).count() as u64;
        self.batches.fetch_add(1, Relaxed);
        self.handled.fetch_add(count(Claim::First), Relaxed);
        self.duplicates.fetch_add(count(Claim::Duplicate), Relaxed);
        self.parked.fetch_add(count(Claim::Parked), Relaxed);
        self.dispatched.fetch_add(reception.dispatched as u64, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(super) fn gave_up(&self) {
        self.dead_letters.fetch_add(1, Relaxed);
    }
}
