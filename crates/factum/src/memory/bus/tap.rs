//! A wire tap for tests: it sees what was published, and changes nothing about it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::Envelope;

type Record = Mutex<Vec<Arc<Envelope>>>;

/// Records every envelope that is handed to a bus from its opening until it is dropped, in that order: what the bus
/// takes, once, and what is unroutable, each time that it is tried. Not what is refused.
///
/// It keeps all of it in memory until it is taken out: for tests, not for a service that runs on.
#[derive(Debug)]
pub struct Tap {
    record: Arc<Record>,
}

impl Tap {
    /// What was recorded so far; it stays in the record.
    pub fn envelopes(&self) -> Vec<Arc<Envelope>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was recorded since the last time, and leaves the record.
    pub fn take(&self) -> Vec<Arc<Envelope>> {
        std::mem::take(&mut *self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The open taps of one bus.
#[derive(Default)]
pub(super) struct Taps(Vec<Weak<Record>>);

impl Taps {
    pub(super) fn open(&mut self) -> Tap {
        let record = Arc::default();
        self.0.push(Arc::downgrade(&record));
        Tap { record }
    }

    pub(super) fn record(&mut self, envelope: &Arc<Envelope>) {
        self.0.retain(|tap| {
            let Some(record) = tap.upgrade() else { return false };
            record.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(envelope));
            true
        });
    }
}
