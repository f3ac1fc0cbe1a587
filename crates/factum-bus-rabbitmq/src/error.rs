//! What can go wrong with the broker, sorted by the codes of AMQP and never by the text of a message.

use std::time::Duration;

use lapin::ErrorKind;

/// Why RabbitMQ did not do what a bus asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be used.
    #[error("this is no URL of RabbitMQ: {why}; expected one such as amqp://user:password@host:5672/vhost")]
    Url {
        /// What is wrong with it; never the URL itself, which holds a password.
        why: String,
    },
    /// The namespace cannot be used.
    #[error(
        "{found:?} is no namespace: expected 1 to 60 lower-case letters, digits, hyphens and underscores, and not `amq`"
    )]
    Namespace {
        /// What was given.
        found: String,
    },
    /// The exchange that was given for a source cannot be used.
    #[error(
        "{found:?} cannot be the exchange of {source_uri}: expected 1 to 255 bytes that do not begin with `amq.` and are not the namespace"
    )]
    Exchange {
        /// The source that it was given for.
        source_uri: String,
        /// What was given.
        found: String,
    },
    /// A number is out of its range.
    #[error("{what} is {found}, expected {expected}")]
    Range {
        /// Which one.
        what: &'static str,
        /// What was given.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// What a consumer wants cannot be had.
    #[error("subscription {subscription:?}: {why}")]
    Interest {
        /// Its name.
        subscription: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The broker did not answer in time.
    #[error("RabbitMQ did not answer within {after:?}: {what}")]
    NoAnswer {
        /// What it was asked to do.
        what: String,
        /// How long this waited.
        after: Duration,
    },
    /// Something exists already with other settings.
    #[error(
        "{what} exists with other settings than this bus needs, and is left as it is: {detail}. Delete it, or use another namespace"
    )]
    Conflict {
        /// Which exchange or queue.
        what: String,
        /// What the broker said.
        detail: String,
    },
    /// The namespace was made with another number of partitions.
    #[error(
        "the namespace {namespace:?} was made with another number of partitions than {partitions}: {detail}. Give all of its programs the same number, or use another namespace"
    )]
    Partitions {
        /// The namespace.
        namespace: String,
        /// What this program asked for.
        partitions: u8,
        /// What the broker said, with the number that it has.
        detail: String,
    },
    /// The user may not do this.
    #[error("RabbitMQ refuses access: {what}: {detail}")]
    Denied {
        /// What was tried.
        what: String,
        /// What the broker said.
        detail: String,
    },
    /// Anything else that the broker or the connection said.
    #[error("{what}: {source}")]
    Broker {
        /// What was tried.
        what: String,
        /// What was said.
        source: lapin::Error,
    },
    /// A message that is no event could not be put aside.
    #[error("RabbitMQ did not store a message that is no event in queue {queue:?}")]
    NotStored {
        /// Where it was to go.
        queue: String,
    },
    /// The connection is down, and is being made again.
    #[error("not connected to RabbitMQ: {why}")]
    Down {
        /// Why it went down, or why the last try to connect failed.
        why: String,
    },
    /// The broker takes nothing, because it is short of memory or disk.
    #[error("RabbitMQ blocks publishers, and did so for {waited:?}: free memory or disk where it runs")]
    Blocked {
        /// How long this waited.
        waited: Duration,
    },
    /// The bus was closed.
    #[error("the bus is closed: publish to or subscribe on another one")]
    Closed,
}

/// AMQP's reply code for settings that differ, and for a message that is too large.
pub(crate) const PRECONDITION_FAILED: u16 = 406;
/// AMQP's reply code for what is not there.
pub(crate) const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;
const NOT_ALLOWED: u16 = 530;

/// The reply code, where the broker gave one.
pub(crate) fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

impl Error {
    /// Sorts what came of trying to do `what`.
    pub(crate) fn of(what: impl Into<String>, source: lapin::Error) -> Self {
        let (what, detail) = (what.into(), source.to_string());
        match reply_code(&source) {
            Some(PRECONDITION_FAILED) => Self::Conflict { what, detail },
            Some(ACCESS_REFUSED | NOT_ALLOWED) => Self::Denied { what, detail },
            _ => Self::Broker { what, source },
        }
    }
}
