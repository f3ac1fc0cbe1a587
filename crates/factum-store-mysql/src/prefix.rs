//! How the names of the tables begin: the only text in our SQL that is not constant, so it is checked once, here.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// How the names of the tables begin; `factum_` by default. Several services can share a database under different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// The most characters.
    pub const CHARACTERS_MAX: usize = 32;

    /// A prefix of `a` to `z`, `0` to `9` and `_`, which begins with a letter. An empty one is allowed.
    ///
    /// # Errors
    /// It has other characters, or more than [`CHARACTERS_MAX`](Self::CHARACTERS_MAX).
    pub fn new(text: &str) -> Result<Self, Error> {
        let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins_well = text.bytes().next().is_none_or(|first| first.is_ascii_lowercase());
        match begins_well && text.len() <= Self::CHARACTERS_MAX && text.bytes().all(is_fine) {
            true => Ok(Self(text.into())),
            false => Err(Error::Prefix(text.into())),
        }
    }

    /// The SQL with this prefix in every `{p}`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        sql.replace("{p}", &self.0)
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("factum_".into())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_anything_but_the_beginning_of_a_name_is_refused() {
        for fine in ["", "factum_", "shop2_", "a"] {
            assert_eq!(Prefix::new(fine).unwrap().to_string(), fine);
        }
        for bad in ["Shop_", "2shop", "_shop", "a`b", "a b", "a;", "é", &"a".repeat(33)] {
            assert!(matches!(Prefix::new(bad), Err(Error::Prefix(_))), "{bad}");
        }
    }
}
