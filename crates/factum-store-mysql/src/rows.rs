//! Between a row and an [`Envelope`]: one list of columns, in one order, for every table that holds envelopes.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use factum::integration::Source;
use factum::port::{extensions_from_json, extensions_to_json};
use factum::{BoxError, Envelope, EventId, Timestamp};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments as _, Row as _};

use crate::error::Error;

/// The attributes and the data of an envelope, as [`read`] and [`bind`] take them.
macro_rules! columns {
    () => {
        "source, id, type, subject, partitionkey, time, datacontenttype, dataschema, correlationid, causationid, traceparent, tracestate, extensions, data"
    };
    ($table:literal) => {
        concat!(
            $table, ".source, ", $table, ".id, ", $table, ".type, ", $table, ".subject, ", $table, ".partitionkey, ",
            $table, ".time, ", $table, ".datacontenttype, ", $table, ".dataschema, ", $table, ".correlationid, ",
            $table, ".causationid, ", $table, ".traceparent, ", $table, ".tracestate, ", $table, ".extensions, ",
            $table, ".data"
        )
    };
}
pub(crate) use columns;

/// Microseconds since 1970 by the database's clock, whatever the time zone of the session.
macro_rules! db_now {
    () => {
        "timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6))"
    };
}
pub(crate) use db_now;

/// How many there are.
pub(crate) const COLUMNS: usize = 14;

/// The most characters of what is part of a key.
const KEY_MAX: usize = 255;

/// The most bytes of a reason that are kept.
const REASON_MAX: usize = 16 << 10;

/// Refuses what a key's column cannot keep. `INSERT IGNORE` would cut it off.
pub(crate) fn check_length(what: &'static str, text: &str) -> Result<(), Error> {
    let found = if text.len() > KEY_MAX { text.chars().count() } else { 0 };
    match found > KEY_MAX {
        true => Err(Error::TooLong { what, found, most: KEY_MAX }),
        false => Ok(()),
    }
}

/// As much of a reason as its column takes. One that is too long must not keep a row from being settled.
pub(crate) fn clip(reason: &str) -> &str {
    reason.get(..reason.floor_char_boundary(REASON_MAX)).unwrap_or(reason)
}

/// About how many bytes a statement needs for an envelope.
pub(crate) fn bytes(envelope: &Envelope) -> usize {
    let extensions = envelope.extensions.iter().map(|(name, value)| name.len() + value.len() + 6);
    let attributes = envelope.attributes().map(|(_, value)| value.len());
    envelope.data.len() + attributes.sum::<usize>() + extensions.sum::<usize>() + 200
}

/// Adds an envelope's columns to a statement's arguments.
pub(crate) fn bind(arguments: &mut MySqlArguments, envelope: &Envelope) -> Result<(), BoxError> {
    let extensions = extensions_to_json(envelope)?;
    arguments.add(envelope.source.as_str())?;
    arguments.add(envelope.id.as_str())?;
    arguments.add(&*envelope.r#type)?;
    arguments.add(envelope.subject.as_deref())?;
    arguments.add(envelope.partitionkey.as_deref())?;
    arguments.add(envelope.time.as_micros())?;
    arguments.add(&*envelope.datacontenttype)?;
    arguments.add(envelope.dataschema.as_deref())?;
    arguments.add(envelope.correlationid.as_deref())?;
    arguments.add(envelope.causationid.as_ref().map(EventId::as_str))?;
    arguments.add(envelope.traceparent.as_deref())?;
    arguments.add(envelope.tracestate.as_deref())?;
    arguments.add(extensions)?;
    arguments.add(&*envelope.data)
}

/// What the rows of one answer have in common, kept once.
#[derive(Debug, Default)]
pub(crate) struct Common {
    source: Option<Source>,
}

/// Reads an envelope from a row whose columns begin at `at`. Its `sequence` is for the caller to fill in.
pub(crate) fn read(
    row: &MySqlRow,
    at: usize,
    table: &'static str,
    common: &mut Common,
) -> Result<Envelope, Error> {
    let id: &str = row.try_get(at + 1)?;
    let source = common.source(row.try_get(at)?);
    let kind = row.try_get::<String, _>(at + 2)?;
    let data = Arc::<[u8]>::from(row.try_get::<&[u8], _>(at + 13)?);
    let mut envelope = Envelope::new(id, source, kind, data);
    envelope.subject = text(row, at + 3)?;
    envelope.partitionkey = match (row.try_get::<Option<&str>, _>(at + 4)?, &envelope.subject) {
        (Some(key), Some(subject)) if *key == **subject => Some(Arc::clone(subject)),
        (key, _) => key.map(Arc::from),
    };
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

impl Common {
    /// Nearly always the same one.
    fn source(&mut self, found: &str) -> Source {
        match &self.source {
            Some(known) if known.as_str() == found => known.clone(),
            _ => self.source.insert(found.into()).clone(),
        }
    }
}

pub(crate) fn text(row: &MySqlRow, at: usize) -> Result<Option<Arc<str>>, sqlx::Error> {
    Ok(row.try_get::<Option<&str>, _>(at)?.map(Arc::from))
}

/// Microseconds since 1970, by this machine's clock.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
