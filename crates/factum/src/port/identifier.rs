//! Names of schemas and tables that an application chooses: the only text of its own that becomes a part of a
//! statement, so it is checked once, and refused where a database would want it quoted.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A name that means the same in every database, quoted or not, unless it is a word of SQL: lower-case letters of ASCII,
/// digits and `_`, and no digit first. Whoever puts it into a statement as a whole name quotes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identifier(Arc<str>);

impl Identifier {
    /// Checks a name of 1 to `bytes_max` bytes.
    ///
    /// # Errors
    /// [`BadIdentifier`], which says what is wrong with it, and where.
    pub fn new(name: &str, bytes_max: usize) -> Result<Self, BadIdentifier> {
        match fault(name, bytes_max) {
            None => Ok(Self(name.into())),
            Some(why) => Err(BadIdentifier { name: name.into(), why }),
        }
    }
}

fn fault(name: &str, bytes_max: usize) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".into());
    }
    if name.len() > bytes_max {
        return Some(format!("it has {} bytes, and may have {bytes_max}", name.len()));
    }
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        return Some("it begins with a digit".into());
    }
    let fits = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '_');
    let (at, odd) = name.char_indices().find(|(_, character)| !fits(*character))?;
    Some(format!("{odd:?} at byte {at} is not a lower-case letter of ASCII, a digit or `_`"))
}

impl Deref for Identifier {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot be used: {why}")]
pub struct BadIdentifier {
    /// What was given.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_have_to_be_quoted_is_refused_with_what_is_wrong_and_where() {
        for (name, why) in [
            ("", "it is empty"),
            ("2shop", "it begins with a digit"),
            ("Shop", "'S' at byte 0 is not a lower-case letter of ASCII, a digit or `_`"),
            ("a b", "' ' at byte 1 is not a lower-case letter of ASCII, a digit or `_`"),
            ("a\"b", "'\"' at byte 1 is not a lower-case letter of ASCII, a digit or `_`"),
            ("a`b", "'`' at byte 1 is not a lower-case letter of ASCII, a digit or `_`"),
            ("ab;", "';' at byte 2 is not a lower-case letter of ASCII, a digit or `_`"),
            ("aä", "'ä' at byte 1 is not a lower-case letter of ASCII, a digit or `_`"),
            ("abcdefghi", "it has 9 bytes, and may have 8"),
        ] {
            let refused = Identifier::new(name, 8).expect_err(name);
            assert_eq!((refused.name.as_str(), refused.why.as_str()), (name, why));
            assert_eq!(refused.to_string(), format!("{name:?} cannot be used: {why}"));
        }
    }

    #[test]
    fn a_plain_name_is_taken_as_it_is() {
        for name in ["a", "_", "factum_", "shop_2", "_2", "abcdefgh"] {
            assert_eq!(&*Identifier::new(name, 8).expect(name), name);
        }
    }
}
