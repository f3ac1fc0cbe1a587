//! What the attributes of an envelope may be: the rules of CloudEvents 1.0, and limits that every bus can keep.
//!
//! Announcing and receiving go by the same rules, so that nothing leaves that its own service would refuse. They run
//! on every announce: one pass over a few hundred bytes, and no allocation unless something is wrong.

use super::Envelope;

/// Why an envelope is no CloudEvent, or not one that factum carries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloudEventError {
    /// The document as a whole cannot be read.
    #[error("this is no CloudEvent in JSON: {0}")]
    Unreadable(String),
    /// A required attribute is not there, or null.
    #[error("`{0}` is missing: an event has at least `specversion`, `id`, `source` and `type`")]
    Missing(&'static str),
    /// A member is there twice, and nobody can say which one counts.
    #[error("`{0}` is there twice: leave one out")]
    Twice(String),
    /// An attribute, or `data`, is not what it has to be.
    #[error("`{attribute}` is {found}, expected {expected}")]
    Unfit {
        /// The attribute's name.
        attribute: String,
        /// Its value, shortened.
        found: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// Something is too large.
    #[error("{what} has {found} {unit}, the limit is {limit}")]
    OverLimit {
        /// What is too large.
        what: &'static str,
        /// What it has.
        found: usize,
        /// The most that it may have.
        limit: usize,
        /// `bytes`, or whatever else is counted.
        unit: &'static str,
    },
}

impl CloudEventError {
    pub(super) fn unfit(attribute: &str, found: &str, expected: &'static str) -> Self {
        const SHOWN: usize = 60;
        let mut shown: String = found.chars().take(SHOWN).collect();
        if shown.len() < found.len() {
            shown.push('…');
        }
        Self::Unfit { attribute: attribute.to_owned(), found: format!("{shown:?}"), expected }
    }
}

type Checked = Result<(), CloudEventError>;

/// Names that an extension cannot have, because the envelope has them already.
const TAKEN: [&str; 15] = [
    "causationid",
    "correlationid",
    "data",
    "datacontenttype",
    "dataschema",
    "id",
    "partitionkey",
    "sequence",
    "source",
    "specversion",
    "subject",
    "time",
    "traceparent",
    "tracestate",
    "type",
];

impl Envelope {
    /// The most extension attributes beyond those that the envelope has a field for.
    pub const EXTENSIONS_MAX: usize = 64;
    /// The most bytes of all attributes together, names and values: what the smallest header space of a bus takes.
    pub const ATTRIBUTES_BYTES_MAX: usize = 8 << 10;

    /// The attributes that are text, with their names: all but `specversion` and `time`.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let required =
            [("id", self.id.as_str()), ("source", &*self.source), ("type", &*self.r#type)].into_iter();
        let optional = [
            ("subject", self.subject.as_deref()),
            ("datacontenttype", Some(&*self.datacontenttype)),
            ("dataschema", self.dataschema.as_deref()),
            ("partitionkey", self.partitionkey.as_deref()),
            ("sequence", self.sequence.as_deref()),
            ("correlationid", self.correlationid.as_deref()),
            ("causationid", self.causationid.as_ref().map(|id| id.as_str())),
            ("traceparent", self.traceparent.as_deref()),
            ("tracestate", self.tracestate.as_deref()),
        ];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        required.chain(optional).chain(self.extensions.iter().map(|(name, value)| (&**name, &**value)))
    }

    /// Refuses what this service must not announce: attributes against the rules of CloudEvents or over a limit, a
    /// source that is not absolute, data of more than [`DATA_BYTES_DEFAULT`](Self::DATA_BYTES_DEFAULT).
    ///
    /// # Errors
    /// The first thing that is wrong, with what to write instead.
    pub fn check_limits(&self) -> Result<(), CloudEventError> {
        if !is_absolute_uri(&self.source) {
            let expected = "an absolute URI such as https://shop.example/ordering";
            return Err(CloudEventError::unfit("source", &self.source, expected));
        }
        self.check_attributes()?;
        at_most("data", self.data.len(), Self::DATA_BYTES_DEFAULT, "bytes")
    }

    /// What holds for an envelope of anybody.
    pub(super) fn check_attributes(&self) -> Checked {
        at_most("`id`", self.id.as_str().len(), Self::ID_BYTES_MAX, "bytes")?;
        at_most("`type`", self.r#type.len(), Self::TYPE_BYTES_MAX, "bytes")?;
        at_most(
            "`partitionkey`",
            self.partitionkey.as_ref().map_or(0, |key| key.len()),
            Self::KEY_BYTES_MAX,
            "bytes",
        )?;
        at_most("the envelope", self.extensions.len(), Self::EXTENSIONS_MAX, "extension attributes")?;
        self.extensions.keys().try_for_each(|name| check_extension_name(name))?;
        let mut bytes = 0;
        for (name, value) in self.attributes() {
            check_value(name, value)?;
            bytes += name.len() + value.len();
        }
        at_most("the envelope without its data", bytes, Self::ATTRIBUTES_BYTES_MAX, "bytes")
    }
}

pub(super) fn at_most(what: &'static str, found: usize, limit: usize, unit: &'static str) -> Checked {
    match found > limit {
        true => Err(CloudEventError::OverLimit { what, found, limit, unit }),
        false => Ok(()),
    }
}

fn check_extension_name(name: &str) -> Checked {
    let fits = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    if fits && TAKEN.binary_search(&name).is_err() {
        return Ok(());
    }
    let found = "the name of an extension attribute";
    let expected = match fits {
        true => "to be set as the attribute of that name, not as an extension",
        false => "lower-case letters and digits in a name",
    };
    Err(CloudEventError::Unfit { attribute: name.to_owned(), found: found.to_owned(), expected })
}

fn check_value(name: &str, value: &str) -> Checked {
    let expected = match name {
        _ if has_control(value) => Some("text without control characters and noncharacters"),
        "id" | "type" | "subject" | "partitionkey" if value.is_empty() => Some("text that is not empty"),
        "source" if !is_uri_reference(value) => Some("a URI such as https://shop.example/ordering"),
        "dataschema" if !is_absolute_uri(value) => Some("an absolute URI"),
        "datacontenttype" if !is_media_type(value) => Some("a media type such as application/json"),
        _ => None,
    };
    match expected {
        Some(expected) => Err(CloudEventError::unfit(name, value, expected)),
        None => Ok(()),
    }
}

/// What CloudEvents forbids in a string. It would break the headers of a bus, too.
fn has_control(value: &str) -> bool {
    if value.is_ascii() {
        return any(value, |byte| (byte < 0x20) | (byte == 0x7f));
    }
    let is_noncharacter = |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    value.chars().any(|c| c.is_control() || is_noncharacter(c))
}

/// What RFC 3986 leaves out of a URI altogether. Letters beyond ASCII are let through: many write them.
fn is_uri_reference(value: &str) -> bool {
    let is_odd = |byte: u8| b" \"<>\\^`{|}".iter().fold(false, |is, odd| is | (byte == *odd));
    !value.is_empty() && !any(value, is_odd)
}

/// Looks at all bytes, so that the compiler takes many at once.
fn any(value: &str, is: impl Fn(u8) -> bool) -> bool {
    value.bytes().fold(false, |any, byte| any | is(byte))
}

fn is_absolute_uri(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(':') else { return false };
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme_byte)
        && is_uri_reference(rest)
}

fn is_media_type(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.split_once('/').is_some_and(|(main, sub)| {
        let is_token =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        is_token(main) && is_token(sub)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope::new("1", "https://shop.example/ordering", "com.example.order-placed.v1", *b"{}")
    }

    fn refusal(change: impl FnOnce(&mut Envelope)) -> String {
        let mut envelope = envelope();
        change(&mut envelope);
        match envelope.check_limits() {
            Ok(()) => "nothing".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_envelope_within_the_rules_passes() {
        let mut envelope = envelope();
        envelope.id = "x".repeat(255).as_str().into();
        envelope.partitionkey = Some("k".repeat(512).into());
        envelope.extensions.insert("tenant".into(), "".into());
        envelope.dataschema = Some("urn:schema:1".into());
        assert_eq!(envelope.check_limits(), Ok(()));
    }

    #[test]
    fn a_source_is_an_absolute_uri() {
        for source in ["https://shop.example/ordering", "urn:shop", "mailto:a@b", "a+b-c.1:x"] {
            assert_eq!(refusal(|envelope| envelope.source = source.into()), "nothing", "{source}");
        }
        for source in ["", "ordering", "/ordering", ":x", "1a:x", "https:", "https://shop example/", "a:{b}"]
        {
            assert_eq!(
                refusal(|envelope| envelope.source = source.into()),
                format!(
                    "`source` is {source:?}, expected an absolute URI such as https://shop.example/ordering"
                )
            );
        }
    }

    #[test]
    fn what_is_over_a_limit_is_named_with_its_size_and_the_limit() {
        assert_eq!(
            refusal(|envelope| envelope.partitionkey = Some("k".repeat(513).into())),
            "`partitionkey` has 513 bytes, the limit is 512"
        );
        assert_eq!(
            refusal(|envelope| envelope.id = "x".repeat(256).as_str().into()),
            "`id` has 256 bytes, the limit is 255"
        );
        assert_eq!(
            refusal(|envelope| envelope.data = vec![0; (256 << 10) + 1].into()),
            "data has 262145 bytes, the limit is 262144"
        );
        assert_eq!(
            refusal(|envelope| envelope.subject = Some("s".repeat(8 << 10).into())),
            "the envelope without its data has 8299 bytes, the limit is 8192"
        );
        assert_eq!(
            refusal(|envelope| {
                envelope.extensions = (0..65).map(|n| (format!("x{n}").into(), "".into())).collect();
            }),
            "the envelope has 65 extension attributes, the limit is 64"
        );
    }

    #[test]
    fn an_attribute_that_breaks_the_headers_of_a_bus_is_refused() {
        for tenant in ["a\r\nb", "\u{7f}", "ä\u{85}", "\u{fffe}"] {
            let refusal = refusal(|envelope| {
                envelope.extensions.insert("tenant".into(), tenant.into());
            });
            assert!(refusal.starts_with("`tenant` is "), "{refusal}");
            assert!(refusal.ends_with("expected text without control characters and noncharacters"));
        }
    }

    #[test]
    fn the_name_of_an_extension_is_its_own() {
        for name in TAKEN {
            let refusal = refusal(|envelope| {
                envelope.extensions.insert(name.into(), "x".into());
            });
            assert!(refusal.contains("not as an extension"), "{name}: {refusal}");
        }
        for name in ["", "Tenant", "tenant_id", "t-1", "ä"] {
            let refusal = refusal(|envelope| {
                envelope.extensions.insert(name.into(), "x".into());
            });
            assert!(refusal.contains("lower-case letters and digits"), "{name}: {refusal}");
        }
    }

    #[test]
    fn an_attribute_that_is_there_is_not_empty() {
        let empty = || Some("".into());
        assert!(refusal(|envelope| envelope.subject = empty()).starts_with("`subject` is \"\""));
        assert!(refusal(|envelope| envelope.partitionkey = empty()).starts_with("`partitionkey` is \"\""));
        assert!(refusal(|envelope| envelope.dataschema = empty()).starts_with("`dataschema` is \"\""));
        assert!(refusal(|envelope| envelope.datacontenttype = "".into()).contains("a media type"));
        assert!(refusal(|envelope| envelope.id = "".into()).starts_with("`id` is \"\""));
        assert!(refusal(|envelope| envelope.r#type = "".into()).starts_with("`type` is \"\""));
    }
}
