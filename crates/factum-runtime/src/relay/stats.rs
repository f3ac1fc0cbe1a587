//! What a relay has done, in numbers that anybody may read while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use factum::integration::Answer;
use factum::protocol::relay::Report;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
    confirmed: AtomicU64,
    refused: AtomicU64,
    retried: AtomicU64,
    settled: AtomicU64,
    kept: AtomicU64,
    relays: AtomicU64,
    buckets: AtomicU64,
    given_up: AtomicU64,
    changed: Notify,
}

/// Counts of one relay since it began; clones share them.
#[derive(Clone, Debug, Default)]
pub struct RelayStats(Arc<Counters>);

/// [`RelayStats`] at one moment, each number for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Envelopes handed to the bus, repeats included.
    pub published: u64,
    /// Of these, those that the bus confirmed.
    pub confirmed: u64,
    /// Those that it refused.
    pub refused: u64,
    /// Those that nobody took, or that got no answer: they go again.
    pub retried: u64,
    /// Rows of the outbox that were changed: deleted, written to, or made dead letters.
    pub settled: u64,
    /// Envelopes in memory that wait for their turn behind others of their key, right now.
    pub kept: u64,
    /// Relays that share the buckets, this one included, as it knows; 0 before it has heard.
    pub relays: u64,
    /// Buckets that it works on, right now.
    pub buckets: u64,
    /// Envelopes that became dead letters.
    pub given_up: u64,
}

impl RelayStats {
    /// The counts now.
    pub fn now(&self) -> RelayCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayCounts {
            published: count(&self.0.published),
            confirmed: count(&self.0.confirmed),
            refused: count(&self.0.refused),
            retried: count(&self.0.retried),
            settled: count(&self.0.settled),
            kept: count(&self.0.kept),
            relays: count(&self.0.relays),
            buckets: count(&self.0.buckets),
            given_up: count(&self.0.given_up),
        }
    }

    /// Waits until the counts are as wished, and answers them. They are looked at whenever rows were settled, an
    /// envelope was given up, or the buckets were shared out anew.
    pub async fn until(&self, is: impl Fn(&RelayCounts) -> bool) -> RelayCounts {
        loop {
            let changed = self.0.changed.notified();
            let now = self.now();
            if is(&now) {
                return now;
            }
            changed.await;
        }
    }

    pub(super) fn published(&self, envelopes: usize) {
        self.0.published.fetch_add(envelopes as u64, Ordering::Relaxed);
    }

    pub(super) fn settled(&self, rows: usize) {
        self.0.settled.fetch_add(rows as u64, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }

    pub(super) fn keeps(&self, envelopes: usize) {
        self.0.kept.store(envelopes as u64, Ordering::Relaxed);
    }

    pub(super) fn reported(&self, report: &Report) {
        match report {
            Report::Shared { relays, buckets } => {
                self.0.relays.store(*relays as u64, Ordering::Relaxed);
                self.0.buckets.store(*buckets as u64, Ordering::Relaxed);
            }
            Report::LeasesLost(lost) => {
                let lost = *lost as u64;
                let _ = self.0.buckets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |buckets| {
                    Some(buckets.saturating_sub(lost))
                });
            }
            Report::GivenUp { .. } => _ = self.0.given_up.fetch_add(1, Ordering::Relaxed),
            _ => return,
        }
        self.0.changed.notify_waiters();
    }

    pub(super) fn answered(&self, answers: &[(u64, Answer)]) {
        let (mut confirmed, mut refused, mut retried) = (0, 0, 0);
        for (_, answer) in answers {
            match answer {
                Answer::Confirmed => confirmed += 1,
                Answer::Refused(_) => refused += 1,
                Answer::Unroutable | Answer::Unknown(_) => retried += 1,
            }
        }
        for (counter, n) in
            [(&self.0.confirmed, confirmed), (&self.0.refused, refused), (&self.0.retried, retried)]
        {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }
}
