//! An envelope as one JSON document: CloudEvents 1.0.2, JSON event format, structured mode.
//!
//! Data that is JSON stands in the document as it is; text stands as a string, anything else as Base64. What is read is
//! held against the specification, and against the limits of [`Envelope`]: a document that two readers could read
//! differently is refused.

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::attributes::at_most;
use super::{CloudEventError, Envelope, EventId, Source, Timestamp};

const SPECVERSION: &str = "1.0";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Envelope {
    /// The most bytes of a document: the largest `data` in Base64, the attributes, and room for white space.
    pub const DOCUMENT_BYTES_MAX: usize = 24 << 20;

    /// The envelope as a JSON document in UTF-8, media type `application/cloudevents+json`.
    ///
    /// It is a CloudEvent if the envelope [may be announced](Self::check_limits). A `time` that is the default, the
    /// epoch, is left out, as is `data` of no bytes. Data that claims to be JSON and is not stands in Base64, for its
    /// reader to refuse.
    pub fn to_json(&self) -> Vec<u8> {
        let mut document = Vec::with_capacity(256 + self.data.len());
        self.write_json(&mut document);
        document
    }

    /// Appends what [`to_json`](Self::to_json) returns.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"specversion\":\"1.0\"");
        for (name, value) in self.attributes() {
            write_member(out, name, value);
        }
        if self.time != Timestamp::default() {
            write_member(out, "time", &self.time.to_string());
        }
        self.write_data(out);
        out.push(b'}');
    }

    fn write_data(&self, out: &mut Vec<u8>) {
        let text = std::str::from_utf8(&self.data).ok();
        match (Content::of(&self.datacontenttype), text) {
            _ if self.data.is_empty() => {}
            (Content::Json, Some(text)) if is_json(text) => {
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(text.trim_ascii().as_bytes());
            }
            (Content::Text, Some(text)) => write_member(out, "data", text),
            _ => write_member(out, "data_base64", &BASE64.encode(&self.data)),
        }
    }

    /// Reads a CloudEvent from a JSON document in UTF-8.
    ///
    /// - An attribute that is null counts as absent. Integers and booleans of extensions become their text.
    /// - `source` may be any URI reference, because others' events may come from anywhere.
    /// - Without `time`, the time is the default, the epoch. Without `datacontenttype` it is `application/json`, or
    ///   `application/octet-stream` with `data_base64`.
    /// - `data` has at most [`DATA_BYTES_MAX`](Self::DATA_BYTES_MAX) bytes; JSON is kept as it is written, even `null`.
    ///
    /// # Errors
    /// The first thing that is against the specification or over a limit: the attribute, what was found, what was
    /// expected.
    pub fn from_json(document: &[u8]) -> Result<Self, CloudEventError> {
        at_most("the document", document.len(), Self::DOCUMENT_BYTES_MAX, "bytes")?;
        let mut members: Members<'_> = serde_json::from_slice(document)
            .map_err(|error| CloudEventError::Unreadable(error.to_string()))?;
        members.refuse_repeats()?;
        members.take_specversion()?;
        let data = members.take("data");
        let base64 = members.take("data_base64").filter(|raw| raw.get() != "null");
        let datacontenttype = members.text("datacontenttype")?;
        let mut envelope = Self::new(
            EventId::from(members.required("id")?),
            Source::from(members.required("source")?),
            members.required("type")?,
            [],
        );
        envelope.datacontenttype = match datacontenttype {
            Some(stated) => stated.into(),
            None if base64.is_some() => "application/octet-stream".into(),
            None => "application/json".into(),
        };
        envelope.take_attributes(members)?;
        envelope.take_data(data, base64)?;
        envelope.check_attributes()?;
        at_most("data", envelope.data.len(), Self::DATA_BYTES_MAX, "bytes")?;
        Ok(envelope)
    }

    fn take_attributes(&mut self, mut members: Members<'_>) -> Result<(), CloudEventError> {
        self.subject = members.text("subject")?.map(Into::into);
        self.dataschema = members.text("dataschema")?.map(Into::into);
        if let Some(time) = members.text("time")? {
            self.time = Timestamp::parse(&time).map_err(|_| {
                CloudEventError::unfit("time", &time, "a time of RFC 3339 in the years 0 to 9999")
            })?;
        }
        for (name, raw) in members.0 {
            let Some(value) = extension(&name, raw)? else { continue };
            match &*name {
                "partitionkey" => self.partitionkey = Some(value.into()),
                "sequence" => self.sequence = Some(value.into()),
                "correlationid" => self.correlationid = Some(value.into()),
                "causationid" => self.causationid = Some(value.into()),
                "traceparent" => self.traceparent = Some(value.into()),
                "tracestate" => self.tracestate = Some(value.into()),
                _ => drop(self.extensions.insert(name.into(), value.into())),
            }
        }
        Ok(())
    }

    fn take_data(
        &mut self,
        data: Option<&RawValue>,
        base64: Option<&RawValue>,
    ) -> Result<(), CloudEventError> {
        self.data = match (data, base64) {
            (Some(_), Some(_)) => {
                return Err(CloudEventError::Unfit {
                    attribute: "data".into(),
                    found: "there beside `data_base64`".into(),
                    expected: "one of the two",
                });
            }
            (None, None) => return Ok(()),
            (None, Some(base64)) => from_base64(base64)?.into(),
            (Some(data), None) if Content::of(&self.datacontenttype) == Content::Json => {
                data.get().as_bytes().into()
            }
            (Some(data), None) => string("data", data, "a string, where `datacontenttype` is not JSON")?
                .map(|text| text.into_bytes().into())
                .unwrap_or_default(),
        };
        Ok(())
    }
}

/// How data stands in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Json,
    /// In UTF-8.
    Text,
    Binary,
}

impl Content {
    fn of(datacontenttype: &str) -> Self {
        let lower = datacontenttype.to_ascii_lowercase();
        let mut parts = lower.split(';').map(str::trim);
        let (main, sub) = parts.next().and_then(|essence| essence.split_once('/')).unwrap_or_default();
        let charset =
            parts.find_map(|parameter| parameter.strip_prefix("charset=")).map(|name| name.trim_matches('"'));
        if sub == "json" || sub.ends_with("+json") {
            Self::Json
        } else if (main == "text" || sub == "xml" || sub.ends_with("+xml"))
            && matches!(charset, None | Some("utf-8" | "us-ascii"))
        {
            Self::Text
        } else {
            Self::Binary
        }
    }
}

/// The members of the document that nobody has taken yet, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Far more than an envelope has; it bounds what a hostile document makes us hold.
    const MAX: usize = 256;

    fn refuse_repeats(&self) -> Result<(), CloudEventError> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(CloudEventError::Twice(pair[0].to_owned())),
            None => Ok(()),
        }
    }

    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(of, _)| of == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, CloudEventError> {
        self.take(name).map_or(Ok(None), |raw| string(name, raw, "a string"))
    }

    fn required(&mut self, name: &'static str) -> Result<String, CloudEventError> {
        self.text(name)?.ok_or(CloudEventError::Missing(name))
    }

    fn take_specversion(&mut self) -> Result<(), CloudEventError> {
        match self.required("specversion")? {
            version if version == SPECVERSION => Ok(()),
            other => Err(CloudEventError::unfit("specversion", &other, "\"1.0\"")),
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one JSON object, the event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    if members.len() == Members::MAX {
                        return Err(A::Error::custom(format_args!("more than {} members", Members::MAX)));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// A string, or nothing where it is null.
fn string(name: &str, raw: &RawValue, expected: &'static str) -> Result<Option<String>, CloudEventError> {
    serde_json::from_str(raw.get()).map_err(|_| CloudEventError::unfit(name, raw.get(), expected))
}

/// The canonical text of an extension's value (CloudEvents 1.0.2, type system), or nothing where it is null.
fn extension(name: &str, raw: &RawValue) -> Result<Option<String>, CloudEventError> {
    match raw.get() {
        text @ ("true" | "false") => Ok(Some(text.to_owned())),
        text if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => match text.parse::<i32>() {
            Ok(number) => Ok(Some(number.to_string())),
            Err(_) => Err(CloudEventError::unfit(name, text, "an integer of 32 bits, or a string")),
        },
        _ => string(name, raw, "a string, an integer or a boolean"),
    }
}

fn from_base64(raw: &RawValue) -> Result<Vec<u8>, CloudEventError> {
    const EXPECTED: &str = "a string in Base64 (RFC 4648, section 4)";
    let text = string("data_base64", raw, EXPECTED)?.unwrap_or_default();
    BASE64.decode(&text).map_err(|_| CloudEventError::unfit("data_base64", &text, EXPECTED))
}

fn write_member(out: &mut Vec<u8>, name: &str, value: &str) {
    // Neither a string nor a vector gives an encoder a reason to fail.
    out.push(b',');
    drop(serde_json::to_writer(&mut *out, name));
    out.push(b':');
    drop(serde_json::to_writer(out, value));
}
