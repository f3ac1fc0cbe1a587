//! Names of schemas and tables, checked once: the only text of an application that becomes a part of a statement.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// What PostgreSQL keeps of a name; it cuts the rest off without an error.
const POSTGRES_BYTES_MAX: usize = 63;

/// The longest name that a prefix is put before, `dead_letter_ordering_key`.
const LONGEST_BYTES: usize = 24;

fn check(what: &'static str, name: &str, bytes_max: usize) -> Result<Arc<str>, Error> {
    let refused = |why: String| Err(Error::BadName { what, name: name.to_owned(), why });
    if name.is_empty() {
        return refused("it is empty".into());
    }
    if name.len() > bytes_max {
        return refused(format!("it has {} bytes, and may have {bytes_max}", name.len()));
    }
    let plain = |character: char| character.is_ascii_lowercase() || character == '_';
    if let Some((at, odd)) = name
        .char_indices()
        .find(|(at, character)| !(plain(*character) || *at > 0 && character.is_ascii_digit()))
    {
        return refused(format!("{odd:?} at byte {at} is not a lower-case letter of ASCII, a digit or `_`"));
    }
    Ok(name.into())
}

/// Where the tables are, and what their names begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    schema: Arc<str>,
    prefix: Arc<str>,
}

impl Names {
    pub(crate) fn new(schema: Arc<str>, prefix: Arc<str>) -> Self {
        Self { schema, prefix }
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// A text with `{prefix}` and `{schema}` filled in: `{prefix}outbox` is a name with its schema, `{bare}outbox` is
    /// one without.
    pub(crate) fn fill(&self, text: &str) -> String {
        let Self { schema, prefix } = self;
        text.replace("{bare}", prefix)
            .replace("{prefix}", &format!("{schema}.{prefix}"))
            .replace("{schema}", schema)
    }

    /// What processes tell each other of commits by.
    pub(crate) fn channel(&self) -> String {
        // A channel is a name too, and cut off as one.
        let name = format!("{}_{}outbox", self.schema, self.prefix);
        name.get(..POSTGRES_BYTES_MAX).unwrap_or(&name).to_owned()
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}*", self.schema, self.prefix)
    }
}

pub(crate) fn schema(name: &str) -> Result<Arc<str>, Error> {
    check("schema", name, POSTGRES_BYTES_MAX)
}

pub(crate) fn prefix(name: &str) -> Result<Arc<str>, Error> {
    check("prefix", name, POSTGRES_BYTES_MAX - LONGEST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_have_to_be_quoted_is_refused_with_its_place() {
        for (name, place) in
            [("", "empty"), ("a b", "byte 1"), ("1a", "byte 0"), ("Shop", "byte 0"), ("a\"", "byte 1")]
        {
            let error = schema(name).expect_err(name).to_string();
            assert!(error.contains(place), "{error}");
        }
        assert!(schema("a;drop").is_err() && schema("ä").is_err());
        assert_eq!(&*schema("shop_2").expect("a plain name"), "shop_2");
    }

    #[test]
    fn a_name_that_postgres_would_cut_off_is_refused() {
        assert!(schema(&"s".repeat(63)).is_ok() && schema(&"s".repeat(64)).is_err());
        assert!(prefix(&"p".repeat(39)).is_ok() && prefix(&"p".repeat(40)).is_err());
    }

    #[test]
    fn names_are_filled_in_with_their_schema() {
        let names = Names::new("shop".into(), "factum_".into());
        assert_eq!(
            names.fill("{prefix}outbox {bare}outbox {schema}"),
            "shop.factum_outbox factum_outbox shop"
        );
    }
}
