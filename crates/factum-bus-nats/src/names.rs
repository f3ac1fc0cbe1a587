//! What things are called on the server: streams, subjects, consumers. Whoever reads a source can predict the name, and
//! an explicit name overrides it. It refuses names that two different things could share.

use std::collections::HashMap;
use std::fmt::Write as _;

use async_nats::Subject;
use factum::integration::Source;

use crate::Error;

/// The longest name of one thing, before its hash: file systems and servers stop at 255.
const NAME_BYTES_MAX: usize = 100;
/// The longest prefix.
const NAMESPACE_BYTES_MAX: usize = 40;

/// The names of one bus.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    namespace: String,
    given: HashMap<Source, String>,
}

impl Names {
    /// # Errors
    /// The namespace, or a name that was given for a source, has other characters than the server and this crate take.
    pub(crate) fn new(namespace: &str, given: HashMap<Source, String>) -> Result<Self, Error> {
        let fits = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if !fits(namespace)
            || namespace.is_empty()
            || namespace.len() > NAMESPACE_BYTES_MAX
            || namespace.contains('_')
            || matches!(namespace, "KV" | "OBJ")
        {
            return Err(Error::Name {
                what: "the namespace",
                name: namespace.to_owned(),
                expected: "1 to 40 letters, digits and `-`, other than KV and OBJ",
            });
        }
        match given.values().find(|name| !fits(name) || name.is_empty() || name.len() > NAME_BYTES_MAX) {
            Some(name) => Err(Error::Name {
                what: "the name of a source",
                name: name.clone(),
                expected: "1 to 100 letters, digits, `-` and `_`",
            }),
            None => Ok(Self { namespace: namespace.to_owned(), given }),
        }
    }

    /// What everything of this bus has in front.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of a source, without the namespace.
    pub(crate) fn destination(&self, source: &str) -> String {
        match self.given.get(&Source::from(source)) {
            Some(name) => name.clone(),
            None => destination(source),
        }
    }

    /// Whether the name was given rather than derived.
    pub(crate) fn is_given(&self, source: &str) -> bool {
        self.given.contains_key(&Source::from(source))
    }

    /// The stream of a destination.
    pub(crate) fn stream(&self, destination: &str) -> String {
        format!("{}_{destination}", self.namespace)
    }

    /// What is in front of the subjects of a destination.
    pub(crate) fn subjects(&self, destination: &str) -> String {
        format!("{}.{destination}.", self.namespace)
    }

    /// All subjects of the bus.
    pub(crate) fn everything(&self) -> String {
        format!("{}.>", self.namespace)
    }

    /// Where processes tell each other to look again.
    pub(crate) fn changes(&self) -> String {
        format!("_factum.{}.changes", self.namespace)
    }

    /// The bucket that holds what the bus agrees on: its settings, its subscriptions, who reads what.
    pub(crate) fn bucket(&self) -> String {
        format!("{}_bus", self.namespace)
    }
}

/// The name that a source gets: `https://shop.example/ordering` becomes `shop-example_ordering`.
///
/// Without `https://`, `.` becomes `-` and `/` becomes `_`. Where anything else is in it (other schemes, upper case, `-`)
/// other characters become `-`, and a hash of the source follows, so that no two sources share a name.
fn destination(source: &str) -> String {
    let (rest, plain) = match source.strip_prefix("https://") {
        Some(rest) => (rest, true),
        None => (source.split_once("://").map_or(source, |(_, rest)| rest), false),
    };
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'/');
    let mut name = String::with_capacity(rest.len() + 9);
    for c in rest.chars().take(NAME_BYTES_MAX) {
        name.push(match c {
            '/' => '_',
            c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
            _ => '-',
        });
    }
    let fits = plain && rest.bytes().all(is_plain) && !rest.is_empty() && rest.len() <= NAME_BYTES_MAX;
    if !fits {
        push_hash(&mut name, source);
    }
    name
}

/// The name that a subscription gets in the names of consumers and keys: itself, or what of it is fit, and a hash.
pub(crate) fn subscription(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let mut fit: String =
        name.chars().take(NAME_BYTES_MAX).map(|c| if is_plain(c) { c } else { '-' }).collect();
    // A dot is in no plain name, and legal in a key; consumers have no dots, so it is two dashes.
    fit.push('-');
    push_hash(&mut fit, name);
    fit
}

fn push_hash(name: &mut String, of: &str) {
    name.push('-');
    for byte in md5::compute(of).0.iter().take(4) {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
}

/// The subject of a type in a partition of a destination: `<destination>.<partition>.<type>`.
pub(crate) fn subject(subjects: &str, partition: u8, r#type: &str) -> Subject {
    let mut subject = format!("{subjects}{partition}.");
    push_type(&mut subject, r#type);
    Subject::from(subject)
}

/// What a consumer of these types reads of a partition: the one type, or the types' common beginning, as whole tokens.
///
/// Servers before 2.10 take one filter a consumer; what else it lets through is left out by the reader.
pub(crate) fn filter(subjects: &str, partition: u8, types: &[String]) -> String {
    let mut filter = format!("{subjects}{partition}.");
    let all: Vec<Vec<String>> = types.iter().map(|it| tokens(it)).collect();
    let Some((first, rest)) = all.split_first() else { return filter + ">" };
    if rest.iter().all(|other| other == first) {
        return filter + &first.join(".");
    }
    // `a.>` is not `a`: at least one token is left to the wildcard.
    let room = all.iter().map(Vec::len).min().unwrap_or_default().saturating_sub(1);
    let is_common = |(n, token): &(usize, &String)| rest.iter().all(|other| other.get(*n) == Some(*token));
    for (_, token) in first.iter().enumerate().take(room).take_while(is_common) {
        filter.push_str(token);
        filter.push('.');
    }
    filter + ">"
}

fn tokens(r#type: &str) -> Vec<String> {
    let mut text = String::new();
    push_type(&mut text, r#type);
    text.split('.').map(str::to_owned).collect()
}

/// A type as tokens of a subject. What a token cannot have is percent-encoded; an empty one is `%`.
fn push_type(subject: &mut String, r#type: &str) {
    for (n, token) in r#type.split('.').enumerate() {
        if n > 0 {
            subject.push('.');
        }
        if token.is_empty() {
            subject.push('%');
        }
        for byte in token.bytes() {
            match byte {
                b'*' | b'>' | b'%' | 0..=b' ' | 0x7f.. => {
                    let _ = write!(subject, "%{byte:02X}");
                }
                byte => subject.push(char::from(byte)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_recognised_in_the_name_of_its_stream() {
        let names = Names::new("shop", HashMap::new()).unwrap();
        let destination = names.destination("https://shop.example/ordering");
        assert_eq!(destination, "shop-example_ordering");
        assert_eq!(names.stream(&destination), "shop_shop-example_ordering");
        assert_eq!(names.subjects(&destination), "shop.shop-example_ordering.");
    }

    #[test]
    fn sources_that_would_share_a_name_get_a_hash() {
        let names = |source| destination(source);
        assert_eq!(names("https://my-shop.example/a"), "my-shop-example_a-3888212c");
        assert_eq!(names("urn:shop"), "urn-shop-dfeed233");
        assert_ne!(names("https://a.b/c"), names("http://a.b/c"));
        assert_ne!(names("https://a.b/C"), names("https://a.b/c"));
        assert_ne!(names("https://a.b/ä"), names("https://a.b/ö"));
        let long = format!("https://a.b/{}", "x".repeat(300));
        assert!(names(&long).len() <= NAME_BYTES_MAX + 9);
        assert_ne!(names(&long), names(&format!("{long}x")));
    }

    #[test]
    fn a_name_that_was_given_wins() {
        let given = HashMap::from([(Source::from("urn:shop"), "ordering".to_owned())]);
        let names = Names::new("shop", given).unwrap();
        assert_eq!(names.destination("urn:shop"), "ordering");
        assert!(names.is_given("urn:shop") && !names.is_given("urn:other"));
    }

    #[test]
    fn an_unfit_namespace_is_refused_with_what_would_be_fit() {
        for namespace in ["", "a.b", "a b", "a_b", "KV", "ä", &"x".repeat(41)] {
            let error = Names::new(namespace, HashMap::new()).unwrap_err().to_string();
            assert!(error.contains("1 to 40 letters, digits and `-`"), "{namespace}: {error}");
        }
    }

    #[test]
    fn a_type_becomes_tokens_that_no_other_type_becomes() {
        let subject = |r#type| subject("shop.ordering.", 3, r#type).to_string();
        assert_eq!(subject("com.example.placed.v1"), "shop.ordering.3.com.example.placed.v1");
        assert_eq!(subject("a b.*.>.%.ä"), "shop.ordering.3.a%20b.%2A.%3E.%25.%C3%A4");
        assert_eq!(subject(".a..b."), "shop.ordering.3.%.a.%.b.%");
    }

    #[test]
    fn a_filter_takes_all_types_and_as_little_else_as_it_can() {
        let filter = |types: &[&str]| {
            let types: Vec<String> = types.iter().map(|text| (*text).to_owned()).collect();
            filter("n.d.", 0, &types)
        };
        assert_eq!(filter(&["com.shop.placed.v1"]), "n.d.0.com.shop.placed.v1");
        assert_eq!(filter(&["com.shop.placed.v1", "com.shop.paid.v1"]), "n.d.0.com.shop.>");
        assert_eq!(filter(&["com.shop", "com.shop.paid"]), "n.d.0.com.>");
        assert_eq!(filter(&["com.shop.paid", "com.shop"]), "n.d.0.com.>");
        assert_eq!(filter(&["com.a", "org.a"]), "n.d.0.>");
        assert_eq!(filter(&[]), "n.d.0.>");
        assert_eq!(filter(&["a", "a"]), "n.d.0.a");
    }

    #[test]
    fn a_subscription_keeps_its_name_if_it_is_fit() {
        assert_eq!(subscription("insight_orders-2"), "insight_orders-2");
        assert!(subscription("insight.orders").starts_with("insight-orders--"));
        assert_ne!(subscription("insight.orders"), subscription("insight/orders"));
        assert!(subscription(&"x".repeat(300)).len() <= NAME_BYTES_MAX + 10);
    }
}
