//! Who reads which partition of a subscription: the record that all its processes share, and what each makes of it.
//!
//! Each process adds a beat to its entry at intervals. Whose beat stands still for the lease that it stated is taken for
//! dead: its entry is removed, and with it its partitions become free, in one replacement of the record. So a process
//! that was only slow finds itself gone at its next beat. Nobody compares clocks: an observer counts from when it first saw
//! a beat, the process itself from before it wrote it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// All that is known of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The name as the application gave it.
    pub(crate) subscription: String,
    pub(crate) types: BTreeSet<String>,
    /// Where it begins in the streams that were there before it. All others it reads from their beginning.
    pub(crate) begins: BTreeMap<String, Begin>,
    members: BTreeMap<String, Member>,
    owners: Vec<Option<String>>,
}

/// A place in a stream, and which stream of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) created: String,
    pub(crate) sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    beat: u64,
    lease_ms: u64,
    /// Drawn when it joined: who was taken for dead and came back has another one.
    #[serde(default)]
    life: u64,
}

/// When which beat of whom was first seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(HashMap<String, (u64, Instant)>);

/// What a process learns from its beat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// When it has another one than before it was taken for dead meanwhile: whatever it had is lost.
    pub(crate) life: u64,
    pub(crate) owned: BTreeSet<u8>,
    /// More than its share: to be drained, then freed.
    pub(crate) surplus: BTreeSet<u8>,
    /// Others have something to take.
    pub(crate) others_may_take: bool,
}

impl Record {
    pub(crate) fn new(subscription: &str) -> Self {
        Self { subscription: subscription.to_owned(), ..Self::default() }
    }

    /// The place from which a stream is read.
    pub(crate) fn begin(&self, stream: &str, created: &str) -> u64 {
        let known = self.begins.get(stream).filter(|begin| begin.created == created);
        known.map_or(1, |begin| begin.sequence)
    }

    /// One beat of a process: it removes who is dead, frees what it has drained, and takes its share of what is free. `life`
    /// is its own from now on, if it is not in the record.
    pub(crate) fn beat(
        &mut self,
        me: &str,
        life: u64,
        lease: Duration,
        partitions: u8,
        drained: &BTreeSet<u8>,
        (seen, now): (&mut Seen, Instant),
    ) -> Standing {
        self.owners.resize(usize::from(partitions), None);
        self.bury(me, seen, now);
        let joined = !self.members.contains_key(me);
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let member = self.members.entry(me.to_owned()).or_insert(Member { beat: 0, lease_ms, life });
        member.beat += 1;
        let life = member.life;
        for owner in &mut self.owners {
            let is_gone = owner.as_ref().is_some_and(|owner| !self.members.contains_key(owner));
            if is_gone {
                *owner = None;
            }
        }
        let mut freed = false;
        for (partition, owner) in (0..).zip(&mut self.owners) {
            if drained.contains(&partition) && owner.as_deref() == Some(me) {
                *owner = None;
                freed = true;
            }
        }
        let share = usize::from(partitions).div_ceil(self.members.len());
        let mut owned = self.owned_by(me);
        for (partition, owner) in (0..).zip(&mut self.owners) {
            if owned.len() < share && owner.is_none() && !drained.contains(&partition) {
                *owner = Some(me.to_owned());
                owned.insert(partition);
            }
        }
        let surplus = owned.iter().rev().take(owned.len().saturating_sub(share)).copied().collect();
        Standing { others_may_take: freed || (joined && self.members.len() > 1), life, surplus, owned }
    }

    /// How often each process has beaten.
    pub(crate) fn beats(&self) -> BTreeMap<String, u64> {
        self.members.iter().map(|(name, member)| (name.clone(), member.beat)).collect()
    }

    /// A process leaves, and frees all that it has.
    pub(crate) fn leave(&mut self, me: &str) {
        self.members.remove(me);
        for owner in self.owners.iter_mut().filter(|owner| owner.as_deref() == Some(me)) {
            *owner = None;
        }
    }

    fn owned_by(&self, me: &str) -> BTreeSet<u8> {
        let mine = (0..).zip(&self.owners).filter(|(_, owner)| owner.as_deref() == Some(me));
        mine.map(|(partition, _)| partition).collect()
    }

    fn bury(&mut self, me: &str, seen: &mut Seen, now: Instant) {
        seen.0.retain(|member, _| self.members.contains_key(member));
        self.members.retain(|name, member| {
            let (beat, since) = *seen.0.entry(name.clone()).or_insert((member.beat, now));
            if name == me || beat != member.beat {
                seen.0.insert(name.clone(), (member.beat, now));
                return true;
            }
            now.saturating_duration_since(since) <= Duration::from_millis(member.lease_ms)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    struct Process {
        name: &'static str,
        seen: Seen,
        drained: BTreeSet<u8>,
        lives: u64,
    }

    impl Process {
        fn new(name: &'static str) -> Self {
            Self { name, seen: Seen::default(), drained: BTreeSet::new(), lives: 0 }
        }

        fn beat(&mut self, record: &mut Record, now: Instant) -> Standing {
            self.lives += 1;
            record.beat(self.name, self.lives, LEASE, 8, &self.drained, (&mut self.seen, now))
        }
    }

    #[test]
    fn the_first_takes_all_and_gives_half_to_the_second() {
        let (mut record, now) = (Record::new("s"), Instant::now());
        let (mut a, mut b) = (Process::new("a"), Process::new("b"));
        assert_eq!(a.beat(&mut record, now).owned.len(), 8);
        let joined = b.beat(&mut record, now);
        assert!(joined.owned.is_empty() && joined.others_may_take);
        let standing = a.beat(&mut record, now);
        assert_eq!((standing.owned.len(), standing.surplus.len()), (8, 4));
        assert!(b.beat(&mut record, now).owned.is_empty(), "nothing is free before it was drained");
        a.drained = standing.surplus;
        let standing = a.beat(&mut record, now);
        assert_eq!((standing.owned.len(), standing.surplus.len(), standing.others_may_take), (4, 0, true));
        a.drained.clear();
        let taken = b.beat(&mut record, now).owned;
        assert_eq!(taken.len(), 4);
        assert!(taken.is_disjoint(&a.beat(&mut record, now).owned));
    }

    #[test]
    fn who_is_silent_for_its_lease_loses_all_and_learns_of_it() {
        let (mut record, now) = (Record::new("s"), Instant::now());
        let (mut a, mut b) = (Process::new("a"), Process::new("b"));
        a.beat(&mut record, now);
        b.beat(&mut record, now);
        assert!(b.beat(&mut record, now + LEASE).owned.is_empty(), "its lease has not ended yet");
        let later = now + LEASE + Duration::from_millis(1);
        assert_eq!(b.beat(&mut record, later).owned.len(), 8);
        // Nobody answers the beat by which it joins again, nor does it tell by the next one that it was gone.
        a.beat(&mut record, later);
        let back = a.beat(&mut record, later);
        assert!(back.life == 2 && back.owned.is_empty());
    }

    #[test]
    fn a_beat_in_between_keeps_all() {
        let (mut record, now) = (Record::new("s"), Instant::now());
        let (mut a, mut b) = (Process::new("a"), Process::new("b"));
        a.beat(&mut record, now);
        for beats in 1..5 {
            b.beat(&mut record, now + LEASE * beats);
            a.beat(&mut record, now + LEASE * beats);
        }
        assert_eq!(record.owned_by("a").len(), 8);
    }

    #[test]
    fn who_leaves_frees_all_at_once() {
        let (mut record, now) = (Record::new("s"), Instant::now());
        let (mut a, mut b) = (Process::new("a"), Process::new("b"));
        a.beat(&mut record, now);
        b.beat(&mut record, now);
        record.leave("a");
        assert_eq!(b.beat(&mut record, now).owned.len(), 8);
    }

    #[test]
    fn shares_differ_by_little_and_more_processes_than_partitions_leave_some_idle() {
        let (mut record, now) = (Record::new("s"), Instant::now());
        let mut all = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(Process::new);
        for _ in 0..20 {
            for process in &mut all {
                process.drained = process.beat(&mut record, now).surplus;
            }
        }
        let counts: Vec<usize> = all.iter().map(|process| record.owned_by(process.name).len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 8);
        assert!(counts.iter().all(|count| *count <= 1), "{counts:?}");
    }

    #[test]
    fn a_stream_of_the_same_name_that_was_made_later_is_read_from_its_beginning() {
        let mut record = Record::new("s");
        record.begins.insert("x".into(), Begin { created: "monday".into(), sequence: 7 });
        assert_eq!(
            (record.begin("x", "monday"), record.begin("x", "tuesday"), record.begin("y", "")),
            (7, 1, 1)
        );
    }
}
