//! What a subscription decides about its deliveries: which to try together, which wait, which are given up.
//!
//! It sees tokens and hashes, never an envelope, so that it can be run a million times a second. It refuses to try two
//! deliveries of one key at once, and to count a failure that is not the envelope's own.

mod ahead;
mod lanes;
mod shelf;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

pub use lanes::Lanes;

use super::Backoff;
use crate::Envelope;
use crate::integration::{Capabilities, OnDeadLetter};

/// The (source, ordering key) of a delivery, hashed. Two keys with one hash share a lane, which costs them only
/// concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u64);

/// The (source, id) of a delivery, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Occurrence(pub u64);

fn hash(source: &str, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (source, text).hash(&mut hasher);
    hasher.finish()
}

/// A delivery that has arrived, or a released envelope that may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The driver's name for it; each later one is larger.
    pub token: u64,
    /// In which lane it waits.
    pub lane: Lane,
    /// Which event it is.
    pub event: Occurrence,
    /// 1 the first time, as far as the bus knows.
    pub attempt: u32,
    /// What it takes in memory, about.
    pub bytes: usize,
    /// It comes from the subscriber's own database, where a person has requeued or freed it.
    pub released: bool,
}

impl Arrival {
    /// The arrival of an envelope.
    pub fn of(token: u64, envelope: &Envelope, attempt: u32, released: bool) -> Self {
        Self {
            token,
            lane: Lane(hash(&envelope.source, envelope.ordering_key())),
            event: Occurrence(hash(&envelope.source, envelope.id.as_str())),
            attempt,
            bytes: envelope.bytes(),
            released,
        }
    }
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of it is committed, or had been before, or was put behind a dead letter.
    Committed,
    /// It failed, and everything was rolled back.
    Failed {
        /// How many attempts that makes, in a batch of one; of several, none is counted.
        attempts: u32,
        /// Why.
        reason: String,
    },
    /// It was not tried, because more attempts were begun than there are: it ended none of them, not even in failure.
    Exhausted {
        /// How many were begun.
        attempts: u32,
    },
    /// It failed for a reason that is not in the envelopes: a lost race, a store that is away, an unknown outcome.
    Later,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A fetch brought these.
    Arrived(Vec<Arrival>),
    /// A fetch failed.
    FetchFailed,
    /// A batch ended.
    Ended {
        /// Which.
        batch: u64,
        /// How.
        ending: Ending,
    },
    /// A dead letter was kept in the database, or could not be.
    GaveUp {
        /// Which.
        token: u64,
        /// Whether it is in the database.
        kept: bool,
    },
    /// What a look into the database found.
    Looked {
        /// A dead letter stops the whole subscription.
        halted: bool,
        /// What a person has released.
        released: Vec<Arrival>,
    },
    /// The look failed.
    LookFailed,
    /// Time has passed.
    Tick,
    /// Come to an end.
    Shutdown,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the bus for at most so many; answer with [`Input::Arrived`] or [`Input::FetchFailed`].
    Fetch {
        /// How many.
        room: usize,
    },
    /// Look for released envelopes, at most so many; answer with [`Input::Looked`] or [`Input::LookFailed`].
    Look {
        /// How many.
        room: usize,
    },
    /// Handle these in one unit of work, in this order; answer with [`Input::Ended`].
    Try {
        /// Its name.
        batch: u64,
        /// What to handle.
        tokens: Vec<u64>,
        /// Whether the attempt is counted in the database before it is made. Only in a batch of one.
        count_before: bool,
        /// They come from the database.
        released: bool,
    },
    /// Let go of a batch that takes too long.
    Abort {
        /// Which.
        batch: u64,
    },
    /// Acknowledge them; forget those that are released.
    Ack(Vec<u64>),
    /// Hand it back; forget it where it is released.
    Nack {
        /// Which.
        token: u64,
        /// How long it shall stay away.
        after: Duration,
    },
    /// Keep it as a dead letter; answer with [`Input::GaveUp`].
    GiveUp {
        /// Which.
        token: u64,
        /// How many attempts were begun.
        attempts: u32,
        /// Why the last one failed.
        reason: String,
    },
    /// It is kept as a dead letter: settle it; forget it where it is released.
    Reject {
        /// Which.
        token: u64,
        /// Why the last attempt failed.
        reason: String,
    },
    /// Nothing is in hand any more, and nothing will be asked for.
    Done,
}

/// What a subscription may use up, and how patient it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LanesOptions {
    /// Batches at a time; 1, which is right where the store has one writer.
    pub concurrent: usize,
    /// The most deliveries that share a commit; 128.
    pub batch_max: usize,
    /// A batch that takes longer makes the next ones smaller; 1 s.
    pub batch_time: Duration,
    /// The most deliveries in hand; 256.
    pub prefetch: usize,
    /// Nothing is asked for while more bytes than these are in hand; 16 MiB.
    pub prefetch_bytes: usize,
    /// Attempts before a delivery is given up; 10.
    pub attempts: u32,
    /// How long a delivery that failed stays away; 200 ms, doubled up to 5 min, full jitter.
    pub backoff: Backoff,
    /// How long everything rests when the store or the bus is in trouble; 200 ms, doubled up to 10 s, full jitter.
    pub rest: Backoff,
    /// Between two looks for what a person has released or resumed; 1 s.
    pub look: Duration,
    /// How long a shutdown waits for running batches; 10 s.
    pub grace: Duration,
    /// What becomes of the key, or the subscription, of a dead letter; park.
    pub policy: OnDeadLetter,
    /// The bus keeps the order of a key, so that nothing need be remembered of what was handed back; `true`.
    pub ordered: bool,
    /// The bus tells how often a delivery came before; `true`.
    pub counts_attempts: bool,
}

impl Default for LanesOptions {
    fn default() -> Self {
        Self {
            concurrent: 1,
            batch_max: 128,
            batch_time: Duration::from_secs(1),
            prefetch: 256,
            prefetch_bytes: 16 << 20,
            attempts: 10,
            backoff: Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(300) },
            rest: Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10) },
            look: Duration::from_secs(1),
            grace: Duration::from_secs(10),
            policy: OnDeadLetter::Park,
            ordered: true,
            counts_attempts: true,
        }
    }
}

impl LanesOptions {
    /// Takes over what the bus can do.
    #[must_use]
    pub fn on_a_bus_that(mut self, can: Capabilities) -> Self {
        self.ordered = can.ordered;
        self.counts_attempts = can.counts_attempts;
        self
    }

    /// Says which of the numbers cannot work.
    pub fn check(&self) -> Result<(), String> {
        let numbers = [
            ("concurrent", self.concurrent),
            ("batch_max", self.batch_max),
            ("prefetch", self.prefetch),
            ("prefetch_bytes", self.prefetch_bytes),
            ("attempts", self.attempts as usize),
        ];
        if let Some((name, _)) = numbers.iter().find(|(_, number)| *number == 0) {
            return Err(format!("`{name}` is 0: nothing would ever be handled; it is at least 1"));
        }
        if self.look.is_zero() {
            return Err("`look` is 0: the database would be asked without a pause".into());
        }
        for (name, backoff) in [("backoff", self.backoff), ("rest", self.rest)] {
            if backoff.first.is_zero() || backoff.first > backoff.longest {
                return Err(format!(
                    "`{name}` begins with {:?} and ends with {:?}: it begins above 0 and does not shrink",
                    backoff.first, backoff.longest
                ));
            }
        }
        Ok(())
    }
}
