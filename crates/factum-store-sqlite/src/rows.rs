//! Between a row and an [`Envelope`]: one list of columns, in one order, for every table that holds envelopes.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use factum::port::{extensions_from_json, extensions_to_json};
use factum::{BoxError, Envelope, EventId, Timestamp};
use sqlx::Arguments as _;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use crate::error::Error;

/// The attributes and the data of an envelope, as [`read`] and [`bind`] take them.
macro_rules! columns {
    () => {
        "source, id, type, subject, partitionkey, time, datacontenttype, dataschema, correlationid, causationid, traceparent, tracestate, extensions, data"
    };
}
pub(crate) use columns;

/// How many there are.
pub(crate) const COLUMNS: usize = 14;

/// Adds an envelope's columns to a statement's arguments.
pub(crate) fn bind(arguments: &mut SqliteArguments, envelope: Envelope) -> Result<(), BoxError> {
    let extensions = extensions_to_json(&envelope)?;
    arguments.add(envelope.source.as_str())?;
    arguments.add(envelope.id.as_str())?;
    arguments.add(envelope.r#type)?;
    arguments.add(envelope.subject)?;
    arguments.add(envelope.partitionkey)?;
    arguments.add(envelope.time.as_micros())?;
    arguments.add(envelope.datacontenttype)?;
    arguments.add(envelope.dataschema)?;
    arguments.add(envelope.correlationid)?;
    arguments.add(envelope.causationid.as_ref().map(EventId::as_str))?;
    arguments.add(envelope.traceparent)?;
    arguments.add(envelope.tracestate)?;
    arguments.add(extensions)?;
    arguments.add(&*envelope.data)
}

/// Reads an envelope from a row whose columns begin at `at`. Its `sequence` is for the caller to fill in.
pub(crate) fn read(row: &SqliteRow, at: usize, table: &'static str) -> Result<Envelope, Error> {
    let id: &str = row.try_get(at + 1)?;
    let kind = row.try_get::<String, _>(at + 2)?;
    let data = Arc::<[u8]>::from(row.try_get::<&[u8], _>(at + 13)?);
    let mut envelope = Envelope::new(id, row.try_get::<&str, _>(at)?, kind, data);
    envelope.subject = text(row, at + 3)?;
    envelope.partitionkey = text(row, at + 4)?;
    envelope.time = Timestamp::from_micros(row.try_get(at + 5)?);
    envelope.datacontenttype = match row.try_get::<&str, _>(at + 6)? {
        "application/json" => "application/json".into(),
        other => other.to_owned().into(),
    };
    envelope.dataschema = text(row, at + 7)?;
    envelope.correlationid = text(row, at + 8)?;
    envelope.causationid = row.try_get::<Option<&str>, _>(at + 9)?.map(EventId::from);
    envelope.traceparent = text(row, at + 10)?;
    envelope.tracestate = text(row, at + 11)?;
    if let Some(json) = row.try_get::<Option<&str>, _>(at + 12)? {
        envelope.extensions =
            extensions_from_json(json).map_err(|what| Error::BadRow { table, id: id.into(), what })?;
    }
    Ok(envelope)
}

pub(crate) fn text(row: &SqliteRow, at: usize) -> Result<Option<Arc<str>>, sqlx::Error> {
    Ok(row.try_get::<Option<&str>, _>(at)?.map(Arc::from))
}

/// Microseconds since 1970, by this machine's clock.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
