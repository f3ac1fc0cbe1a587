//! Between a row and an [`Envelope`]: one list of columns, in one order, for every table that holds envelopes.

use std::borrow::Cow;
use std::sync::Arc;

use factum::integration::Source;
use factum::port::{extensions_from_json, extensions_to_json};
use factum::{Envelope, EventId, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row as _, Type};

use crate::error::Error;

/// The attributes and the data of an envelope, as they are bound and inserted.
pub(crate) const COLUMNS: &str = "source, id, type, subject, partitionkey, time, datacontenttype, dataschema, correlationid, causationid, traceparent, tracestate, extensions, data";

/// The same, as [`Reader::envelope`] takes them.
pub(crate) const READ: &str = "source, id, type, subject, partitionkey, time, datacontenttype, dataschema, correlationid, causationid, traceparent, tracestate, extensions::text, data";

/// How many there are.
pub(crate) const COUNT: usize = 14;

/// A `timestamptz`, as microseconds since 1970: as it is on the wire, whatever any time zone is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) i64);

/// 2000-01-01, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self(time.as_micros())
    }
}

impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Self {
        Self::from_micros(moment.0)
    }
}

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Moment {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0.saturating_sub(EPOCH).to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Moment {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() != PgValueFormat::Binary {
            return Err("a time is read by the extended protocol alone".into());
        }
        let since = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(since.saturating_add(EPOCH)))
    }
}

/// Reads envelopes of one answer; what many of them have in common is kept once.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    source: Option<Source>,
}

impl Reader {
    /// The envelope of a row whose columns begin at `at`. Its `sequence` is for the caller to fill in.
    pub(crate) fn envelope(
        &mut self,
        row: &PgRow,
        at: usize,
        table: &'static str,
    ) -> Result<Envelope, Error> {
        let source = self.source(row.try_get_unchecked(at)?);
        let id: &str = row.try_get_unchecked(at + 1)?;
        let kind: String = row.try_get_unchecked(at + 2)?;
        let data = Arc::<[u8]>::from(row.try_get_unchecked::<&[u8], _>(at + 13)?);
        let mut envelope = Envelope::new(id, source, kind, data);
        envelope.partitionkey = text(row, at + 4)?;
        envelope.subject = match row.try_get_unchecked::<Option<&str>, _>(at + 3)? {
            Some(subject) if envelope.partitionkey.as_deref() == Some(subject) => {
                envelope.partitionkey.clone()
            }
            other => other.map(Arc::from),
        };
        envelope.time = row.try_get_unchecked::<Moment, _>(at + 5)?.into();
        envelope.datacontenttype = match row.try_get_unchecked::<&str, _>(at + 6)? {
            "application/json" => Cow::Borrowed("application/json"),
            other => Cow::Owned(other.to_owned()),
        };
        envelope.dataschema = text(row, at + 7)?;
        envelope.correlationid = text(row, at + 8)?;
        envelope.causationid = row.try_get_unchecked::<Option<&str>, _>(at + 9)?.map(EventId::from);
        envelope.traceparent = text(row, at + 10)?;
        envelope.tracestate = text(row, at + 11)?;
        if let Some(json) = row.try_get_unchecked::<Option<&str>, _>(at + 12)? {
            envelope.extensions =
                extensions_from_json(json).map_err(|what| Error::BadRow { table, id: id.into(), what })?;
        }
        Ok(envelope)
    }

    fn source(&mut self, uri: &str) -> Source {
        match &self.source {
            Some(source) if source.as_str() == uri => source.clone(),
            _ => self.source.insert(Source::from(uri)).clone(),
        }
    }
}

/// The extensions of an envelope as JSON; `None`: it has none.
pub(crate) fn json(envelope: &Envelope) -> Result<Option<String>, sqlx::Error> {
    extensions_to_json(envelope).map_err(|error| sqlx::Error::Encode(error.into()))
}

pub(crate) fn text(row: &PgRow, at: usize) -> Result<Option<Arc<str>>, sqlx::Error> {
    Ok(row.try_get_unchecked::<Option<&str>, _>(at)?.map(Arc::from))
}
