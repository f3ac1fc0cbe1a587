//! Which buckets are ours, under which epoch, and until when: counted from when it was asked, so that a slow answer
//! makes the right shorter, never longer. And which we leave to others, so that everybody has as many: nothing of those
//! is begun, and they are given back when nothing of them is on its way.

use std::time::Duration;

use super::Options;
use crate::port::{Asked, BucketSet, Lease, Leased};

const BUCKETS: usize = 64;

#[derive(Debug)]
pub(super) struct Leases {
    epochs: [Option<i64>; 64],
    until: Duration,
    asked_at: Option<Duration>,
    ask_at: Duration,
    failures: u32,
    /// How many share the buckets, as far as we know.
    relays: usize,
    /// Ours still, and to be given back as soon as nothing of them is on its way.
    leaving: BucketSet,
    /// Nothing of them is on its way: the next answer takes them from us.
    giving_back: BucketSet,
}

/// What an answer has changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// Was ours, and is not, or is under another epoch, against our will.
    pub(super) lost: BucketSet,
    /// Was given back.
    pub(super) left: BucketSet,
    /// Is ours, or ours to work on, since now.
    pub(super) gained: BucketSet,
    /// Is no longer to be worked on.
    pub(super) leaving: BucketSet,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            epochs: [None; 64],
            until: Duration::ZERO,
            asked_at: None,
            ask_at: Duration::ZERO,
            failures: 0,
            relays: 1,
            leaving: BucketSet::default(),
            giving_back: BucketSet::default(),
        }
    }

    /// What to ask for, if it is time to; then it is taken as asked.
    pub(super) fn ask(&mut self, now: Duration, closing: bool, options: &Options) -> Option<Asked> {
        if self.asked_at.is_some() || now < self.ask_at {
            return None;
        }
        self.asked_at = Some(now);
        let most = if closing { 0 } else { self.share() };
        Some(Asked { duration: options.lease, most, give_back: self.giving_back })
    }

    /// How many buckets are enough for us.
    fn share(&self) -> usize {
        BUCKETS.div_ceil(self.relays.max(1))
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asked_at.is_some()
    }

    /// Asks as soon as may be.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.ask_at = self.ask_at.min(now);
    }

    /// Takes the store's answer.
    pub(super) fn answered(&mut self, now: Duration, leased: &Leased, options: &Options) -> Change {
        let asked_at = self.asked_at.take().unwrap_or(self.ask_at);
        let mut epochs = [None; BUCKETS];
        for lease in &leased.leases {
            epochs[usize::from(lease.bucket % 64)] = Some(lease.epoch);
        }
        let held = |bucket: &u8| epochs[usize::from(*bucket)].is_some();
        let changed = |bucket: &u8| epochs[usize::from(*bucket)] != self.epochs[usize::from(*bucket)];
        let gone: BucketSet = self.held_buckets().iter().filter(changed).collect();
        let left = gone.iter().filter(|bucket| self.giving_back.contains(*bucket) && !held(bucket)).collect();
        let lost = gone.without(left);
        let new: BucketSet = (0..64).filter(changed).filter(held).collect();
        self.epochs = epochs;
        self.until = asked_at.saturating_add(options.lease);
        self.failures = 0;
        self.giving_back = BucketSet::default();
        let before = std::mem::replace(&mut self.relays, leased.relays.max(1));
        let was_leaving = self.leaving;
        self.leaving = self.beyond_our_share(new);
        let (mine, leaving) = (self.held_buckets(), self.leaving.without(was_leaving));
        let gained = new.union(was_leaving.intersection(mine)).without(self.leaving);
        let pause = if mine.len() == BUCKETS { options.renew } else { options.renew.min(options.take_over) };
        self.ask_at = asked_at.saturating_add(pause);
        if self.relays < before && mine.len() < self.share() {
            // Somebody has gone, and what he had may be free.
            self.hurry(now);
        }
        Change { lost, left, gained, leaving }
    }

    /// Buckets to leave to others: those that we leave already, then those that are new, then the highest.
    fn beyond_our_share(&self, new: BucketSet) -> BucketSet {
        let mine = self.held_buckets();
        let mut buckets: Vec<u8> = mine.iter().collect();
        let order = |bucket: &u8| (!self.leaving.contains(*bucket), !new.contains(*bucket), 255 - *bucket);
        buckets.sort_by_key(order);
        buckets.truncate(mine.len().saturating_sub(self.share()));
        buckets.into_iter().collect()
    }

    /// What is to be given back, and is not asked to be yet.
    pub(super) fn leaving(&self) -> BucketSet {
        self.leaving.without(self.giving_back)
    }

    /// Nothing of these is on its way any more.
    pub(super) fn give_back(&mut self, now: Duration, quiet: BucketSet) {
        if !quiet.is_empty() {
            self.giving_back = self.giving_back.union(quiet);
            self.hurry(now);
        }
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
        let lost = self.held_buckets();
        self.epochs = [None; BUCKETS];
        (self.leaving, self.giving_back) = (BucketSet::default(), BucketSet::default());
        lost
    }

    /// Those to work on: ours, and not left to others.
    pub(super) fn buckets(&self) -> BucketSet {
        self.held_buckets().without(self.leaving)
    }

    fn held_buckets(&self) -> BucketSet {
        (0..64).filter(|bucket| self.epochs[usize::from(*bucket)].is_some()).collect()
    }

    /// How many share the buckets, as far as is known.
    pub(super) fn relays(&self) -> usize {
        self.relays
    }

    /// What the store is to compare with.
    pub(super) fn held(&self) -> Vec<Lease> {
        let lease = |bucket: u8| Some(Lease { bucket, epoch: self.epochs[usize::from(bucket)]? });
        (0..64).filter_map(lease).collect()
    }

    pub(super) fn wake_at(&self) -> Duration {
        let ask = if self.asked_at.is_some() { Duration::MAX } else { self.ask_at };
        if self.held_buckets().is_empty() { ask } else { ask.min(self.until) }
    }
}
