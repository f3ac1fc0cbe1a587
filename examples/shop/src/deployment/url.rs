//! A URL that may hold a password.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A URL as it was typed. It is not shown: neither in an error nor in a debug output is there more of it than its scheme.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// What is before the first colon; all of it where there is none.
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// What is behind the first colon.
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, rest)| rest)
    }

    /// All of it: for who connects.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What can be shown: the scheme and its colon, if there is one.
    pub fn shown(&self) -> &str {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        match self.0.find(':').and_then(|colon| self.0.split_at_checked(colon + 1)) {
            Some((scheme, rest))
                if (rest.is_empty() || rest.starts_with("//"))
                    && scheme.len() <= 20
                    && scheme.trim_end_matches(':').bytes().all(fits) =>
            {
                scheme
            }
            _ => "something without a scheme",
        }
    }
}

/// Every text is taken: what is wrong with it is said later, in words that do not repeat it.
impl FromStr for Url {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({}..)", self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_of_a_url_is_shown_but_its_scheme() {
        assert_eq!(format!("{:?}", url("postgres://me:secret@db/x")), "Url(postgres:..)");
        for odd in ["secret", "sec ret://x", "me@secret.example:5432", "me:secret@a", ""] {
            assert_eq!(url(odd).shown(), "something without a scheme", "{odd}");
        }
    }

    #[test]
    fn a_url_has_a_scheme_and_a_rest() {
        assert_eq!((url("sqlite:").scheme(), url("sqlite:").rest()), ("sqlite", ""));
        assert_eq!((url("nats://a:1").scheme(), url("nats://a:1").rest()), ("nats", "//a:1"));
        assert_eq!((url("memory").scheme(), url("memory").rest()), ("memory", ""));
    }
}
