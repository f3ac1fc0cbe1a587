//! Names of schemas and tables, and how they get into statements.

use std::fmt;

use factum::port::Identifier;

use crate::error::Error;

/// What PostgreSQL keeps of a name; it cuts the rest off without an error.
const POSTGRES_BYTES_MAX: usize = 63;

/// The longest name that a prefix is put before, `dead_letter_ordering_key`.
const LONGEST_BYTES: usize = 24;

/// Where the tables are, and what their names begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    schema: Identifier,
    prefix: Identifier,
}

impl Names {
    pub(crate) fn new(schema: Identifier, prefix: Identifier) -> Self {
        Self { schema, prefix }
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// A text with `{prefix}` and `{schema}` filled in: `{prefix}outbox` is a name with its schema, `{bare}outbox` is
    /// one without. The schema is quoted: it may be a word that means something in SQL. What follows a prefix never is one.
    pub(crate) fn fill(&self, text: &str) -> String {
        let Self { schema, prefix } = self;
        text.replace("{bare}", prefix)
            .replace("{prefix}", &format!("\"{schema}\".{prefix}"))
            .replace("{schema}", &format!("\"{schema}\""))
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

pub(crate) fn schema(name: &str) -> Result<Identifier, Error> {
    Identifier::new(name, POSTGRES_BYTES_MAX).map_err(|source| Error::BadName { what: "schema", source })
}

pub(crate) fn prefix(name: &str) -> Result<Identifier, Error> {
    let bytes_max = POSTGRES_BYTES_MAX - LONGEST_BYTES;
    Identifier::new(name, bytes_max).map_err(|source| Error::BadName { what: "prefix", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_postgres_would_cut_off_is_refused() {
        assert!(schema(&"s".repeat(63)).is_ok() && schema(&"s".repeat(64)).is_err());
        assert!(prefix(&"p".repeat(39)).is_ok() && prefix(&"p".repeat(40)).is_err());
    }

    #[test]
    fn names_are_filled_in_with_their_schema() {
        let names = Names::new(schema("shop").expect("a name"), prefix("factum_").expect("a name"));
        assert_eq!(
            names.fill("{prefix}outbox {bare}outbox {schema}"),
            "\"shop\".factum_outbox factum_outbox \"shop\""
        );
    }
}
