//! What the bus is handed, what must be true of it at that moment, and what the bus answers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Input, Sent, World, bucket_of};
use crate::integration::Answer;

impl World {
    pub(super) fn hand_over(&mut self, at: usize, batch: Vec<Sent>) {
        assert!(batch.len() <= 5, "a batch of {}", batch.len());
        let busy: BTreeSet<u64> = self.nodes[at].unanswered.keys().copied().collect();
        let mut in_batch: BTreeMap<u64, i64> = BTreeMap::new();
        for sent in batch {
            let key = self.all[&sent.seq];
            assert!(self.nodes[at].kept.remove(&sent.seq), "{} was not kept", sent.seq);
            assert!(!busy.contains(&key), "{} follows what is unanswered of its key", sent.seq);
            let before = in_batch.insert(key, sent.seq);
            assert!(
                before.is_none_or(|seq| self.faults.fail_stop && seq < sent.seq),
                "{} in a batch",
                sent.seq
            );
            let holder = self.store.holders[&bucket_of(key)];
            assert!(holder.owner == Some(at) && self.now < holder.until, "{} without a lease", sent.seq);
            for (seq, _) in self.all.range(..sent.seq).filter(|(_, other)| **other == key) {
                let first = self.confirmed.contains(seq) || self.store.dead.contains_key(seq);
                let with_it = self.faults.fail_stop && self.nodes[at].at_bus.iter().any(|s| s.seq == *seq);
                assert!(first || with_it, "{} overtook {seq}", sent.seq);
            }
            *self.published.entry(sent.seq).or_default() += 1;
            *self.nodes[at].unanswered.entry(key).or_default() += 1;
            self.nodes[at].at_bus.push_back(sent);
        }
        assert!(self.nodes[at].at_bus.len() <= 12, "{} at the bus", self.nodes[at].at_bus.len());
    }

    /// The bus answers one of what it has: any, as order is kept only within a key.
    pub(super) fn answer(&mut self, at: usize) {
        let mut firsts = BTreeSet::new();
        let node = &self.nodes[at];
        let heads: Vec<usize> =
            (0..node.at_bus.len()).filter(|i| firsts.insert(self.all[&node.at_bus[*i].seq])).collect();
        if heads.is_empty() {
            return;
        }
        let head = heads[self.pick(heads.len())];
        let Some(Sent { seq, ticket }) = self.nodes[at].at_bus.remove(head) else { return };
        let faults = self.faults;
        let drawn = self.random.up_to(99);
        let answer = match drawn {
            _ if drawn < faults.refusals => Answer::Refused("no".into()),
            _ if drawn < faults.refusals + faults.unknowns => Answer::Unknown("?".into()),
            _ if drawn < faults.refusals + faults.unknowns + faults.unroutables => Answer::Unroutable,
            _ => Answer::Confirmed,
        };
        let mut answers = vec![(ticket, answer.clone())];
        match answer {
            Answer::Confirmed => _ = self.confirmed.insert(seq),
            Answer::Refused(_) => *self.refused.entry(seq).or_default() += 1,
            Answer::Unroutable | Answer::Unknown(_) => {}
        }
        let key = self.all[&seq];
        if answer != Answer::Confirmed {
            // It stops the key: those behind it in the batch are not delivered.
            let behind = |sent: &Sent| self.all[&sent.seq] == key;
            answers.extend(
                self.nodes[at]
                    .at_bus
                    .iter()
                    .filter(|sent| behind(sent))
                    .map(|sent| (sent.ticket, Answer::Unknown("behind".into()))),
            );
            let all = &self.all;
            self.nodes[at].at_bus.retain(|sent| all[&sent.seq] != key);
            answers.reverse();
        }
        let unanswered = self.nodes[at].unanswered.get_mut(&key);
        if unanswered.is_some_and(|n| {
            *n -= answers.len();
            *n == 0
        }) {
            self.nodes[at].unanswered.remove(&key);
        }
        self.tell(at, Input::Answered(answers));
    }
}
