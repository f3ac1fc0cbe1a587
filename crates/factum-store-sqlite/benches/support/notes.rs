//! What both sides write: a note in a table of its own, and with it an envelope in the outbox, or none.

use factum::port::{Ids as _, SystemIds};
use factum::{
    AggregateRoot, BoxError, Dispatcher, DomainEvent, DomainEvents, Envelope, IntegrationEvent, Loaded,
    Persist, Version, Work, Written,
};
use factum_store_sqlite::Sqlite;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, Row as _, SqliteConnection};

const SOURCE: &str = "https://bench.example/notes";
const TEXT: &str = "Two hundred bytes are a usual size for an event, so this note is filled up to about that much. \
                    It says nothing else, and it goes on saying it until it has the length that it is meant to have.";

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
}

#[derive(Debug, DomainEvent)]
struct NoteWritten {
    id: i64,
    text: String,
}

#[derive(Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.notes.note-written.v1", key = id)]
struct NoteWrittenV1 {
    id: String,
    text: String,
}

fn published(event: &NoteWritten) -> NoteWrittenV1 {
    NoteWrittenV1 { id: event.id.to_string(), text: event.text.clone() }
}

impl Persist<Sqlite> for Note {
    async fn load(id: &i64, db: &mut SqliteConnection) -> Result<Option<Loaded<Self>>, BoxError> {
        let sql = "SELECT text, version FROM notes WHERE id = ?";
        let Some(row) = sqlx::query(sql).bind(id).fetch_optional(db).await? else { return Ok(None) };
        let note = Self { id: *id, text: row.try_get(0)?, events: DomainEvents::new() };
        Ok(Some(Loaded::new(note, row.try_get(1)?)))
    }

    async fn insert(&self, db: &mut SqliteConnection) -> Result<Written, BoxError> {
        insert(db, self.id, &self.text).await?;
        Ok(Written::Fresh)
    }

    async fn update(&self, version: Version, db: &mut SqliteConnection) -> Result<Written, BoxError> {
        let sql = "UPDATE notes SET text = ?, version = version + 1 WHERE id = ? AND version = ?";
        let done = sqlx::query(sql).bind(&self.text).bind(self.id).bind(version).execute(db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }

    async fn delete(&self, version: Version, db: &mut SqliteConnection) -> Result<Written, BoxError> {
        let sql = "DELETE FROM notes WHERE id = ? AND version = ?";
        let done = sqlx::query(sql).bind(self.id).bind(version).execute(db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }
}

/// Both sides' insert.
async fn insert(db: &mut SqliteConnection, id: i64, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO notes VALUES (?, ?, 1)").bind(id).bind(text).execute(db).await.map(drop)
}

/// Our side.
pub(crate) fn work(store: &Sqlite, announces: bool) -> Work<Sqlite> {
    let dispatcher = Dispatcher::new();
    let dispatcher = if announces { dispatcher.announcing::<NoteWritten>(published) } else { dispatcher };
    Work::new(SOURCE, store.clone(), dispatcher)
}

/// By hand: four statements one after the other on a connection that nobody shares, and an envelope made without a unit
/// of work. With no envelope, three.
pub(crate) async fn by_hand(db: &mut SqliteConnection, id: i64, announces: bool) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
    insert(db, id, TEXT).await?;
    if announces {
        append(db, envelope(id)).await?;
    }
    sqlx::query("COMMIT").execute(&mut *db).await?;
    Ok(())
}

fn envelope(id: i64) -> Envelope {
    let event = NoteWrittenV1 { id: id.to_string(), text: TEXT.into() };
    let (minted, time) = SystemIds.mint();
    let data = serde_json::to_vec(&event).unwrap();
    let mut envelope = Envelope::new(minted, SOURCE, NoteWrittenV1::TYPE, data);
    envelope.correlationid = Some(envelope.id.as_str().into());
    (envelope.partitionkey, envelope.time) = (Some(event.id.as_str().into()), time);
    envelope
}

/// All columns that a unit of work writes.
async fn append(db: &mut SqliteConnection, envelope: Envelope) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO factum_outbox (bucket, source, id, type, subject, partitionkey, time, datacontenttype, dataschema, correlationid, causationid, traceparent, tracestate, extensions, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(SQL)
        .bind(envelope.bucket())
        .bind(envelope.source.as_str())
        .bind(envelope.id.as_str())
        .bind(&*envelope.r#type)
        .bind(envelope.subject.as_deref())
        .bind(envelope.partitionkey.as_deref())
        .bind(envelope.time.as_micros())
        .bind(&*envelope.datacontenttype)
        .bind(envelope.dataschema.as_deref())
        .bind(envelope.correlationid.as_deref())
        .bind(envelope.causationid.as_ref().map(|id| id.as_str()))
        .bind(envelope.traceparent.as_deref())
        .bind(envelope.tracestate.as_deref())
        .bind(None::<&str>)
        .bind(&*envelope.data)
        .execute(db)
        .await
        .map(drop)
}

/// The table of the notes, beside the store's own.
pub(crate) async fn create(db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql =
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL, version INTEGER NOT NULL) STRICT";
    sqlx::raw_sql(sql).execute(db).await.map(drop)
}

/// How many notes and how many outbox rows are in the file.
pub(crate) async fn counts(db: &mut SqliteConnection) -> (i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM factum_outbox)";
    let counts = sqlx::query_as(sql).fetch_one(&mut *db).await.unwrap();
    db.ping().await.unwrap();
    counts
}
