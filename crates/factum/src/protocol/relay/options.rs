//! The relay's numbers, and what they are by default. It refuses nothing: the driver checks what it is given.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::integration::OnDeadLetter;
use crate::protocol::Backoff;

/// So many rows, so many bytes: whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Bytes of their envelopes, about.
    pub bytes: usize,
}

/// The relay's numbers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long a lease holds without renewal; 10 s.
    pub lease: Duration,
    /// How often it is renewed; 3 s.
    pub renew: Duration,
    /// How often the relay asks for leases while another holds some of them; 1.2 s, so that with a poll a second it asks
    /// the store less than twice a second.
    pub take_over: Duration,
    /// Handed to the bus and not answered, or answered and not settled, at most; 4,096 rows or 16 MiB.
    pub window: Size,
    /// One read, and one batch handed to the bus, at most; 1,000 rows or 4 MiB.
    pub batch: Size,
    /// Kept in memory behind an unanswered row of their key, at most; 4,096 rows or 16 MiB.
    pub waiting: Size,
    /// Keys that it remembers at once, at most; 65,536. Where more are in trouble, reading stops until some are free.
    pub keys_max: usize,
    /// Refusals after which a row becomes a dead letter; 25.
    pub attempts_max: u32,
    /// Between the refusals of a row; 200 ms to 5 min.
    pub refused: Backoff,
    /// While nobody takes a type; 200 ms to 1 s.
    pub unroutable: Backoff,
    /// How long the bus may take to answer; 10 s. After that the answer is taken for unknown: the envelope is published
    /// again, and a late answer changes nothing. A bus that answers only when subscribers are done has no deadline:
    /// [`Duration::MAX`].
    pub publish_deadline: Duration,
    /// While the bus is unreachable or gives no answer; 200 ms to 5 s, so that little time passes between its return and
    /// the first attempt that succeeds.
    pub unreachable: Backoff,
    /// While the store fails; 50 ms to 2 s.
    pub store: Backoff,
    /// The shortest pause between two reads that find nothing; 20 ms.
    pub poll_least: Duration,
    /// The longest; 1 s.
    pub poll_most: Duration,
    /// How often it reads from the start, at least; 5 s.
    pub rescan: Duration,
    /// How often the relay that holds bucket 0 removes what nobody needs; 30 s.
    pub clean_up: Duration,
    /// How long a confirmed row waits for others, so that they share a commit; 20 ms.
    pub settle_after: Duration,
    /// How long a shutdown waits for answers; 10 s.
    pub shutdown: Duration,
    /// Whether the bus stops a key at its first failure, so that several of a key may share a batch.
    pub fail_stop: bool,
    /// What becomes of the rest of a key whose head was given up, by type; park where a type is not named.
    pub on_dead_letter: BTreeMap<String, OnDeadLetter>,
    /// Where the jitter begins.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let millis = Duration::from_millis;
        let backoff = |first, longest| Backoff { first: millis(first), longest: millis(longest) };
        Self {
            lease: millis(10_000),
            renew: millis(3_000),
            take_over: millis(1_200),
            window: Size { rows: 4_096, bytes: 16 << 20 },
            batch: Size { rows: 1_000, bytes: 4 << 20 },
            waiting: Size { rows: 4_096, bytes: 16 << 20 },
            keys_max: 65_536,
            attempts_max: 25,
            refused: backoff(200, 300_000),
            unroutable: backoff(200, 1_000),
            publish_deadline: millis(10_000),
            unreachable: backoff(200, 5_000),
            store: backoff(50, 2_000),
            poll_least: millis(20),
            poll_most: millis(1_000),
            rescan: millis(5_000),
            clean_up: millis(30_000),
            settle_after: millis(20),
            shutdown: millis(10_000),
            fail_stop: false,
            on_dead_letter: BTreeMap::new(),
            seed: 0,
        }
    }
}
