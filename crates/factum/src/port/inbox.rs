//! What a subscription has handled, and what it gave up.

use std::sync::Arc;

use crate::integration::{DeadLetter, OnDeadLetter};
use crate::{BoxError, BoxFuture, Envelope, EventId};

/// Deliveries that a subscription wants to handle in one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Claiming<'a> {
    /// The subscription's name; with source and id the primary key of the inbox.
    pub subscription: &'a str,
    /// What was delivered; no two with the same source and id.
    pub envelopes: &'a [Arc<Envelope>],
    /// They come from [`InboxStore::released`], and so may pass the dead letter that holds their key.
    pub released: bool,
}

/// What a claim found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This subscription sees the event for the first time: the inbox row is written.
    First,
    /// It was handled before: nothing to do.
    Duplicate,
    /// A dead letter holds its key: it was put behind it, in this transaction, and no inbox row was written.
    Parked,
}

/// How far a projection is in one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The source.
    pub source: Arc<str>,
    /// Events folded in by this transaction; they add up.
    pub events: u64,
    /// The last of them.
    pub last: EventId,
}

/// An envelope that waits in the subscriber's own database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What waits.
    pub envelope: Arc<Envelope>,
    /// How often it was tried before it was given up; 0 for one that only waited behind another.
    pub attempts: u32,
}

/// The inbox as the driver of a subscription sees it, outside of the unit of work that handles a delivery. Every
/// method commits by itself.
pub trait InboxStore: Send + Sync {
    /// Counts one try of each, before it is made, and answers how many that makes, in the order given.
    fn count_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<Vec<u32>, BoxError>>;

    /// Takes back one counted try of each, which failed for no reason of its own. None has fewer than 0.
    fn excuse_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Keeps a dead letter, and holds its key (park), everything (halt) or nothing (skip). Repeating it changes nothing.
    fn give_up<'a>(&'a self, dead: DeadLetter, policy: OnDeadLetter) -> BoxFuture<'a, Result<(), BoxError>>;

    /// What a person has requeued or freed, oldest first within a key, at most `most`, and at most one of a key.
    fn released<'a>(
        &'a self,
        subscription: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Waiting>, BoxError>>;

    /// A released envelope has been handled: it waits no more. Frees its key when it was the last.
    fn finished<'a>(
        &'a self,
        subscription: &'a str,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Whether a dead letter whose policy is halt stops this subscription.
    fn halted<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<bool, BoxError>>;
}
