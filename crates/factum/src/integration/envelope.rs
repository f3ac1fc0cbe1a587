//! An encoded event and its CloudEvents attributes: what the outbox stores and a bus carries.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{EventId, IntegrationEvent, Timestamp};
use crate::Error;

/// Who announces: an absolute URI, given once to the service (CloudEvents `source`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Arc<str>);

impl Source {
    /// The URI as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for Source {
    fn from(uri: T) -> Self {
        Self(uri.into())
    }
}

impl std::ops::Deref for Source {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An encoded event and its attributes, named as in CloudEvents 1.0 and its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// With `source`, identifies the event.
    pub id: EventId,
    /// Who announced it.
    pub source: Source,
    /// Reverse DNS, context, event, version.
    pub r#type: Cow<'static, str>,
    /// What in the source it is about.
    pub subject: Option<Arc<str>>,
    /// When it was announced.
    pub time: Timestamp,
    /// The media type of `data`.
    pub datacontenttype: Cow<'static, str>,
    /// Where the schema of `data` is, a URI.
    pub dataschema: Option<Arc<str>>,
    /// Envelopes of one source with the same key keep their order.
    pub partitionkey: Option<Arc<str>>,
    /// Place in the outbox: incarnation and `seq`, zero-padded, so that it sorts as text.
    pub sequence: Option<Arc<str>>,
    /// The conversation that it belongs to.
    pub correlationid: Option<Arc<str>>,
    /// The `id` of the event that led to this one.
    pub causationid: Option<EventId>,
    /// W3C Trace Context.
    pub traceparent: Option<Arc<str>>,
    /// W3C Trace Context.
    pub tracestate: Option<Arc<str>>,
    /// Further extension attributes, by name: lower-case letters and digits, not more than 20 of them if
    /// others are to take it.
    pub extensions: BTreeMap<Arc<str>, Arc<str>>,
    /// The encoded event.
    pub data: Arc<[u8]>,
}

impl Envelope {
    /// The most that `data` may have: 16 MiB.
    pub const DATA_BYTES_MAX: usize = 16 << 20;
    /// The most that `data` may have to be announced: 256 KiB. What comes from elsewhere may have more.
    pub const DATA_BYTES_DEFAULT: usize = 256 << 10;
    /// The most bytes of a key.
    pub const KEY_BYTES_MAX: usize = 512;
    /// The most bytes of a type.
    pub const TYPE_BYTES_MAX: usize = 255;
    /// The most bytes of an id.
    pub const ID_BYTES_MAX: usize = 255;

    /// Encodes an event. Its context (`correlationid`, ..) is for the caller to fill in, and then to have
    /// [checked](Self::checked).
    pub(crate) fn seal<E: IntegrationEvent>(
        event: &E,
        id: EventId,
        source: Source,
        time: Timestamp,
    ) -> Result<Self, Error> {
        let refused = |error: serde_json::Error| Error::Encode { event: E::TYPE, source: error.into() };
        let data = serde_json::to_vec(event).map_err(refused)?;
        let key: Option<Arc<str>> = event.key().map(Arc::from);
        let subject = match (&key, event.subject()) {
            (Some(key), Some(subject)) if **key == *subject => Some(Arc::clone(key)),
            (_, subject) => subject.map(Arc::from),
        };
        Ok(Self { subject, time, partitionkey: key, ..Self::new(id, source, E::TYPE, data) })
    }

    /// The envelope, if it may leave: see [`check_limits`](Self::check_limits).
    pub(crate) fn checked<E: IntegrationEvent>(self) -> Result<Self, Error> {
        match self.check_limits() {
            Ok(()) => Ok(self),
            Err(error) => Err(Error::Encode { event: E::TYPE, source: error.into() }),
        }
    }

    /// An envelope of JSON with the required attributes and no other.
    pub fn new(
        id: impl Into<EventId>,
        source: impl Into<Source>,
        r#type: impl Into<Cow<'static, str>>,
        data: impl Into<Arc<[u8]>>,
    ) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            r#type: r#type.into(),
            subject: None,
            time: Timestamp::default(),
            datacontenttype: Cow::Borrowed("application/json"),
            dataschema: None,
            partitionkey: None,
            sequence: None,
            correlationid: None,
            causationid: None,
            traceparent: None,
            tracestate: None,
            extensions: BTreeMap::new(),
            data: data.into(),
        }
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let text = |attribute: &Option<Arc<str>>| attribute.as_ref().map_or(0, |text| text.len());
        let extensions: usize = self.extensions.iter().map(|(name, value)| name.len() + value.len()).sum();
        size_of::<Self>() + self.data.len() + text(&self.partitionkey) + text(&self.subject) + extensions
    }

    /// Events of one source with the same ordering key keep their order; without a key each event is its own.
    pub fn ordering_key(&self) -> &str {
        self.partitionkey.as_deref().unwrap_or(self.id.as_str())
    }

    /// [`ordering_key`](Self::ordering_key), shared rather than borrowed.
    pub fn ordering_key_shared(&self) -> Arc<str> {
        self.partitionkey.clone().unwrap_or_else(|| self.id.shared())
    }

    /// One of 64 shares of the outbox: first byte of the MD5 of the ordering key, modulo 64, so that any language can
    /// compute it.
    pub fn bucket(&self) -> u8 {
        md5::compute(self.ordering_key()).0[0] % 64
    }
}
