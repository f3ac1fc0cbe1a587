//! Everything that is committed, and the one place where a transaction becomes part of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::documents::{Document, DocumentTable, Key, Snapshots, Stamp};
use super::fault::MemoryError;
use super::letters::Letters;
use super::outbox::OutboxTable;
use crate::integration::Source;
use crate::port::Mark;
use crate::{Envelope, EventId};

/// An event of a source.
pub(super) type EventKey = (Source, EventId);

#[derive(Default)]
pub(super) struct State {
    /// The number of the last commit.
    pub(super) now: Stamp,
    pub(super) snapshots: Snapshots,
    pub(super) documents: DocumentTable,
    pub(super) outbox: OutboxTable,
    pub(super) letters: Letters,
    pub(super) subscriptions: HashMap<Arc<str>, Inbox>,
    /// By projection, then by source.
    pub(super) checkpoints: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Mark>>,
}

/// What one subscription has handled, and what it has tried.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) handled: HashSet<EventKey>,
    pub(super) attempts: HashMap<EventKey, u32>,
}

/// What a transaction wants to add to the state.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) documents: BTreeMap<Key, Option<Document>>,
    pub(super) claimed: Vec<Claimed>,
    pub(super) checkpoints: Vec<(Arc<str>, Mark)>,
}

impl Changes {
    pub(super) fn are_none(&self) -> bool {
        self.documents.is_empty() && self.claimed.is_empty() && self.checkpoints.is_empty()
    }
}

/// A claim, to be written.
pub(super) struct Claimed {
    pub(super) subscription: Arc<str>,
    pub(super) envelope: Arc<Envelope>,
    /// It goes behind the dead letter of its key, instead of into the inbox.
    pub(super) parked: bool,
}

/// What a transaction relies on.
#[derive(Default)]
pub(super) struct Premises {
    pub(super) documents: HashSet<Key>,
    pub(super) collections: HashSet<&'static str>,
    /// By subscription, the revision of its dead letters.
    pub(super) letters: HashMap<Arc<str>, u64>,
}

impl State {
    pub(super) fn is_handled(&self, subscription: &str, envelope: &Envelope) -> bool {
        let key = (envelope.source.clone(), envelope.id.clone());
        self.subscriptions.get(subscription).is_some_and(|inbox| inbox.handled.contains(&key))
    }

    /// Whether a transaction of this snapshot would come to the same result now.
    pub(super) fn check(
        &self,
        snapshot: Stamp,
        premises: &Premises,
        changes: &Changes,
    ) -> Result<(), MemoryError> {
        let lost = |what: String| Err(MemoryError::Serialization { what });
        for (collection, id) in &premises.documents {
            if self.documents.changed(collection, id) > snapshot {
                return lost(format!("document {id} of {collection}"));
            }
        }
        for collection in &premises.collections {
            if self.documents.collection_changed(collection) > snapshot {
                return lost(format!("collection {collection}"));
            }
        }
        for (subscription, revision) in &premises.letters {
            if self.letters.revision(subscription) != *revision {
                return lost(format!("what waits behind dead letters of {subscription}"));
            }
        }
        for Claimed { subscription, envelope, .. } in &changes.claimed {
            if self.is_handled(subscription, envelope) {
                return lost(format!("the inbox row of {} for {subscription}", envelope.id));
            }
        }
        Ok(())
    }

    /// Takes all of it in, under one commit number.
    pub(super) fn apply(&mut self, changes: Changes, outbox: Vec<Envelope>) {
        self.now += 1;
        let oldest = self.snapshots.oldest().unwrap_or(self.now);
        for (key, document) in changes.documents {
            self.documents.write(key, document, self.now, oldest);
        }
        for claimed in changes.claimed {
            self.write_claim(claimed);
        }
        for (projection, mark) in changes.checkpoints {
            self.move_checkpoint(projection, mark);
        }
        self.outbox.append(outbox);
    }

    fn write_claim(&mut self, Claimed { subscription, envelope, parked }: Claimed) {
        if parked {
            self.letters.wait(&subscription, envelope);
            return;
        }
        let inbox = self.subscriptions.entry(subscription).or_default();
        let key = (envelope.source.clone(), envelope.id.clone());
        inbox.attempts.remove(&key);
        inbox.handled.insert(key);
    }

    fn move_checkpoint(&mut self, projection: Arc<str>, mark: Mark) {
        let of = self.checkpoints.entry(projection).or_default();
        let fresh = || Mark { events: 0, ..mark.clone() };
        let known = of.entry(Arc::clone(&mark.source)).or_insert_with(fresh);
        known.events += mark.events;
        known.last = mark.last;
    }

    /// Ends the use of a snapshot; what only it could see goes with it.
    pub(super) fn leave(&mut self, snapshot: Stamp) {
        let before = self.snapshots.oldest();
        self.snapshots.give_back(snapshot);
        let after = self.snapshots.oldest();
        if after != before {
            self.documents.sweep(after.unwrap_or(self.now));
        }
    }
}
