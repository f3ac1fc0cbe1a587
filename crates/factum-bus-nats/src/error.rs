//! What can go wrong with this bus as a whole. What becomes of one envelope is its [`Answer`](factum::integration::Answer).

use std::time::Duration;

use factum::BoxError;

/// Why the bus cannot be opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name has characters that the server or this crate does not take, or is too long.
    #[error("{what} is {name:?}, expected {expected}")]
    Name {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A number of the options makes no sense.
    #[error("{0}")]
    Options(String),
    /// No connection to a server.
    #[error("no connection to NATS at {server}: {source}")]
    Connect {
        /// Where, without secrets.
        server: String,
        /// What the client says.
        source: BoxError,
    },
    /// The server did not answer in time.
    #[error("NATS did not answer within {within:?}: {what}")]
    Late {
        /// What it was asked for.
        what: String,
        /// How long was waited.
        within: Duration,
    },
    /// The server refused what the bus needs.
    #[error("{what}: {source}")]
    Server {
        /// What was asked for.
        what: String,
        /// What the server says.
        source: BoxError,
    },
    /// Something exists already, with settings under which the bus would not keep its promises. Nothing was changed.
    #[error("{what} exists with {found}, needed is {needed}; change it, or use another namespace")]
    Differs {
        /// What exists.
        what: String,
        /// How it is.
        found: String,
        /// How it would have to be.
        needed: String,
    },
    /// The bus was closed.
    #[error("the bus is closed: publish to or subscribe on another one")]
    Closed,
}

impl Error {
    pub(crate) fn server(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Server { what: what.into(), source: source.into() }
    }
}
