//! What a transaction does: it reads its snapshot, notes its changes, and relies on what it saw until it commits.

use std::sync::Arc;

use super::Shared;
use super::documents::{Document, Key, Stamp};
use super::fault::{CommitFault, MemoryError, StatementFault};
use super::state::{Changes, Claimed, Premises};
use crate::port::{Access, Claim, Claiming, Mark, NotCommitted};
use crate::{Envelope, Sort, Version, Written};

/// A document as a [`Connection`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id within the collection.
    pub id: Arc<str>,
    /// How often it was written.
    pub version: Version,
    /// The document.
    pub bytes: Arc<[u8]>,
}

/// What handlers and [`Persist`](crate::Persist) of a [`MemoryStore`](super::MemoryStore) query with: one open
/// transaction.
///
/// Documents are bytes under a collection and an id, with a version that begins at 1.
pub struct Connection {
    store: Arc<Shared>,
    access: Access,
    snapshot: Stamp,
    changes: Changes,
    premises: Premises,
    /// The error that ended this transaction.
    aborted: Option<MemoryError>,
}

impl Connection {
    pub(super) fn open(store: Arc<Shared>, access: Access) -> Self {
        let snapshot = {
            let mut state = store.state();
            let now = state.now;
            state.snapshots.take(now);
            now
        };
        Self {
            store,
            access,
            snapshot,
            changes: Changes::default(),
            premises: Premises::default(),
            aborted: None,
        }
    }

    /// The document, if there is one.
    ///
    /// # Errors
    /// [`MemoryError::Aborted`], or an injected one.
    pub fn get(&mut self, collection: &'static str, id: &str) -> Result<Option<Row>, MemoryError> {
        self.statement()?;
        let key = self.rely_on(collection, id);
        let found = self.visible(&key);
        Ok(found.map(|Document { version, bytes }| Row { id: key.1, version, bytes }))
    }

    /// Inserts a document as version 1 (`expected` is `None`), or replaces version `expected` by the next.
    ///
    /// # Errors
    /// [`MemoryError::Aborted`], [`MemoryError::ReadOnly`], or an injected one.
    pub fn put(
        &mut self,
        collection: &'static str,
        id: &str,
        expected: Option<Version>,
        document: impl Into<Arc<[u8]>>,
    ) -> Result<Written, MemoryError> {
        self.change("`put`")?;
        let version = expected.unwrap_or(0) + 1;
        Ok(self.replace(collection, id, expected, Some(Document { version, bytes: document.into() })))
    }

    /// Deletes version `expected` of a document.
    ///
    /// # Errors
    /// [`MemoryError::Aborted`], [`MemoryError::ReadOnly`], or an injected one.
    pub fn delete(
        &mut self,
        collection: &'static str,
        id: &str,
        expected: Version,
    ) -> Result<Written, MemoryError> {
        self.change("`delete`")?;
        Ok(self.replace(collection, id, Some(expected), None))
    }

    /// All documents of a collection, sorted by id.
    ///
    /// # Errors
    /// [`MemoryError::Aborted`], or an injected one.
    pub fn list(&mut self, collection: &'static str) -> Result<Vec<Row>, MemoryError> {
        self.scan(collection, "", usize::MAX)
    }

    /// The documents of a collection whose ids come after `after`, sorted by id, at most `most`.
    ///
    /// # Errors
    /// [`MemoryError::Aborted`], or an injected one.
    pub fn scan(
        &mut self,
        collection: &'static str,
        after: &str,
        most: usize,
    ) -> Result<Vec<Row>, MemoryError> {
        self.statement()?;
        if self.access == Access::Write {
            self.premises.collections.insert(collection);
        }
        let changed = &self.changes.documents;
        let changed: Vec<_> =
            changed.iter().filter(|((of, id), _)| *of == collection && **id > *after).collect();
        let enough = most.saturating_add(changed.len());
        let mut rows = self.store.state().documents.scan(collection, after, enough, self.snapshot);
        for ((_, id), document) in changed {
            match document {
                Some(document) => drop(rows.insert(Arc::clone(id), document.clone())),
                None => drop(rows.remove(id)),
            }
        }
        let row = |(id, Document { version, bytes })| Row { id, version, bytes };
        Ok(rows.into_iter().take(most).map(row).collect())
    }

    pub(super) fn claim(&mut self, claiming: Claiming<'_>) -> Result<Vec<Claim>, MemoryError> {
        self.change("`claim`")?;
        let subscription: Arc<str> = claiming.subscription.into();
        let store = Arc::clone(&self.store);
        let state = store.state();
        let revision = state.letters.revision(&subscription);
        self.premises.letters.insert(Arc::clone(&subscription), revision);
        let mut claims = Vec::with_capacity(claiming.envelopes.len());
        for envelope in claiming.envelopes {
            let (claim, parked) = match state.is_handled(&subscription, envelope) {
                true => (Claim::Duplicate, None),
                false => state.letters.claim(&subscription, envelope, claiming.released),
            };
            claims.push(claim);
            if let Some(parked) = parked {
                let (subscription, envelope) = (Arc::clone(&subscription), Arc::clone(envelope));
                self.changes.claimed.push(Claimed { subscription, envelope, parked });
            }
        }
        Ok(claims)
    }

    pub(super) fn checkpoint(&mut self, projection: &str, marks: &[Mark]) -> Result<(), MemoryError> {
        self.change("`checkpoint`")?;
        let projection: Arc<str> = projection.into();
        let marks = marks.iter().map(|mark| (Arc::clone(&projection), mark.clone()));
        self.changes.checkpoints.extend(marks);
        Ok(())
    }

    pub(super) fn commit(&mut self, outbox: Vec<Envelope>) -> Result<(), NotCommitted> {
        self.check_alive()?;
        if self.access == Access::Read {
            return match outbox.is_empty() {
                true => Ok(()),
                false => Err(MemoryError::ReadOnly { what: "an append to the outbox" }.into()),
            };
        }
        if outbox.is_empty() && self.changes.are_none() {
            return Ok(());
        }
        let fault = self.store.faults().commit.take();
        let unknown = MemoryError::Injected { sort: Sort::OutcomeUnknown };
        match fault {
            None => Ok(self.apply(outbox)?),
            Some(CommitFault::Transient) => Err(MemoryError::Injected { sort: Sort::Transient }.into()),
            Some(CommitFault::Permanent) => Err(MemoryError::Injected { sort: Sort::Permanent }.into()),
            Some(CommitFault::UnknownAndLost) => Err(NotCommitted::Unknown(unknown.into())),
            Some(CommitFault::UnknownAndKept) => {
                self.apply(outbox)?;
                Err(NotCommitted::Unknown(unknown.into()))
            }
        }
    }

    fn apply(&mut self, outbox: Vec<Envelope>) -> Result<(), MemoryError> {
        let changes = std::mem::take(&mut self.changes);
        let appends = !outbox.is_empty();
        {
            let mut state = self.store.state();
            state.check(self.snapshot, &self.premises, &changes)?;
            state.apply(changes, outbox);
        }
        if appends {
            self.store.hint.give();
        }
        Ok(())
    }

    /// Whoever writes without having seen the newest version is told so at once, and not only at commit.
    fn replace(
        &mut self,
        collection: &'static str,
        id: &str,
        expected: Option<Version>,
        by: Option<Document>,
    ) -> Written {
        let key = self.rely_on(collection, id);
        let is_newest = self.store.state().documents.changed(collection, id) <= self.snapshot;
        if !is_newest || self.visible(&key).map(|document| document.version) != expected {
            return Written::Stale;
        }
        self.changes.documents.insert(key, by);
        Written::Fresh
    }

    fn rely_on(&mut self, collection: &'static str, id: &str) -> Key {
        let key = (collection, Arc::from(id));
        if self.access == Access::Write {
            self.premises.documents.insert(key.clone());
        }
        key
    }

    fn visible(&self, key: &Key) -> Option<Document> {
        match self.changes.documents.get(key) {
            Some(changed) => changed.clone(),
            None => self.store.state().documents.at(key.0, &key.1, self.snapshot).cloned(),
        }
    }

    fn change(&mut self, what: &'static str) -> Result<(), MemoryError> {
        match self.access {
            Access::Read => Err(MemoryError::ReadOnly { what }),
            Access::Write => self.statement(),
        }
    }

    /// Before every statement: whether this transaction still lives, and whether a test wants the statement to fail.
    fn statement(&mut self) -> Result<(), MemoryError> {
        self.check_alive()?;
        let fault = self.store.faults().of_statement();
        let error = match fault {
            None => return Ok(()),
            Some(StatementFault::Transient) => MemoryError::Injected { sort: Sort::Transient },
            Some(_) => MemoryError::Injected { sort: Sort::Permanent },
        };
        if fault == Some(StatementFault::Fatal) {
            self.aborted = Some(error.clone());
        }
        Err(error)
    }

    fn check_alive(&self) -> Result<(), MemoryError> {
        match &self.aborted {
            None => Ok(()),
            Some(by) => Err(MemoryError::Aborted { by: by.to_string() }),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.store.state().leave(self.snapshot);
    }
}
