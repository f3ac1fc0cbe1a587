//! How the names of the tables begin: the only text in our SQL that is not constant.

use std::fmt;

use factum::port::Identifier;

use crate::error::Error;

/// How the names of the tables begin.
#[derive(Clone, Debug)]
pub(crate) struct Prefix(Identifier);

impl Prefix {
    /// The most bytes: as many as on PostgreSQL, although a name could be a little longer here.
    const BYTES_MAX: usize = 39;

    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        let checked = Identifier::new(name, Self::BYTES_MAX);
        Ok(Self(checked.map_err(|source| Error::BadName { what: "prefix", source })?))
    }

    /// The SQL with this prefix in every `{p}`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        sql.replace("{p}", &self.0)
    }
}

/// All of the tables.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.0)
    }
}
