//! How low a read has to begin, so that no row of a key is shown while an older one of it never was.
//!
//! Writers commit out of `seq` order, so a row may become visible below what was read before. Sequence values are drawn
//! without a transaction id, so a snapshot proves nothing. But whoever may still commit a row holds a lock on the outbox
//! (`RowExclusiveLock`, taken before the value is drawn, released after the commit is visible), and everybody can see who
//! does. A *look* at these locks, taken within a read and therefore after its snapshot, gives two facts:
//!
//! - whoever may still commit a row up to the highest `seq` that this read has shown is in this look, or has ended
//!   between the snapshot and the look: so the next read, whose snapshot is younger, begins where the one *before* ended;
//! - whoever is not in a look and appears in a later one draws values above all that had been drawn before the earlier
//!   look. So of what was drawn by then, the next reads miss no row but of those in the look: a long backlog is walked
//!   once.
//!
//! A writer that was seen is remembered, with the `seq` above which its rows are (`since`), until it has ended and a read
//! that began at or below `since` has shown what it left. While it is young every read begins there. Once it is old,
//! reads leave it alone, because walking again and again over what was deleted since would cost more and more; instead
//! the look within each of them tells whether it is still there, and a read that misses it is made again from `since`.
//!
//! Who has rolled back to a savepoint has given the lock up, and may take it again: what was gone is then there again.
//!
//! A crash of the server may take numbers back that were drawn, and nothing that is known of them counts any more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use factum::port::{BucketSet, Read};

/// Writers that have been open for longer are looked for within a read rather than read for.
const YOUNG: Duration = Duration::from_millis(200);

/// So long one look is good for the reads after it, which begin as low as it allows: a look takes every lock of the server's
/// table of locks, and whoever looks a thousand times a second holds up those who write.
const GOOD_FOR: Duration = Duration::from_millis(10);

/// The sets of buckets of so many reads are taken for those that are read.
const READS_KEPT: usize = 16;

/// A transaction that holds the lock: its virtual id, or what stands for it once it is prepared.
type Writer = String;

/// What is not a running transaction but a prepared one: it has no session, and another name than it had before.
fn is_prepared(writer: &str) -> bool {
    writer.starts_with('-')
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Its rows are above this.
    since: i64,
    first: Instant,
    /// Which absorption was the last that saw it.
    seen: u64,
    /// Which absorption found it gone.
    ended: Option<u64>,
    /// Buckets of which nobody has read yet what it left.
    owed: BucketSet,
}

impl Seen {
    fn new(since: i64, first: Instant, seen: u64) -> Self {
        Self { since, first, seen, ended: None, owed: BucketSet::ALL }
    }
}

/// What is known of writers, by all reads of one store.
#[derive(Debug)]
pub(crate) struct Writers {
    /// By bucket: every row up to this was shown, or is a known writer's.
    proven: [i64; 64],
    /// The highest `seq` that was drawn, or at least shown, before the last look.
    known: i64,
    /// The highest `seq` that was shown.
    shown: i64,
    open: HashMap<Writer, Seen>,
    looked: Option<Instant>,
    /// The buckets of the last reads.
    asked: std::collections::VecDeque<BucketSet>,
    /// Counts what was absorbed.
    absorbed: u64,
    /// How many connections had been opened when all this became known.
    opened: u64,
}

impl Default for Writers {
    fn default() -> Self {
        Self {
            proven: [0; 64],
            known: 0,
            shown: 0,
            open: HashMap::new(),
            looked: None,
            asked: std::collections::VecDeque::new(),
            absorbed: 0,
            opened: 0,
        }
    }
}

/// How a read is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where it begins.
    pub(crate) begin: i64,
    /// Whether it has to look at the locks: now and then, and always where an old writer is left alone.
    pub(crate) look: bool,
    buckets: BucketSet,
    /// `known` and `shown`, as they were when the read was planned: several reads may be on their way.
    known: i64,
    shown: i64,
    /// What had been absorbed by then.
    absorbed: u64,
    /// Writers that had ended by then; and those that had not, with the `seq` above which their rows are.
    ended: Vec<Writer>,
    open: Vec<(Writer, i64)>,
}

/// What a read has shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The highest `seq`, if any.
    pub(crate) last: Option<i64>,
    /// Whether there may be more above that.
    pub(crate) cut: bool,
    /// What the locks told, if they were looked at.
    pub(crate) look: Option<Look>,
}

/// A look at the locks.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The highest `seq` that had been drawn before; 0 where that cannot be seen.
    pub(crate) drawn: i64,
    /// Who held the lock.
    pub(crate) writers: Vec<Writer>,
}

impl Look {
    /// As a read brings it: the number first.
    pub(crate) fn read(mut texts: Vec<String>) -> Option<Self> {
        if texts.is_empty() {
            return None;
        }
        let drawn = texts.remove(0).parse().ok()?;
        Some(Self { drawn, writers: texts })
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It can be used; the next one will begin about here.
    Sound(i64),
    /// A writer that was left alone has ended: rows of it may be missing below what was shown. Or numbers were taken back.
    Again,
}

impl Writers {
    /// Forgets everything if a connection was opened since: the server may have crashed in between, and no connection
    /// outlives that. Then all is read from the start once.
    pub(crate) fn of_life(&mut self, opened: u64) {
        if self.opened != opened {
            *self = Self { opened, ..Self::default() };
        }
    }

    /// Where a read begins, and what it has to look at. `all`: no writer is left alone, however old.
    pub(crate) fn plan(&self, read: &Read, all: bool, now: Instant) -> Plan {
        let proven = self.lowest(read.buckets);
        let owing = self.open.values().filter(|seen| !seen.owed.intersection(read.buckets).is_empty());
        let read_for =
            owing.filter(|seen| all || seen.ended.is_some() || now.duration_since(seen.first) < YOUNG);
        let begin = read_for.map(|seen| seen.since).fold(read.above.min(proven), i64::min);
        let leaves_alone = self.open.values().any(|seen| seen.ended.is_none() && seen.since < begin);
        let wants = !self.open.is_empty() || self.shown > proven;
        let is_due = self.looked.is_none_or(|looked| now.duration_since(looked) >= GOOD_FOR);
        let (ended, open): (Vec<_>, Vec<_>) = self.open.iter().partition(|(_, seen)| seen.ended.is_some());
        Plan {
            begin,
            look: leaves_alone || (wants && is_due),
            buckets: read.buckets,
            known: self.known,
            shown: self.shown,
            absorbed: self.absorbed,
            ended: ended.into_iter().map(|(writer, _)| writer.clone()).collect(),
            open: open.into_iter().map(|(writer, seen)| (writer.clone(), seen.since)).collect(),
        }
    }

    fn lowest(&self, buckets: BucketSet) -> i64 {
        buckets.iter().filter_map(|bucket| self.proven.get(usize::from(bucket))).copied().min().unwrap_or(0)
    }

    /// Takes in what a read has shown.
    pub(crate) fn absorb(&mut self, plan: &Plan, shown: &Shown, now: Instant) -> Verdict {
        self.absorbed += 1;
        if let Some(look) = &shown.look {
            if look.drawn != 0 && look.drawn < plan.known {
                // A pooler keeps its connections when the server crashes.
                *self = Self { opened: self.opened, ..Self::default() };
                return Verdict::Again;
            }
            if self.has_missed(plan, &look.writers) {
                return Verdict::Again;
            }
        }
        self.shown = self.shown.max(shown.last.unwrap_or(0));
        let end = if shown.cut { shown.last.unwrap_or(plan.begin) } else { i64::MAX };
        self.prove(plan, end);
        self.forget(plan, end);
        if let Some(look) = &shown.look {
            self.note(plan, &look.writers, now);
            self.looked = Some(now);
            self.known = self.known.max(plan.shown).max(shown.last.unwrap_or(0)).max(look.drawn);
        }
        Verdict::Sound(self.next(plan.buckets, now))
    }

    /// Marks who has ended, and says whether one of them was left alone by this read.
    fn has_missed(&mut self, plan: &Plan, look: &[Writer]) -> bool {
        let mut lowest = None;
        for (writer, since) in plan.open.iter().filter(|(writer, _)| !look.contains(writer)) {
            let mut since = *since;
            // Another read has found it gone, and all that it left, or so it seems.
            if let Some(seen) = self.open.get_mut(writer) {
                since = since.min(seen.since);
                // Another look has seen it since, perhaps a later one than this.
                if seen.seen <= plan.absorbed {
                    seen.ended.get_or_insert(self.absorbed);
                }
            }
            lowest = Some(lowest.map_or(since, |lowest: i64| lowest.min(since)));
        }
        let Some(lowest) = lowest else { return false };
        for writer in look.iter().filter(|writer| is_prepared(writer)) {
            // It may be one of those that are gone, under another name.
            let seen = Seen::new(lowest, Instant::now(), self.absorbed);
            let kept = self.open.entry(writer.clone()).or_insert(seen);
            kept.since = kept.since.min(lowest);
        }
        lowest < plan.begin
    }

    /// All that the last look knew of up to `known` has been shown now, as far as this read went.
    fn prove(&mut self, plan: &Plan, end: i64) {
        let reached = plan.known.min(end);
        for bucket in plan.buckets.iter() {
            if let Some(proven) = self.proven.get_mut(usize::from(bucket))
                && plan.begin <= *proven
            {
                *proven = reached.max(*proven);
            }
        }
    }

    /// What those who had ended before this read have left was shown, as far as it went.
    fn forget(&mut self, plan: &Plan, end: i64) {
        self.asked.push_back(plan.buckets);
        if self.asked.len() > READS_KEPT {
            self.asked.pop_front();
        }
        let asked = self.asked.iter().fold(BucketSet::default(), |all, one| all.union(*one));
        for writer in &plan.ended {
            let Some(seen) = self.open.get_mut(writer) else { continue };
            if seen.ended.is_none_or(|ended| ended > plan.absorbed) {
                // It was there again meanwhile.
                continue;
            }
            if plan.begin <= seen.since {
                if end >= plan.known {
                    seen.owed = seen.owed.without(plan.buckets);
                } else if seen.owed.without(plan.buckets).is_empty() {
                    seen.since = seen.since.max(end);
                }
            }
            if seen.owed.intersection(asked).is_empty() {
                // Whoever has not read for a while, and comes back, begins where it has to.
                for bucket in seen.owed.iter() {
                    if let Some(proven) = self.proven.get_mut(usize::from(bucket)) {
                        *proven = seen.since.min(*proven);
                    }
                }
                self.open.remove(writer);
            }
        }
    }

    fn note(&mut self, plan: &Plan, look: &[Writer], now: Instant) {
        for writer in look {
            let fresh = Seen::new(plan.known, now, self.absorbed);
            let seen = self.open.entry(writer.clone()).or_insert(fresh.clone());
            seen.seen = self.absorbed;
            if seen.ended.is_some() {
                *seen = Seen { since: seen.since.min(fresh.since), ..fresh };
            }
        }
    }

    fn next(&self, buckets: BucketSet, now: Instant) -> i64 {
        let read = Read { buckets, above: i64::MAX, except: Vec::new(), rows_max: 0, bytes_max: 0 };
        self.plan(&read, false, now).begin
    }
}

#[cfg(test)]
#[path = "writers_tests.rs"]
mod tests;
