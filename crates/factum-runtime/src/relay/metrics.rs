//! What a relay measures while it runs, for whoever collects it. It names no metrics library: an adapter is a few lines.

use std::time::Duration;

use factum::integration::{Answer, Backlog, OnDeadLetter};

/// Takes what a relay measures. Called on the relay's own task, once for many envelopes: it must not wait.
///
/// Every method does nothing unless it is written. Rates are for the collector to make of counts.
pub trait RelayMetrics: Send + Sync {
    /// Envelopes were handed to the bus, repeats included.
    fn published(&self, batch: &PublishedBatch) {
        let _ = batch;
    }

    /// The bus has answered.
    fn answered(&self, batch: &AnsweredBatch) {
        let _ = batch;
    }

    /// Rows of the outbox were deleted, written to, or made dead letters.
    fn settled(&self, rows: usize) {
        let _ = rows;
    }

    /// The bus refused an envelope, for the how-manieth time.
    fn refused(&self, attempts: u32) {
        let _ = attempts;
    }

    /// An envelope became a dead letter.
    fn given_up(&self, r#type: &str, policy: OnDeadLetter) {
        let _ = (r#type, policy);
    }

    /// So many buckets are worked on, and so many relays share all 64.
    fn leases(&self, buckets: usize, relays: usize) {
        let _ = (buckets, relays);
    }

    /// What waits in the store: asked for only where the relay was given
    /// [`inspect`](crate::Relay::inspect).
    fn backlog(&self, backlog: &Backlog) {
        let _ = backlog;
    }
}

/// What was handed to the bus at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedBatch {
    /// How many envelopes.
    pub envelopes: usize,
    /// What their data takes.
    pub data_bytes: usize,
    /// Since the oldest of them was announced, by the clocks of two machines: zero where they disagree.
    pub oldest_age: Duration,
}

/// Answers that came at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnsweredBatch {
    /// Envelopes that the bus has.
    pub confirmed: usize,
    /// Envelopes that it will not take.
    pub refused: usize,
    /// Envelopes whose type nobody takes yet.
    pub unroutable: usize,
    /// Envelopes that may or may not have arrived.
    pub unknown: usize,
    /// From handing over to answering, of all of them added up.
    pub latency_sum: Duration,
    /// Of the slowest.
    pub latency_max: Duration,
}

impl AnsweredBatch {
    pub(super) fn add(&mut self, answer: &Answer, latency: Duration) {
        match answer {
            Answer::Confirmed => self.confirmed += 1,
            Answer::Refused(_) => self.refused += 1,
            Answer::Unroutable => self.unroutable += 1,
            Answer::Unknown(_) => self.unknown += 1,
        }
        self.latency_sum += latency;
        self.latency_max = self.latency_max.max(latency);
    }
}

/// When each envelope that is on its way was handed over, by the slot that its ticket names: as many as the window is
/// large.
#[derive(Debug, Default)]
pub(super) struct Departures(Vec<Duration>);

impl Departures {
    pub(super) fn note(&mut self, ticket: u64, now: Duration) {
        let slot = slot(ticket);
        if self.0.len() <= slot {
            self.0.resize(slot + 1, Duration::ZERO);
        }
        self.0[slot] = now;
    }

    pub(super) fn since(&self, ticket: u64, now: Duration) -> Duration {
        now.saturating_sub(self.0.get(slot(ticket)).copied().unwrap_or(now))
    }
}

/// Tickets are unique by their upper half; the lower counts what is in hand.
fn slot(ticket: u64) -> usize {
    ticket as u32 as usize
}
