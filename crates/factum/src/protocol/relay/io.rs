//! What goes into the relay's machine and what comes out: rows without their payload.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::integration::{Answer, OnDeadLetter, Source};
use crate::port::{Asked, Lease, Leased, OutboxRow, Read, Settlement};

/// What keeps its order: a source and an ordering key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The envelope's `partitionkey`, or its `id` where it has none.
    pub name: Arc<str>,
    /// Who announced it.
    pub source: Source,
}

/// Of the name alone: an outbox has one source, or few.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// What the machine knows of a row of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Orders within a key.
    pub seq: i64,
    /// 0 to 63.
    pub bucket: u8,
    /// How often a bus has refused it so far.
    pub attempts: u32,
    /// What its envelope takes in memory, about.
    pub bytes: usize,
    /// What it is in order with.
    pub key: Key,
    /// The CloudEvents type.
    pub r#type: Arc<str>,
}

/// Makes rows for the machine out of those of the outbox: what many of them have in common is kept once.
#[derive(Debug, Default)]
pub struct Summary {
    r#type: Option<Arc<str>>,
}

impl Summary {
    /// What the machine has to know of a row.
    pub fn of(&mut self, row: &OutboxRow) -> Row {
        let envelope = &row.envelope;
        let r#type = match &self.r#type {
            Some(r#type) if **r#type == *envelope.r#type => Arc::clone(r#type),
            _ => Arc::clone(self.r#type.insert(Arc::from(&*envelope.r#type))),
        };
        Row {
            seq: row.seq,
            bucket: row.bucket,
            attempts: row.attempts,
            bytes: envelope.bytes(),
            key: Key { name: envelope.ordering_key_shared(), source: envelope.source.clone() },
            r#type,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The store answered [`Output::Lease`].
    Leased(Leased),
    /// The store failed on it.
    LeaseFailed,
    /// The store answered [`Output::Read`], in `seq` order. The envelopes are kept by `seq` until they are published
    /// or forgotten.
    Found {
        /// What it found.
        rows: Vec<Row>,
        /// As in [`Found`](crate::port::Found).
        floor: i64,
        /// As in [`Found`](crate::port::Found).
        generation: i64,
    },
    /// The store failed on it.
    ReadFailed,
    /// The bus answered publications, by ticket.
    Answered(Vec<(u64, Answer)>),
    /// The bus did not take a batch. Its rows are answered [`Answer::Unknown`] apart from this.
    Unreachable(String),
    /// The store carried out [`Output::Settle`], and changed so many rows.
    Settled(usize),
    /// The store failed on it: some of it, all of it or nothing may have happened.
    SettleFailed,
    /// The store carried out [`Output::CleanUp`], or failed on it: whether there is more.
    CleanedUp(bool),
    /// The store carried out [`Output::Release`], or failed on it.
    Released,
    /// A commit of this process may have put something in the outbox.
    Hint,
    /// Time has passed.
    Tick,
    /// Begin to end.
    Shutdown,
}

/// One row on its way to the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whose envelope.
    pub seq: i64,
    /// Under which the answer comes back; never used twice at a time.
    pub ticket: u64,
}

/// What is to be done. At most one lease, one read, one settle and one cleaning are asked for at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Renew the leases.
    Lease(Asked),
    /// Read rows.
    Read(Read),
    /// Hand these to the bus, in this order, after the batches before.
    Publish(Vec<Sent>),
    /// Let go of the envelopes that are kept for these; they are read again when their turn comes.
    Forget(Vec<i64>),
    /// Write down what became of rows.
    Settle(Vec<Lease>, Settlement),
    /// Remove what nobody needs.
    CleanUp,
    /// Give the leases back.
    Release,
    /// Tell people.
    Report(Report),
    /// It has ended; what is unanswered stays in the outbox.
    Done,
}

/// What people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// Nobody takes a type. Told once a type, until one of it is confirmed.
    Unroutable(String),
    /// The bus refused a row; it will be tried again.
    Refused {
        /// The row.
        seq: i64,
        /// Refusals so far.
        attempts: u32,
        /// What the bus said.
        reason: String,
    },
    /// A row becomes a dead letter.
    GivenUp {
        /// The row.
        seq: i64,
        /// Its type.
        r#type: String,
        /// What becomes of the rest of its key.
        policy: OnDeadLetter,
        /// What the bus said last.
        reason: String,
    },
    /// The bus gives no answers: the relay waits.
    Unreachable(String),
    /// The buckets are shared out anew: so many relays are at work, and this one works on so many buckets.
    Shared {
        /// At work, this one included.
        relays: usize,
        /// Of this one.
        buckets: usize,
    },
    /// The right to publish has run out, or was taken over: so many buckets were lost.
    LeasesLost(usize),
    /// More keys are in trouble than may be remembered: reading waits for some of them.
    TooManyKeys,
}
