//! An envelope as a message of NATS and back: the CloudEvents binding for NATS, binary mode. Structured mode is read, too.
//!
//! Attributes are headers that begin with `ce-`, percent-encoded; `datacontenttype` is `content-type`. `Nats-Msg-Id` lets
//! the server drop repeats for a while; that saves work, and nothing relies on it.

use std::borrow::Cow;
use std::fmt::Write as _;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use factum::{BoxError, Envelope, Timestamp};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::Deserialize as _;
use serde::de::value::BorrowedStrDeserializer;

/// What the binding wants encoded besides what is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// What of the server's limit for a message is left to headers: the most that attributes take, percent-encoded.
pub(crate) const BYTES_MAX: usize = 32 << 10;
const SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");

/// By what the server may recognise a repeat. Short, because it keeps all of them in memory for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageId {
    None,
    /// By its id: the stream has one source.
    Id,
    /// By source and id: the stream may have several sources.
    SourceAndId,
}

/// Writes headers, one envelope after the other.
#[derive(Default)]
pub(crate) struct Writer {
    lines: String,
}

impl Writer {
    /// The headers of an envelope.
    ///
    /// # Errors
    /// An attribute has a name that no header can have, or all together are too large: what to tell whoever publishes.
    pub(crate) fn write(&mut self, envelope: &Envelope, message_id: MessageId) -> Result<HeaderMap, String> {
        self.lines.clear();
        self.lines.push_str("1.0");
        for (attribute, value) in envelope.attributes() {
            match attribute {
                "datacontenttype" => self.push("", "content-type", value),
                name if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) => {
                    self.push("ce-", name, value);
                }
                name => return Err(format!("no header can have the name of the attribute {name:?}")),
            }
        }
        if envelope.time != Timestamp::default() {
            // Writing to a string cannot fail.
            let _ = write!(self.lines, "\r\nce-time: {}", envelope.time);
        }
        if message_id != MessageId::None {
            self.push("", "Nats-Msg-Id", envelope.id.as_str());
        }
        if message_id == MessageId::SourceAndId {
            // Neither has a space once it is encoded: no two pairs are the same text.
            self.lines.push(' ');
            push_encoded(&mut self.lines, &envelope.source);
        }
        match self.lines.len() {
            0..=BYTES_MAX => Ok(headers(&self.lines)),
            bytes => Err(format!("its attributes take {bytes} bytes as headers, this bus takes {BYTES_MAX}")),
        }
    }

    fn push(&mut self, prefix: &str, name: &str, value: &str) {
        for part in ["\r\n", prefix, name, ": "] {
            self.lines.push_str(part);
        }
        push_encoded(&mut self.lines, value);
    }
}

/// Headers out of lines that begin within the value of `ce-specversion`.
///
/// The client's map wants a hash, two allocations and a growing table for each header, which is more than all the rest
/// of publishing. What it writes is `name: value` lines, so one value may be all of them. Nothing can slip in: values
/// are encoded, and have no line ends.
fn headers(lines: &str) -> HeaderMap {
    // As if the value had been read from somewhere: that is not looked at, unlike a text that is inserted.
    let text = BorrowedStrDeserializer::<serde::de::value::Error>::new(lines);
    match HeaderValue::deserialize(text) {
        Ok(value) if value.as_str() == lines => {
            let mut headers = HeaderMap::new();
            headers.insert(SPECVERSION, value);
            headers
        }
        _ => one_by_one(lines),
    }
}

/// The slow way, for a client that looks closer.
fn one_by_one(lines: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut lines = lines.split("\r\n");
    headers.insert(SPECVERSION, lines.next().unwrap_or_default());
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let Ok(name) = HeaderName::try_from(name) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Whether it goes into a header as it is. Arithmetic rather than a table, so that it is done for many bytes at a time.
fn is_plain(byte: u8) -> bool {
    (byte.wrapping_sub(b'!') <= b'~' - b'!') & (byte != b'"') & (byte != b'%')
}

fn push_encoded(text: &mut String, value: &str) {
    // No way out in the midst: so it is a few instructions for many bytes.
    match value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        true => text.push_str(value),
        false => text.extend(utf8_percent_encode(value, ENCODED)),
    }
}

/// The envelope in a message.
///
/// # Errors
/// It is no CloudEvent: what is missing or cannot be read.
pub(crate) fn read(headers: Option<&HeaderMap>, payload: &[u8]) -> Result<Envelope, BoxError> {
    let mut envelope = Envelope::new("", "", String::new(), payload);
    let mut version = None;
    for (name, values) in headers.iter().flat_map(|headers| headers.iter()) {
        let (name, Some(value)): (&str, _) = (name.as_ref(), values.first().map(HeaderValue::as_str)) else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-type") {
            if value.to_ascii_lowercase().starts_with("application/cloudevents") {
                return read_structured(value, payload);
            }
            envelope.datacontenttype = decoded(name, value)?.into_owned().into();
        } else if let Some(attribute) = attribute(name) {
            let value = decoded(name, value)?;
            match &*attribute {
                "specversion" => version = Some(value),
                _ => set(&mut envelope, &attribute, value)?,
            }
        }
    }
    match version.as_deref() {
        Some("1.0") => {}
        Some(other) => return Err(format!("`ce-specversion` is {other:?}, expected \"1.0\"").into()),
        None => return Err("it has no `ce-specversion`, and is not in structured mode".into()),
    }
    let missing = [("id", envelope.id.as_str()), ("source", &*envelope.source), ("type", &*envelope.r#type)]
        .into_iter()
        .find(|(_, value)| value.is_empty());
    match missing {
        Some((name, _)) => Err(format!("`ce-{name}` is missing").into()),
        None => Ok(envelope),
    }
}

fn read_structured(content_type: &str, payload: &[u8]) -> Result<Envelope, BoxError> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence == "application/cloudevents+json" || essence == "application/cloudevents" {
        true => Ok(Envelope::from_json(payload)?),
        false => {
            Err(format!("`content-type` is {content_type:?}, expected application/cloudevents+json").into())
        }
    }
}

/// The attribute that a header is for, in lower case as attributes are.
fn attribute(name: &str) -> Option<Cow<'_, str>> {
    let (prefix, attribute) = name.split_at_checked(3)?;
    if !prefix.eq_ignore_ascii_case("ce-") {
        return None;
    }
    match attribute.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Some(attribute.to_ascii_lowercase().into()),
        false => Some(attribute.into()),
    }
}

fn decoded<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, BoxError> {
    match percent_decode_str(value).decode_utf8() {
        Ok(text) => Ok(text),
        Err(_) => Err(format!("`{name}` is {value:?}, expected percent-encoded UTF-8").into()),
    }
}

fn set(envelope: &mut Envelope, attribute: &str, value: Cow<'_, str>) -> Result<(), BoxError> {
    match attribute {
        "id" => envelope.id = (&*value).into(),
        "source" => envelope.source = (&*value).into(),
        "type" => envelope.r#type = value.into_owned().into(),
        "subject" => envelope.subject = Some(value.into()),
        "time" => {
            envelope.time = Timestamp::parse(&value)
                .map_err(|_| format!("`ce-time` is {value:?}, expected a time of RFC 3339"))?;
        }
        "datacontenttype" => envelope.datacontenttype = value.into_owned().into(),
        "dataschema" => envelope.dataschema = Some(value.into()),
        "partitionkey" => envelope.partitionkey = Some(value.into()),
        "sequence" => envelope.sequence = Some(value.into()),
        "correlationid" => envelope.correlationid = Some(value.into()),
        "causationid" => envelope.causationid = Some((&*value).into()),
        "traceparent" => envelope.traceparent = Some(value.into()),
        "tracestate" => envelope.tracestate = Some(value.into()),
        other => drop(envelope.extensions.insert(other.into(), value.into())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        let envelope = Envelope::new("1 é", "https://shop.example/ordering", "com.example.placed.v1", *b"{}");
        Envelope {
            time: Timestamp::from_micros(1_764_095_490_123_456),
            partitionkey: Some("a%b\"c".into()),
            extensions: [("tenant".into(), "Zoë".into())].into(),
            ..envelope
        }
    }

    /// What arrives at the other end.
    fn sent(envelope: &Envelope, message_id: MessageId) -> HeaderMap {
        let mut writer = Writer::default();
        writer.write(&self::envelope(), MessageId::Id).unwrap();
        let headers = writer.write(envelope, message_id).unwrap();
        let lines = headers.get("ce-specversion").unwrap().to_string();
        one_by_one(&lines)
    }

    fn text(headers: &HeaderMap, name: &'static str) -> Option<String> {
        headers.get(name).map(ToString::to_string)
    }

    #[test]
    fn attributes_are_percent_encoded_headers() {
        let headers = sent(&envelope(), MessageId::SourceAndId);
        assert_eq!(headers.len(), 9);
        assert_eq!(text(&headers, "ce-id").as_deref(), Some("1%20%C3%A9"));
        assert_eq!(text(&headers, "ce-partitionkey").as_deref(), Some("a%25b%22c"));
        assert_eq!(text(&headers, "content-type").as_deref(), Some("application/json"));
        assert_eq!(text(&headers, "ce-datacontenttype"), None);
        assert_eq!(
            text(&headers, "Nats-Msg-Id").as_deref(),
            Some("1%20%C3%A9 https://shop.example/ordering")
        );
        let of_one_source = sent(&envelope(), MessageId::Id);
        assert_eq!(text(&of_one_source, "Nats-Msg-Id").as_deref(), Some("1%20%C3%A9"));
        assert_eq!(read(Some(&headers), b"{}").unwrap(), envelope());
    }

    #[test]
    fn no_value_becomes_a_header_of_its_own() {
        let hostile = Envelope {
            subject: Some("x\r\nNats-Msg-Id: stolen".into()),
            extensions: [("tenant".into(), "\r\n\r\nce-id: 2".into())].into(),
            ..envelope()
        };
        let headers = sent(&hostile, MessageId::None);
        assert_eq!(text(&headers, "Nats-Msg-Id"), None);
        assert_eq!(read(Some(&headers), b"{}").unwrap(), hostile);
        let unfit = Envelope { extensions: [("a: b\r\nc".into(), "".into())].into(), ..envelope() };
        assert!(Writer::default().write(&unfit, MessageId::Id).unwrap_err().contains("\"a: b\\r\\nc\""));
    }

    /// Servers up to 2.9.3 took any header that ends so for the id, and dropped what was no repeat.
    #[test]
    fn f_60_no_other_header_ends_like_the_message_id() {
        let odd = Envelope {
            extensions: [("natsmsgid".into(), "x".into()), ("id2".into(), "y".into())].into(),
            ..envelope()
        };
        let alike = |headers: HeaderMap| {
            headers.iter().filter(|(name, _)| name.to_string().ends_with("Nats-Msg-Id")).count()
        };
        assert_eq!((alike(sent(&odd, MessageId::Id)), alike(sent(&odd, MessageId::None))), (1, 0));
    }

    #[test]
    fn names_of_headers_are_read_in_any_case() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("Ce-Specversion", "1.0"), ("CE-ID", "1"), ("Ce-Source", "urn:a"), ("ce-type", "t")]
        {
            headers.insert(name, value);
        }
        headers.insert("Content-Type", "text/plain");
        let envelope = read(Some(&headers), b"x").unwrap();
        assert_eq!((envelope.id.as_str(), &*envelope.datacontenttype), ("1", "text/plain"));
    }

    #[test]
    fn structured_mode_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/cloudevents+json; charset=utf-8");
        assert_eq!(read(Some(&headers), &envelope().to_json()).unwrap(), envelope());
        headers.insert("content-type", "application/cloudevents-batch+json");
        assert!(
            read(Some(&headers), b"[]")
                .unwrap_err()
                .to_string()
                .contains("expected application/cloudevents+json")
        );
    }

    #[test]
    fn what_is_no_cloud_event_is_refused_with_the_reason() {
        let refusal = |change: fn(&mut HeaderMap)| {
            let mut headers = sent(&envelope(), MessageId::None);
            change(&mut headers);
            read(Some(&headers), b"{}").unwrap_err().to_string()
        };
        assert!(read(None, b"{}").unwrap_err().to_string().contains("no `ce-specversion`"));
        assert_eq!(refusal(|it| it.insert("ce-id", "")), "`ce-id` is missing");
        assert!(refusal(|it| it.insert("ce-time", "noon")).contains("expected a time of RFC 3339"));
        assert!(refusal(|it| it.insert("ce-id", "%FF")).contains("percent-encoded UTF-8"));
        assert!(refusal(|it| it.insert("ce-specversion", "0.3")).contains("expected \"1.0\""));
    }
}
