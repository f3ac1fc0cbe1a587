//! Documents in several versions, so that a transaction sees those of its snapshot while others commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::Version;

/// The number of a commit.
pub(super) type Stamp = u64;

/// A document's place.
pub(super) type Key = (&'static str, Arc<str>);

#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) version: Version,
    pub(super) bytes: Arc<[u8]>,
}

/// What commits have made of one document, oldest first; `None` where it was deleted.
type History = Vec<(Stamp, Option<Document>)>;

#[derive(Default)]
struct Collection {
    rows: BTreeMap<Arc<str>, History>,
    /// The last commit that changed anything in it.
    changed: Stamp,
}

#[derive(Default)]
pub(super) struct DocumentTable {
    collections: BTreeMap<&'static str, Collection>,
    /// Documents that keep more than a reader of today needs.
    garbage: BTreeSet<Key>,
}

impl DocumentTable {
    pub(super) fn at(&self, collection: &str, id: &str, snapshot: Stamp) -> Option<&Document> {
        visible(self.history(collection, id)?, snapshot)
    }

    /// The last commit that changed it; 0 if none did that anybody could remember.
    pub(super) fn changed(&self, collection: &str, id: &str) -> Stamp {
        self.history(collection, id).and_then(|history| history.last()).map_or(0, |(stamp, _)| *stamp)
    }

    pub(super) fn collection_changed(&self, collection: &str) -> Stamp {
        self.collections.get(collection).map_or(0, |collection| collection.changed)
    }

    pub(super) fn scan(
        &self,
        collection: &str,
        after: &str,
        most: usize,
        snapshot: Stamp,
    ) -> BTreeMap<Arc<str>, Document> {
        let Some(collection) = self.collections.get(collection) else { return BTreeMap::new() };
        let rows = collection.rows.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        rows.filter_map(|(id, history)| Some((Arc::clone(id), visible(history, snapshot)?.clone())))
            .take(most)
            .collect()
    }

    /// `oldest` is the oldest snapshot that is still in use.
    pub(super) fn write(&mut self, key: Key, document: Option<Document>, now: Stamp, oldest: Stamp) {
        let collection = self.collections.entry(key.0).or_default();
        collection.changed = now;
        collection.rows.entry(Arc::clone(&key.1)).or_default().push((now, document));
        self.prune(key, oldest);
    }

    /// Forgets what no snapshot can see any more.
    pub(super) fn sweep(&mut self, oldest: Stamp) {
        for key in std::mem::take(&mut self.garbage) {
            self.prune(key, oldest);
        }
    }

    fn prune(&mut self, key: Key, oldest: Stamp) {
        let Some(collection) = self.collections.get_mut(key.0) else { return };
        let Some(history) = collection.rows.get_mut(&key.1) else { return };
        let seen = history.iter().rposition(|(stamp, _)| *stamp <= oldest).unwrap_or(0);
        history.drain(..seen);
        match history.as_slice() {
            [(stamp, None)] if *stamp <= oldest => drop(collection.rows.remove(&key.1)),
            [(_, Some(_))] => {}
            _ => drop(self.garbage.insert(key)),
        }
    }

    fn history(&self, collection: &str, id: &str) -> Option<&History> {
        self.collections.get(collection)?.rows.get(id)
    }
}

fn visible(history: &History, snapshot: Stamp) -> Option<&Document> {
    history.iter().rev().find(|(stamp, _)| *stamp <= snapshot)?.1.as_ref()
}

/// The snapshots in use, and how many use each.
#[derive(Default)]
pub(super) struct Snapshots(BTreeMap<Stamp, usize>);

impl Snapshots {
    pub(super) fn take(&mut self, at: Stamp) {
        *self.0.entry(at).or_default() += 1;
    }

    pub(super) fn give_back(&mut self, at: Stamp) {
        if let Some(users) = self.0.get_mut(&at) {
            *users -= 1;
            if *users == 0 {
                self.0.remove(&at);
            }
        }
    }

    pub(super) fn oldest(&self) -> Option<Stamp> {
        self.0.keys().next().copied()
    }

    pub(super) fn count(&self) -> usize {
        self.0.values().sum()
    }
}
