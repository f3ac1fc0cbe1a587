//! The outbox in memory: rows by `seq`, and who may settle them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MemoryStore;
use super::letters::{Letter, Letters};
use super::state::State;
use crate::integration::{DeadLetter, Side};
use crate::port::{
    Asked, FailedTry, Found, GivenUp, Ids as _, Lease, Leased, OutboxRow, OutboxStore, Read, Settlement,
    SystemIds, read_back,
};
use crate::{BoxError, BoxFuture, Envelope, Timestamp};

pub(super) struct Row {
    envelope: Envelope,
    bucket: u8,
    attempts: u32,
}

/// Who holds a bucket.
#[derive(Clone, Default)]
struct Holder {
    /// `None`: free.
    owner: Option<String>,
    until: Duration,
    epoch: i64,
}

impl Holder {
    fn is(&self, owner: &str) -> bool {
        self.owner.as_deref() == Some(owner)
    }
}

pub(super) struct OutboxTable {
    rows: BTreeMap<i64, Row>,
    last_seq: i64,
    holders: [Holder; 64],
    /// Who is at work, and until when.
    relays: BTreeMap<String, Duration>,
    /// How often something has appeared that was held back, or put back.
    generation: i64,
}

impl Default for OutboxTable {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            last_seq: 0,
            holders: std::array::from_fn(|_| Holder::default()),
            relays: BTreeMap::new(),
            generation: 0,
        }
    }
}

impl OutboxTable {
    pub(super) fn append(&mut self, envelopes: Vec<Envelope>) {
        for envelope in envelopes {
            self.last_seq += 1;
            self.put(self.last_seq, envelope);
        }
    }

    /// Puts a row in, under a `seq` that it had before.
    pub(super) fn put(&mut self, seq: i64, envelope: Envelope) {
        let bucket = envelope.bucket();
        self.rows.insert(seq, Row { envelope, bucket, attempts: 0 });
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.rows.values().map(|row| &row.envelope)
    }

    /// Rows may have appeared anywhere.
    pub(super) fn turn_over(&mut self) {
        self.generation += 1;
    }

    fn lease(&mut self, owner: &str, now: Duration, asked: Asked) -> Leased {
        let until = now + asked.duration;
        self.relays.retain(|_, until| *until > now);
        self.relays.insert(owner.into(), until);
        for bucket in asked.give_back.iter() {
            let holder = &mut self.holders[usize::from(bucket)];
            if holder.is(owner) {
                holder.owner = None;
            }
        }
        let mut leases = Vec::new();
        let mut held = self.holders.iter().filter(|holder| holder.is(owner)).count();
        for (bucket, holder) in (0..).zip(&mut self.holders) {
            if !holder.is(owner) {
                if held >= asked.most || holder.owner.is_some() && holder.until > now {
                    continue;
                }
                *holder = Holder { owner: Some(owner.into()), until, epoch: holder.epoch + 1 };
                held += 1;
            }
            holder.until = until;
            leases.push(Lease { bucket, epoch: holder.epoch });
        }
        Leased { leases, relays: self.relays.len() }
    }

    fn release(&mut self, owner: &str) {
        self.relays.remove(owner);
        self.holders.iter_mut().filter(|holder| holder.is(owner)).for_each(|holder| holder.owner = None);
    }

    fn read(&self, read: &Read, letters: &Letters) -> Vec<OutboxRow> {
        let is_free = letters.relay_is_free();
        let mut bytes = 0;
        self.rows
            .range(read.above.saturating_add(1)..)
            .filter(|(_, row)| read.buckets.contains(row.bucket))
            .filter(|(seq, _)| read.except.binary_search(seq).is_err())
            .filter(|(_, row)| is_free || !letters.relay_holds(&row.envelope))
            .take(read.rows_max)
            .take_while(|(_, row)| {
                let is_first = bytes == 0;
                bytes += row.envelope.data.len().max(1);
                is_first || bytes <= read.bytes_max
            })
            .map(|(seq, row)| OutboxRow {
                seq: *seq,
                bucket: row.bucket,
                attempts: row.attempts,
                envelope: read_back(sequenced(*seq, &row.envelope), row.envelope.source.clone()),
            })
            .collect()
    }

    /// Whether who holds the row's bucket is still this owner, under an epoch that it knows.
    fn may_settle(&self, seq: i64, owner: &str, leases: &[Lease]) -> bool {
        let Some(row) = self.rows.get(&seq) else { return false };
        let holder = &self.holders[usize::from(row.bucket % 64)];
        holder.is(owner) && leases.contains(&Lease { bucket: row.bucket, epoch: holder.epoch })
    }
}

/// A store in memory has one life, so its incarnation is 1.
fn sequenced(seq: i64, envelope: &Envelope) -> Envelope {
    let mut envelope = envelope.clone();
    envelope.sequence = Some(format!("{:010}.{seq:019}", 1).into());
    envelope
}

impl State {
    fn settle(&mut self, owner: &str, leases: &[Lease], settlement: &Settlement, at: Timestamp) -> usize {
        let mut changed = 0;
        for seq in &settlement.confirmed {
            if self.outbox.may_settle(*seq, owner, leases) {
                self.outbox.rows.remove(seq);
                changed += 1;
            }
        }
        for FailedTry { seq, attempts, .. } in &settlement.failed {
            if self.outbox.may_settle(*seq, owner, leases)
                && let Some(row) = self.outbox.rows.get_mut(seq)
            {
                row.attempts = *attempts;
                changed += 1;
            }
        }
        for given_up in &settlement.given_up {
            if self.outbox.may_settle(given_up.seq, owner, leases) {
                self.bury(given_up, at);
                changed += 1;
            }
        }
        changed
    }

    fn bury(&mut self, GivenUp { seq, attempts, reason, policy }: &GivenUp, at: Timestamp) {
        if let Some(row) = self.outbox.rows.remove(seq) {
            let dead = DeadLetter::new(Side::Relay, row.envelope, reason.clone(), *attempts, at);
            self.letters.give_up(&Side::Relay, Letter::dead(dead, *policy, Some(*seq)));
        }
    }
}

impl OutboxStore for MemoryStore {
    fn lease<'a>(&'a self, owner: &'a str, asked: Asked) -> BoxFuture<'a, Result<Leased, BoxError>> {
        Box::pin(async move {
            let now = self.0.clock.now();
            Ok(self.0.state().outbox.lease(owner, now, asked))
        })
    }

    fn release<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            self.0.state().outbox.release(owner);
            Ok(())
        })
    }

    fn read<'a>(&'a self, read: Read) -> BoxFuture<'a, Result<Found, BoxError>> {
        Box::pin(async move {
            let state = self.0.state();
            let rows = match state.letters.is_halted(&Side::Relay) {
                true => Vec::new(),
                false => state.outbox.read(&read, &state.letters),
            };
            // A `seq` is drawn while committing: none appears below another.
            Ok(Found { rows, floor: i64::MAX, generation: state.outbox.generation })
        })
    }

    fn settle<'a>(
        &'a self,
        owner: &'a str,
        leases: &'a [Lease],
        settlement: &'a Settlement,
    ) -> BoxFuture<'a, Result<usize, BoxError>> {
        Box::pin(async move {
            let (_, at) = SystemIds.mint();
            let changed = self.0.state().settle(owner, leases, settlement, at);
            self.0.drain.changed();
            Ok(changed)
        })
    }

    fn hint(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.hint.wait(&self.1))
    }
}
