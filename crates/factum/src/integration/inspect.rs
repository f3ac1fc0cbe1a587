//! The port that tools look through: what waits, what was given up, and what a person can do about it.

use super::{Envelope, EventId, Timestamp};
use crate::{BoxError, BoxFuture};

/// Counts of what a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Envelopes in the outbox that no bus has confirmed.
    pub outbox: u64,
    /// Of those, how many wait behind a dead letter.
    pub outbox_parked: u64,
    /// When the oldest of them was announced.
    pub oldest: Option<Timestamp>,
    /// What subscriptions of this store have handled, one a subscription and event.
    pub inbox: u64,
    /// Given up, of both sides.
    pub dead_letters: u64,
    /// Waiting behind a dead letter of their key, of both sides.
    pub parked: u64,
}

/// Which half gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The relay: the bus refused the envelope.
    Relay,
    /// A subscription, by name: its subscriber failed.
    Subscription(String),
}

/// An envelope that was given up, kept with its reason and its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Which half gave up.
    pub side: Side,
    /// What was given up.
    pub envelope: Envelope,
    /// Why, in the words of the last failure.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub at: Timestamp,
}

impl DeadLetter {
    /// Puts one together; for stores.
    pub fn new(side: Side, envelope: Envelope, reason: String, attempts: u32, at: Timestamp) -> Self {
        Self { side, envelope, reason, attempts, at }
    }
}

/// Looks into a store, and lets a person act on what it holds.
pub trait Inspect: Send + Sync {
    /// Counts what waits and what was given up.
    fn backlog<'a>(&'a self) -> BoxFuture<'a, Result<Backlog, BoxError>>;
    /// The oldest dead letters, at most `most`.
    fn dead_letters<'a>(&'a self, most: usize) -> BoxFuture<'a, Result<Vec<DeadLetter>, BoxError>>;
    /// Puts a dead letter back where it was given up, and frees its key. `false`: there is none.
    fn requeue<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>>;
    /// Gives a dead letter up for good, and frees its key. `false`: there is none.
    fn discard<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>>;
}
