//! An envelope as an AMQP message, and back: CloudEvents in binary mode.
//!
//! CloudEvents has no binding for AMQP 0.9.1, so this is what most do: attributes are headers that begin with `ce-`,
//! as UTF-8 and not escaped; `datacontenttype` is the property `content_type`; `data` is the body. `message_id`,
//! `type` and `timestamp` repeat attributes for tools, and are not read. A message whose content type is
//! `application/cloudevents+json` is read as a structured one.

use std::borrow::Cow;

use factum::integration::CloudEventError;
use factum::{Envelope, Timestamp};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

const SPECVERSION: &str = "1.0";
const STRUCTURED: &str = "application/cloudevents+json";
/// Kept on disk.
const PERSISTENT: u8 = 2;

/// Why a message is no event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("{0}")]
    NoCloudEvent(#[from] CloudEventError),
    #[error("the header `{name}` is {found:?}, expected {expected}")]
    Header { name: String, found: String, expected: &'static str },
    #[error(
        "the header `{0}` is missing: an event has at least ce-specversion, ce-id, ce-source and ce-type"
    )]
    Missing(&'static str),
}

/// The properties of the message that carries the envelope.
pub(crate) fn properties(envelope: &Envelope) -> BasicProperties {
    let mut headers = FieldTable::default();
    let mut put = |name: &str, value: &str| {
        if let Ok(name) = ShortString::try_new(["ce-", name].concat()) {
            headers.insert(name, AMQPValue::LongString(value.into()));
        }
    };
    put("specversion", SPECVERSION);
    let content_type = ShortString::try_new(&*envelope.datacontenttype).ok();
    for (name, value) in envelope.attributes() {
        // A media type that is too long for the property goes as a header.
        if name != "datacontenttype" || content_type.is_none() {
            put(name, value);
        }
    }
    if envelope.time != Timestamp::default() {
        put("time", &envelope.time.to_string());
    }
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    if let Some(content_type) = content_type {
        properties = properties.with_content_type(content_type);
    }
    if let Ok(id) = ShortString::try_new(envelope.id.as_str()) {
        properties = properties.with_message_id(id);
    }
    if let Ok(r#type) = ShortString::try_new(&*envelope.r#type) {
        properties = properties.with_type(r#type);
    }
    match u64::try_from(envelope.time.as_micros().div_euclid(1_000_000)) {
        Ok(seconds) if seconds > 0 => properties.with_timestamp(seconds),
        _ => properties,
    }
}

/// Source and id, by which a message that the broker returned is known again.
pub(crate) fn identity(properties: &BasicProperties) -> Option<(&str, &str)> {
    let headers = properties.headers().as_ref()?;
    Some((text_of(headers, "ce-source")?, text_of(headers, "ce-id")?))
}

/// Reads a message, in either mode.
pub(crate) fn envelope(properties: &BasicProperties, body: &[u8]) -> Result<Envelope, Unreadable> {
    let content_type = properties.content_type().as_ref().map(ShortString::as_str);
    if content_type.is_some_and(is_structured) {
        return Ok(Envelope::from_json(body)?);
    }
    binary(properties.headers().as_ref().unwrap_or(&FieldTable::default()), content_type, body)
}

fn is_structured(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(STRUCTURED)
}

fn binary(headers: &FieldTable, content_type: Option<&str>, body: &[u8]) -> Result<Envelope, Unreadable> {
    let required = |name: &'static str| match text_of(headers, name) {
        Some("") => Err(unfit(name, "", "text that is not empty")),
        Some(text) => Ok(text),
        None => Err(Unreadable::Missing(name)),
    };
    match required("ce-specversion")? {
        SPECVERSION => {}
        other => return Err(unfit("ce-specversion", other, "\"1.0\"")),
    }
    let (id, source, r#type) = (required("ce-id")?, required("ce-source")?, required("ce-type")?);
    let mut envelope = Envelope::new(id, source, r#type.to_owned(), body);
    if let Some(content_type) = content_type {
        envelope.datacontenttype = Cow::Owned(content_type.to_owned());
    }
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix("ce-")
            && let Some(value) = text(value)
        {
            set(&mut envelope, name, &value)?;
        }
    }
    check(&envelope)?;
    Ok(envelope)
}

fn set(envelope: &mut Envelope, name: &str, value: &str) -> Result<(), Unreadable> {
    let some = || Some(value.into());
    match name {
        "specversion" | "id" | "source" | "type" => {}
        "subject" => envelope.subject = some(),
        "datacontenttype" => envelope.datacontenttype = Cow::Owned(value.to_owned()),
        "dataschema" => envelope.dataschema = some(),
        "partitionkey" => envelope.partitionkey = some(),
        "sequence" => envelope.sequence = some(),
        "correlationid" => envelope.correlationid = some(),
        "causationid" => envelope.causationid = Some(value.into()),
        "traceparent" => envelope.traceparent = some(),
        "tracestate" => envelope.tracestate = some(),
        "time" => {
            envelope.time = Timestamp::parse(value)
                .map_err(|_| unfit("ce-time", value, "a time of RFC 3339 in the years 0 to 9999"))?;
        }
        _ => drop(envelope.extensions.insert(name.into(), value.into())),
    }
    Ok(())
}

/// What a store could not keep, or would take for something else.
fn check(envelope: &Envelope) -> Result<(), Unreadable> {
    let expected = [
        ("ce-id", envelope.id.as_str(), Envelope::ID_BYTES_MAX, "at most 255 bytes"),
        ("ce-type", &*envelope.r#type, Envelope::TYPE_BYTES_MAX, "at most 255 bytes"),
        (
            "ce-partitionkey",
            envelope.partitionkey.as_deref().unwrap_or("-"),
            Envelope::KEY_BYTES_MAX,
            "1 to 512 bytes",
        ),
    ];
    for (name, value, most, expected) in expected {
        if value.is_empty() || value.len() > most {
            return Err(unfit(name, value, expected));
        }
    }
    let bytes: usize = envelope.attributes().map(|(name, value)| name.len() + value.len()).sum();
    let (found, limit) = match () {
        () if bytes > Envelope::ATTRIBUTES_BYTES_MAX => (bytes, Envelope::ATTRIBUTES_BYTES_MAX),
        () if envelope.data.len() > Envelope::DATA_BYTES_MAX => {
            (envelope.data.len(), Envelope::DATA_BYTES_MAX)
        }
        () => return Ok(()),
    };
    Err(CloudEventError::OverLimit { what: "the message", found, limit, unit: "bytes" }.into())
}

fn unfit(name: &str, found: &str, expected: &'static str) -> Unreadable {
    Unreadable::Header { name: name.to_owned(), found: found.chars().take(60).collect(), expected }
}

fn text_of<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a str> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

/// The value as CloudEvents writes it, for the types that it has.
fn text(value: &AMQPValue) -> Option<Cow<'_, str>> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(Cow::Borrowed),
        AMQPValue::ShortString(text) => Some(Cow::Borrowed(text.as_str())),
        AMQPValue::Boolean(value) => Some(Cow::Owned(value.to_string())),
        _ => integer(value).map(|number| Cow::Owned(number.to_string())),
    }
}

/// Whichever integer it is.
pub(crate) fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::LongInt(number) => Some((*number).into()),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(entries: &[(&str, AMQPValue)]) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), value.clone());
        }
        BasicProperties::default().with_headers(table)
    }

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    fn bare() -> Vec<(&'static str, AMQPValue)> {
        [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "urn:a"), ("ce-type", "t")]
            .map(|(name, value)| (name, long(value)))
            .into()
    }

    #[test]
    fn a_message_of_anybody_is_read_with_the_types_that_amqp_has() {
        let mut entries = bare();
        entries.extend([
            ("ce-n", AMQPValue::LongInt(-7)),
            ("ce-b", AMQPValue::Boolean(true)),
            ("x-delivery-count", AMQPValue::LongInt(1)),
            ("ce-partitionkey", AMQPValue::ShortString("k".into())),
        ]);
        let envelope = envelope(&headers(&entries), b"[]").unwrap();
        let extensions: Vec<_> =
            envelope.extensions.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(extensions, [("b", "true"), ("n", "-7")]);
        assert_eq!(
            (envelope.partitionkey.as_deref(), &*envelope.datacontenttype),
            (Some("k"), "application/json")
        );
    }

    #[test]
    fn a_structured_message_is_read() {
        let sent = Envelope::new("1", "urn:a", "t", *b"{\"a\":1}");
        let content_type = "application/cloudevents+json; charset=utf-8";
        let properties = BasicProperties::default().with_content_type(content_type.into());
        assert_eq!(envelope(&properties, &sent.to_json()).unwrap(), sent);
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_reason() {
        let said = |entries: &[(&str, AMQPValue)]| envelope(&headers(entries), &[]).unwrap_err().to_string();
        assert!(said(&bare()[1..]).starts_with("the header `ce-specversion` is missing"));
        let mut entries = bare();
        entries[0].1 = long("0.3");
        assert_eq!(said(&entries), "the header `ce-specversion` is \"0.3\", expected \"1.0\"");
        entries = bare();
        entries.push(("ce-time", long("yesterday")));
        assert!(said(&entries).contains("RFC 3339"));
        entries = bare();
        entries.push(("ce-partitionkey", long(&"k".repeat(513))));
        assert!(said(&entries).contains("1 to 512 bytes"));
    }

    #[test]
    fn a_media_type_that_is_too_long_for_its_property_arrives_all_the_same() {
        let datacontenttype = format!("application/json; x={}", "y".repeat(300)).into();
        let sent = Envelope { datacontenttype, ..Envelope::new("1", "urn:a", "t", *b"{}") };
        assert_eq!(envelope(&properties(&sent), b"{}").unwrap(), sent);
    }

    #[test]
    fn a_returned_message_is_known_again_by_source_and_id() {
        let sent = Envelope::new("1", "urn:a", "t", *b"{}");
        assert_eq!(identity(&properties(&sent)), Some(("urn:a", "1")));
    }
}
