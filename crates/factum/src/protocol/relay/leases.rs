//! Which buckets are ours, under which epoch, and until when: counted from when it was asked, so that a slow answer
//! makes the right shorter, never longer.

use std::time::Duration;

use super::Options;
use crate::port::{BucketSet, Lease};

#[derive(Debug)]
pub(super) struct Leases {
    epochs: [Option<i64>; 64],
    until: Duration,
    asked_at: Option<Duration>,
    ask_at: Duration,
    failures: u32,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            epochs: [None; 64],
            until: Duration::ZERO,
            asked_at: None,
            ask_at: Duration::ZERO,
            failures: 0,
        }
    }

    /// Whether it is time to ask; if so, it is taken as asked.
    pub(super) fn ask(&mut self, now: Duration) -> bool {
        let due = self.asked_at.is_none() && now >= self.ask_at;
        if due {
            self.asked_at = Some(now);
        }
        due
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asked_at.is_some()
    }

    /// Asks as soon as may be.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.ask_at = self.ask_at.min(now);
    }

    /// Takes the store's answer; says which buckets were ours and are not, or are under another epoch, and which are
    /// new.
    pub(super) fn answered(&mut self, leases: &[Lease], options: &Options) -> (BucketSet, BucketSet) {
        let asked_at = self.asked_at.take().unwrap_or(self.ask_at);
        let mut epochs = [None; 64];
        for lease in leases {
            epochs[usize::from(lease.bucket % 64)] = Some(lease.epoch);
        }
        let changed = |bucket: &u8| epochs[usize::from(*bucket)] != self.epochs[usize::from(*bucket)];
        let lost = self.buckets().iter().filter(changed).collect();
        let gained =
            (0..64).filter(changed).filter(|bucket| epochs[usize::from(*bucket)].is_some()).collect();
        self.epochs = epochs;
        self.until = asked_at.saturating_add(options.lease);
        self.failures = 0;
        let all = epochs.iter().all(Option::is_some);
        let pause = if all { options.renew } else { options.renew.min(options.take_over) };
        self.ask_at = asked_at.saturating_add(pause);
        (lost, gained)
    }

    pub(super) fn failed(&mut self, now: Duration, delay: impl FnOnce(u32) -> Duration) {
        self.asked_at = None;
        self.failures = self.failures.saturating_add(1);
        self.ask_at = now + delay(self.failures);
    }

    /// Gives up all of it where the time is over: what was ours until now.
    pub(super) fn expire(&mut self, now: Duration) -> BucketSet {
        if now < self.until {
            return BucketSet::default();
        }
        let lost = self.buckets();
        self.epochs = [None; 64];
        lost
    }

    pub(super) fn buckets(&self) -> BucketSet {
        (0..64).filter(|bucket| self.epochs[usize::from(*bucket)].is_some()).collect()
    }

    /// What the store is to compare with.
    pub(super) fn held(&self) -> Vec<Lease> {
        let lease = |bucket: u8| Some(Lease { bucket, epoch: self.epochs[usize::from(bucket)]? });
        (0..64).filter_map(lease).collect()
    }

    pub(super) fn wake_at(&self) -> Duration {
        let ask = if self.asked_at.is_some() { Duration::MAX } else { self.ask_at };
        if self.buckets().is_empty() { ask } else { ask.min(self.until) }
    }
}
