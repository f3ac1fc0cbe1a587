//! The store as relays meet it: what it is asked it carries out, or fails at, before or after.

use super::{Input, Key, Output, Row, Store, World, bucket_of};
use crate::integration::OnDeadLetter;
use crate::port::{Asked, Lease, Leased, Read, Settlement};

impl World {
    /// The store carries out the oldest thing that a relay asked of it; or it fails, before or after.
    pub(super) fn carry_out(&mut self, at: usize) {
        let Some(asked) = self.nodes[at].asked.pop_front() else { return };
        let (fails, without) = (self.chance(self.faults.store), self.chance(50));
        let answer = match asked {
            Output::Lease(_) if fails && without => Input::LeaseFailed,
            Output::Lease(asked) => match (self.lease(at, asked), fails) {
                (_, true) => Input::LeaseFailed,
                (leased, false) => Input::Leased(leased),
            },
            Output::CleanUp => Input::CleanedUp(without),
            Output::Read(_) if fails => Input::ReadFailed,
            Output::Read(read) => {
                let rows = self.read(at, read);
                Input::Found { rows, floor: self.floor(at), generation: self.store.generation }
            }
            Output::Settle(..) if fails && without => Input::SettleFailed,
            Output::Settle(leases, settlement) => match (self.settle(at, &leases, &settlement), fails) {
                (_, true) => Input::SettleFailed,
                (changed, false) => Input::Settled(changed),
            },
            Output::Release => {
                self.store.holders.values_mut().filter(|h| h.owner == Some(at)).for_each(|h| h.owner = None);
                self.store.relays[at] = None;
                Input::Released
            }
            other => panic!("nothing to ask a store: {other:?}"),
        };
        self.nodes[at].answers.push_back(answer);
    }

    fn lease(&mut self, at: usize, asked: Asked) -> Leased {
        let (now, until) = (self.now, self.now + asked.duration);
        self.store.relays[at] = Some(until);
        let mut leases = Vec::new();
        for bucket in asked.give_back.iter() {
            assert!(self.nodes[at].at_bus.iter().all(|sent| bucket_of(self.all[&sent.seq]) != bucket));
            let holder = self.store.holders.entry(bucket).or_default();
            holder.owner = holder.owner.filter(|owner| *owner != at);
        }
        let mut held = self.store.holders.values().filter(|holder| holder.owner == Some(at)).count();
        for bucket in 0..64 {
            let holder = self.store.holders.entry(bucket).or_default();
            if holder.owner != Some(at) {
                if held >= asked.most || holder.owner.is_some() && now < holder.until {
                    continue;
                }
                holder.owner = Some(at);
                holder.epoch += 1;
                held += 1;
                self.nodes[at].seen.retain(|seq| bucket_of(self.all[seq]) != bucket);
            }
            holder.until = until;
            leases.push(Lease { bucket, epoch: holder.epoch });
        }
        Leased { leases, relays: self.store.relays.iter().flatten().filter(|until| **until > now).count() }
    }

    /// Below this nothing will appear that was not seen, unless it is put back.
    fn floor(&self, at: usize) -> i64 {
        let seen = &self.nodes[at].seen;
        self.store.rows.keys().find(|seq| !seen.contains(seq)).map_or(i64::MAX, |seq| seq - 1)
    }

    /// Begins lower than it was asked to where something below has appeared since, as a store has to; what was put back
    /// it leaves to the generation.
    fn read(&mut self, at: usize, read: Read) -> Vec<Row> {
        let unseen = self.floor(at);
        let node = &mut self.nodes[at];
        let rows: Vec<Row> = self
            .store
            .rows
            .range(read.above.min(unseen) + 1..)
            .filter(|(_, row)| read.buckets.contains(bucket_of(row.key)))
            .filter(|(_, row)| !self.store.parked.contains(&row.key))
            .filter(|(seq, _)| read.except.binary_search(seq).is_err())
            .take(read.rows_max)
            .map(|(seq, row)| Row {
                seq: *seq,
                bucket: bucket_of(row.key),
                attempts: row.attempts,
                bytes: 60,
                key: Key { name: row.key.to_string().into(), source: "https://example.test".into() },
                r#type: row.r#type.into(),
            })
            .collect();
        node.seen.extend(rows.iter().map(|row| row.seq));
        rows
    }

    fn settle(&mut self, at: usize, leases: &[Lease], settlement: &Settlement) -> usize {
        let Store { rows, holders, parked, dead, .. } = &mut self.store;
        let ours = |key: u64| {
            let holder = holders[&bucket_of(key)];
            let lease = Lease { bucket: bucket_of(key), epoch: holder.epoch };
            holder.owner == Some(at) && leases.contains(&lease)
        };
        let before = rows.len();
        for seq in &settlement.confirmed {
            if rows.get(seq).is_some_and(|row| ours(row.key)) {
                assert!(self.confirmed.contains(seq), "{seq} was deleted and never confirmed");
                rows.remove(seq);
            }
        }
        let mut changed = before - rows.len();
        for failed in &settlement.failed {
            if let Some(row) = rows.get_mut(&failed.seq).filter(|row| ours(row.key)) {
                assert!(failed.attempts <= self.refused[&failed.seq], "more attempts than refusals");
                assert!(failed.attempts >= row.attempts, "attempts went back");
                row.attempts = failed.attempts;
                changed += 1;
            }
        }
        for given_up in &settlement.given_up {
            if rows.get(&given_up.seq).is_some_and(|row| ours(row.key)) {
                assert!(self.refused[&given_up.seq] >= 4, "given up too early");
                let Some(row) = rows.remove(&given_up.seq) else { continue };
                if given_up.policy == OnDeadLetter::Park {
                    parked.insert(row.key);
                }
                dead.insert(given_up.seq, row);
                changed += 1;
            }
        }
        changed
    }
}
