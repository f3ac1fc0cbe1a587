//! A small domain in a table that is not the store's: notes, written by SQL of a test's own, as an application would.
//!
//! The suite speaks through documents and ports. Here a store's own tests find what they share: [`Notes`] says how to
//! get at the table, and at what is really in it.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use factum::{
    AggregateRoot, BoxError, Dispatcher, DomainEvent, DomainEvents, Entity, Event, Integration,
    IntegrationEvent, Loaded, Outcome, Persist, Records, Store, UnitOfWork, Version, Visit, Work, Written,
};
use serde::{Deserialize, Serialize};

use super::DropAfter;

/// In whose name notes are announced.
pub const SOURCE: &str = "https://tests.example/notes";

/// A connection on which handlers of a store's units of work query.
pub type Connection<N> = <<N as Notes>::Store as Store>::Connection;

/// Where notes are: a file, a schema, a database, with a table `notes (id, text, version)` and the tables of a store.
pub trait Notes: Send + Sync + Sized + 'static {
    /// The store.
    type Store: Store;

    /// A place of its own; `None`, after saying so, where there is no server.
    fn or_skip(test: &str) -> impl Future<Output = Option<Self>> + Send;

    /// A store there. Who writes by it, or looks, waits until what was dropped before is over.
    fn patient_store(&self) -> impl Future<Output = Self::Store> + Send;

    /// Text and version of a note.
    fn select(
        db: &mut Connection<Self>,
        id: &str,
    ) -> impl Future<Output = Result<Option<(String, Version)>, BoxError>> + Send;

    /// Inserts a note with version 1.
    fn insert(
        db: &mut Connection<Self>,
        id: &str,
        text: &str,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Changes a note that has this version; answers how many it were.
    fn update(
        db: &mut Connection<Self>,
        id: &str,
        text: &str,
        version: Version,
    ) -> impl Future<Output = Result<u64, BoxError>> + Send;

    /// Deletes a note that has this version; answers how many it were.
    fn delete(
        db: &mut Connection<Self>,
        id: &str,
        version: Version,
    ) -> impl Future<Output = Result<u64, BoxError>> + Send;

    /// Whether a note is committed, as a connection sees it that has nothing to do with a store.
    fn has_note(&self, id: &str) -> impl Future<Output = bool> + Send;

    /// How many envelopes of a key are committed, as such a connection sees it.
    fn announced(&self, key: &str) -> impl Future<Output = i64> + Send;

    /// Panics if anybody has a transaction open that has written.
    fn assert_nobody_writes(&self) -> impl Future<Output = ()> + Send;
}

/// A note in a table.
pub struct Note<N> {
    id: String,
    text: String,
    events: DomainEvents,
    place: PhantomData<fn() -> N>,
}

impl<N> Note<N> {
    /// A new one, which records that it was written.
    pub fn written(id: &str, text: &str) -> Self {
        let mut note = Self::restored(id, text.into());
        note.events.record(NoteWritten { id: id.into() });
        note
    }

    fn restored(id: &str, text: String) -> Self {
        Self { id: id.into(), text, events: DomainEvents::new(), place: PhantomData }
    }
}

impl<N> fmt::Debug for Note<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Note").field("id", &self.id).field("text", &self.text).finish_non_exhaustive()
    }
}

impl<N> Entity for Note<N> {
    type Id = String;
    fn id(&self) -> &String {
        &self.id
    }
}

impl<N> Records for Note<N> {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.events.each_events(visit);
    }
}

impl<N> AggregateRoot for Note<N> {}

impl<N: Notes> Persist<N::Store> for Note<N> {
    async fn load(id: &String, db: &mut Connection<N>) -> Result<Option<Loaded<Self>>, BoxError> {
        let found = N::select(db, id).await?;
        Ok(found.map(|(text, version)| Loaded::new(Self::restored(id, text), version)))
    }

    async fn insert(&self, db: &mut Connection<N>) -> Result<Written, BoxError> {
        N::insert(db, &self.id, &self.text).await?;
        Ok(Written::Fresh)
    }

    async fn update(&self, version: Version, db: &mut Connection<N>) -> Result<Written, BoxError> {
        Ok(Written::one_row(N::update(db, &self.id, &self.text, version).await?))
    }

    async fn delete(&self, version: Version, db: &mut Connection<N>) -> Result<Written, BoxError> {
        Ok(Written::one_row(N::delete(db, &self.id, version).await?))
    }
}

/// A note was written.
#[derive(Debug)]
pub struct NoteWritten {
    /// Which.
    pub id: String,
}

impl DomainEvent for NoteWritten {}

/// Others are told that a note was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoteWrittenV1 {
    /// Which; the key.
    pub id: String,
}

impl Event for NoteWrittenV1 {
    type Kind = Integration;
}

impl IntegrationEvent for NoteWrittenV1 {
    const TYPE: &'static str = "com.example.notes.note-written.v1";
    fn key(&self) -> Option<String> {
        Some(self.id.clone())
    }
}

/// A handler that announces what was written.
///
/// # Errors
/// It cannot be announced.
pub async fn announce<S: Store>(written: &NoteWritten, uow: &mut UnitOfWork<S>) -> Outcome {
    uow.announce(&NoteWrittenV1 { id: written.id.clone() })?;
    Ok(())
}

/// Work in the name of [`SOURCE`].
pub fn work<S: Store>(store: &S, dispatcher: Dispatcher<S>) -> Work<S> {
    Work::new(SOURCE, store.clone(), dispatcher)
}

/// Writes one note and announces it.
///
/// # Errors
/// The store's.
pub async fn write_note<N: Notes>(work: &Work<N::Store>, id: &str) -> Result<(), factum::Error> {
    let mut uow = work.begin().await?;
    uow.add(Note::<N>::written(id, "well"));
    uow.announce(&NoteWrittenV1 { id: id.into() })?;
    uow.save_changes().await.map(drop)
}

/// An acknowledged write is really there, and nobody has left a transaction behind.
///
/// # Panics
/// It is not so.
pub async fn assert_works<N: Notes>(notes: &N, work: &Work<N::Store>, id: &str) {
    write_note::<N>(work, id).await.expect("the store works");
    assert!(notes.has_note(id).await, "the acknowledged write {id} is not there");
    notes.assert_nobody_writes().await;
}

/// A note is there with its envelope, or neither is; and both are if that was acknowledged.
///
/// # Panics
/// It is not so.
pub async fn assert_whole<N: Notes>(notes: &N, id: &str, done: Option<Result<(), BoxError>>) {
    if let Some(done) = done {
        done.expect("it was not dropped");
        assert!(notes.has_note(id).await, "{id} was acknowledged");
    }
    let (announced, is_there) = (notes.announced(id).await, notes.has_note(id).await);
    assert_eq!(announced, i64::from(is_there), "{id} is there by half");
}

/// Drops `attempt` after 1, 2, 3 .. polls until it gets through a few times; after each, the store works, and `check`
/// looks at what became of it.
///
/// # Panics
/// The store does not work, or a thousand rounds were not enough.
pub async fn drop_at_every_poll<N: Notes, T>(
    notes: &N,
    work: &Work<N::Store>,
    attempt: impl AsyncFn(usize) -> T,
    check: impl AsyncFn(usize, Option<T>),
) {
    let (mut round, mut polls, mut completed, mut dropped) = (0, 1, 0, 0);
    // A quick machine may answer within a poll.
    while completed < 3 || dropped < 3 {
        let done = DropAfter::polls(polls, attempt(round)).await;
        polls = if done.is_some() { 1 } else { polls + 1 };
        completed += usize::from(done.is_some());
        dropped += usize::from(done.is_none());
        assert_works(notes, work, &format!("after {round}")).await;
        check(round, done).await;
        round += 1;
        assert!(round < 1_000, "{dropped} were dropped, {completed} got through");
    }
}
