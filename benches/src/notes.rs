//! What both sides write in a transaction: a note in a table of its own, and with it an envelope in the outbox, or none.
//! By hand it is the same SQL on the same driver, as a person writes it: begin, one or two statements, commit.

mod servers;

use std::future::Future;

use factum::port::{Ids as _, OutboxStore, SystemIds};
use factum::{AggregateRoot, Dispatcher, DomainEvent, DomainEvents, Envelope, IntegrationEvent, Persist};
use factum::{Store, UnitOfWork, Work};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::fill::{SOURCE, TYPE};

const TEXT: &str = "Two hundred bytes are a usual size for an event, so this note is filled up to about that much. \
                    It says nothing else, and it goes on saying it until it has the length that it is meant to have.";

/// A database on which notes can be written by either way.
pub(crate) trait Notes: Store + OutboxStore {
    /// Connections of the other side.
    type Pool: Clone + Send + Sync + 'static;

    /// Our store.
    fn open(url: &str, connections: u32) -> impl Future<Output = Outcome<Self>> + Send;

    /// The driver's pool, with as many connections.
    fn pool(url: &str, connections: u32) -> impl Future<Output = Outcome<Self::Pool>> + Send;

    /// Begin, one insert or two, commit.
    fn by_hand(pool: &Self::Pool, id: i64, announces: bool) -> impl Future<Output = Outcome<()>> + Send;

    /// The same into the raw limit's table.
    fn raw_by_hand(pool: &Self::Pool, id: i64) -> impl Future<Output = Outcome<()>> + Send;

    /// The same with the second statement by our `append`.
    fn append(&self, pool: &Self::Pool, id: i64) -> impl Future<Output = Outcome<()>> + Send;

    /// Tells relays that something was put in the outbox by other means.
    fn wake_relays(&self);
}

/// The table of the notes, beside the store's own.
pub(crate) const TABLE: &str =
    "CREATE TABLE notes (id bigint PRIMARY KEY, text text NOT NULL, version bigint NOT NULL)";

/// An aggregate that is written once.
#[derive(AggregateRoot)]
pub(crate) struct Note {
    id: i64,
    text: String,
    events: DomainEvents,
}

impl Note {
    pub(crate) fn written(id: i64) -> Self {
        let mut events = DomainEvents::new();
        events.record(NoteWritten { id, text: TEXT.into() });
        Self { id, text: TEXT.into(), events }
    }

    fn loaded(id: i64, text: String) -> Self {
        Self { id, text, events: DomainEvents::new() }
    }
}

#[derive(Debug, DomainEvent)]
pub(crate) struct NoteWritten {
    id: i64,
    text: String,
}

/// Its `id` tells a consumer which note it is.
#[derive(Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.bench.orders.order-placed.v1", key = id)]
pub(crate) struct NoteWrittenV1 {
    pub(crate) id: String,
    text: String,
}

fn published(event: &NoteWritten) -> NoteWrittenV1 {
    NoteWrittenV1 { id: event.id.to_string(), text: event.text.clone() }
}

/// What is announced of a note, as a consumer finds it.
pub(crate) fn payload(id: i64) -> Vec<u8> {
    serde_json::to_vec(&NoteWrittenV1 { id: id.to_string(), text: TEXT.into() }).unwrap_or_default()
}

/// Our side.
pub(crate) fn work<S: Notes>(store: &S, announces: bool) -> Work<S>
where
    Note: Persist<S>,
{
    let dispatcher = Dispatcher::new();
    let dispatcher = if announces { dispatcher.announcing::<NoteWritten>(published) } else { dispatcher };
    Work::new(SOURCE, store.clone(), dispatcher)
}

/// One unit of work: one note.
pub(crate) async fn write<S: Notes>(work: &Work<S>, id: i64) -> Outcome<()>
where
    Note: Persist<S>,
{
    let body = async |uow: &mut UnitOfWork<S>| {
        uow.add(Note::written(id));
        Ok(())
    };
    let _ = work.run(body).await?;
    Ok(())
}

/// An envelope that was made without a unit of work.
fn envelope(id: i64) -> Envelope {
    let (minted, time) = SystemIds.mint();
    let mut envelope = Envelope::new(minted, SOURCE, TYPE, payload(id));
    envelope.correlationid = Some(envelope.id.as_str().into());
    (envelope.partitionkey, envelope.time) = (Some(id.to_string().into()), time);
    envelope
}
