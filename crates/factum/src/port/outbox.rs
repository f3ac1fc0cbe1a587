//! The outbox as the relay sees it: rows of committed transactions, taken by state, fenced by epoch.

use std::sync::Arc;
use std::time::Duration;

use crate::integration::OnDeadLetter;
use crate::{BoxError, BoxFuture, Committed, Envelope};

/// The outbox of one store, as a relay sees it. Object-safe: apart from [`Store`](super::Store), which applications see.
pub trait OutboxStore: Send + Sync {
    /// Makes known that `owner` is at work for as long as a lease lasts, gives back the buckets that it no longer wants,
    /// renews those that it keeps, and takes free or expired ones while it holds fewer than it may. Judged by the
    /// store's clock only; a bucket that changes hands gets a higher epoch, also when it comes back to who had it.
    ///
    /// Somebody whose presence has expired is no longer counted. A lease that ends later than its own length from now
    /// (the store's clock was set back) has expired.
    fn lease<'a>(&'a self, owner: &'a str, asked: Asked) -> BoxFuture<'a, Result<Leased, BoxError>>;

    /// Gives back at once what `owner` holds, and forgets that it was at work.
    fn release<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<(), BoxError>>;

    /// The oldest committed rows of these buckets above a `seq`, at most so many and so much, in `seq` order, and how
    /// final that is. Rows whose key is held by a dead letter are left out; none at all while a halt is on.
    ///
    /// A row that is shown is durable: no crash of the database takes its commit back.
    fn read<'a>(&'a self, read: Read) -> BoxFuture<'a, Result<Found, BoxError>>;

    /// Deletes what was confirmed, writes down what failed, and moves what was given up to the dead letters, all in one
    /// transaction, and only in buckets whose lease still has this owner and epoch. Answers how many rows it changed.
    fn settle<'a>(
        &'a self,
        owner: &'a str,
        leases: &'a [Lease],
        settlement: &'a Settlement,
    ) -> BoxFuture<'a, Result<usize, BoxError>>;

    /// Waits until a commit, of this process or of another that the store hears of, has put something in the outbox
    /// since the last call returned. A hint: it may come late, or for nothing.
    fn hint(&self) -> BoxFuture<'_, ()>;

    /// Removes what nobody needs any more and no settlement has removed, a limited amount of it; answers whether there
    /// is more. Called now and then, by one relay at a time as a rule; safe to be called by several.
    fn clean_up(&self) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(async { Ok(false) })
    }
}

/// What a relay asks for when it renews its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For how long, from when the store decides.
    pub duration: Duration,
    /// How many buckets it may hold after that. What it holds beyond it stays with it, but nothing is taken.
    pub most: usize,
    /// What it no longer wants, and has nothing on its way of.
    pub give_back: BucketSet,
}

/// What a relay holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leased {
    /// All that it holds now, by bucket.
    pub leases: Vec<Lease>,
    /// How many are at work at this moment, it included.
    pub relays: usize,
}

/// A relay's right to a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// 0 to 63.
    pub bucket: u8,
    /// Ascends whenever the bucket changes hands.
    pub epoch: i64,
}

/// A set of the 64 buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BucketSet(u64);

impl BucketSet {
    /// All 64.
    pub const ALL: Self = Self(u64::MAX);

    /// None.
    pub const NONE: Self = Self(0);

    /// Puts a bucket in.
    pub fn insert(&mut self, bucket: u8) {
        self.0 |= 1 << (bucket % 64);
    }

    /// Whether a bucket is in.
    pub fn contains(self, bucket: u8) -> bool {
        self.0 & (1 << (bucket % 64)) != 0
    }

    /// Whether no bucket is in.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many buckets are in.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// All that are in one or the other.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The buckets, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |bucket| self.contains(*bucket))
    }

    /// Bit `n` for bucket `n`.
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl FromIterator<u8> for BucketSet {
    fn from_iter<I: IntoIterator<Item = u8>>(buckets: I) -> Self {
        let mut set = Self::default();
        buckets.into_iter().for_each(|bucket| set.insert(bucket));
        set
    }
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Whose rows.
    pub buckets: BucketSet,
    /// Rows above this `seq`: where the last read ended. 0 reads from the start.
    ///
    /// A store in which a row may become visible at or below a `seq` that was read before (writers that commit out of
    /// `seq` order) begins lower while that may be: no row of a key comes while an older one of it, at or below this
    /// `seq`, was never shown. Only the store can know; a caller takes whatever comes.
    pub above: i64,
    /// Not these, in ascending order: the caller has them in hand. It names those above the [`floor`](Found::floor) of
    /// the read before, so that a store that begins lower than `above` does not show them again and again. One that is
    /// shown all the same does no harm.
    pub except: Vec<i64>,
    /// At most so many rows.
    pub rows_max: usize,
    /// About so many bytes of data at most; one row comes even if it is larger.
    pub bytes_max: usize,
}

/// An envelope's place in the outbox, as its `sequence` says it: incarnation and `seq`, zero-padded, so that it sorts as
/// text.
pub fn sequence(incarnation: &str, seq: i64) -> Arc<str> {
    const DIGITS: usize = 20;
    // Made for each row that is read: without the machinery of formatting it takes a quarter of the time.
    let mut digits = [b'0'; DIGITS];
    let mut rest = seq.unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    let mut text = String::with_capacity(incarnation.len() + 1 + DIGITS);
    text.push_str(incarnation);
    text.push('-');
    text.extend(digits.map(char::from));
    text.into()
}

/// What a read found.
#[derive(Debug, Default)]
pub struct Found {
    /// The rows, in `seq` order.
    pub rows: Vec<OutboxRow>,
    /// About how low the next read will begin, if it is asked for what lies above this one; [`i64::MAX`] where a store
    /// always begins where it is asked to (one writer at a time).
    pub floor: i64,
    /// Rises whenever somebody requeues or discards a dead letter, as seen by this read: rows that were held back, or
    /// not there, may have appeared anywhere.
    pub generation: i64,
}

/// A row of the outbox, and the proof that its transaction committed: it was read back.
#[derive(Debug)]
pub struct OutboxRow {
    /// Orders within a key.
    pub seq: i64,
    /// 0 to 63.
    pub bucket: u8,
    /// How often a bus has refused it so far.
    pub attempts: u32,
    /// What to publish.
    pub envelope: Committed<Envelope>,
}

/// What became of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Confirmed by the bus: to be deleted, by `seq`.
    pub confirmed: Vec<i64>,
    /// Refused, and to be tried again.
    pub failed: Vec<FailedTry>,
    /// Refused too often.
    pub given_up: Vec<GivenUp>,
}

impl Settlement {
    /// Whether there is nothing to settle.
    pub fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.failed.is_empty() && self.given_up.is_empty()
    }
}

/// A row that the bus refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedTry {
    /// The row.
    pub seq: i64,
    /// Refusals so far, this one included.
    pub attempts: u32,
    /// When the relay means to try again; for people to see.
    pub again_after: Duration,
    /// What the bus said.
    pub reason: String,
}

/// A row that becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The row.
    pub seq: i64,
    /// Refusals, the last included.
    pub attempts: u32,
    /// What the bus said last.
    pub reason: String,
    /// What becomes of the rest of its key.
    pub policy: OnDeadLetter,
}

#[cfg(test)]
mod tests {
    use super::sequence;

    #[test]
    fn a_sequence_sorts_as_text() {
        assert_eq!(&*sequence("0123456789abcdef", 1), "0123456789abcdef-00000000000000000001");
        assert_eq!(&*sequence("x", i64::MAX), "x-09223372036854775807");
        assert!(sequence("x", 9) < sequence("x", 10));
    }
}
