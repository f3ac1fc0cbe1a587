//! How a bus is opened.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use factum::integration::Source;

use crate::{Error, Nats};

/// How a bus on NATS is opened. Begin with [`Nats::options`].
#[derive(Clone)]
#[must_use = "options open nothing until `connect` is called"]
pub struct Options {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) names: HashMap<Source, String>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) replicas: usize,
    pub(crate) max_age: Duration,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) duplicate_window: Duration,
    pub(crate) partitions: u8,
    pub(crate) publish_deadline: Duration,
    pub(crate) request_deadline: Duration,
    pub(crate) lease: Duration,
    pub(crate) in_flight: usize,
}

/// Who connects.
#[derive(Clone)]
pub(crate) enum Credentials {
    User(String, String),
    Token(String),
    File(PathBuf),
}

/// Without secrets, which a log would keep.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("url", &without_secret(&self.url))
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Options {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            name: "factum".into(),
            namespace: "factum".into(),
            names: HashMap::new(),
            credentials: None,
            ca: None,
            replicas: 1,
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_bytes: None,
            duplicate_window: Duration::from_secs(30),
            partitions: 8,
            publish_deadline: Duration::from_secs(10),
            request_deadline: Duration::from_secs(5),
            lease: Duration::from_secs(10),
            in_flight: 8_192,
        }
    }

    /// The connection's name, which the server shows; `factum` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What streams, subjects and keys of this bus begin with, so that several buses share a server; `factum` by
    /// default. 1 to 40 letters, digits and `-`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The name of a source's stream, instead of the derived one. Every publisher of that source has to give the same.
    pub fn stream_of(mut self, source: impl Into<Source>, name: impl Into<String>) -> Self {
        self.names.insert(source.into(), name.into());
        self
    }

    /// Connects as a user, unless the URL names one.
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::User(user.into(), password.into()));
        self
    }

    /// Connects with a token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::Token(token.into()));
        self
    }

    /// Connects with a file of credentials, as `nsc` writes it.
    pub fn credentials_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(Credentials::File(file.into()));
        self
    }

    /// A file with the certificates that the server's is signed with, where the system does not know them.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// How many servers of a cluster keep each stream; 1 by default.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// How long a stream keeps an event, whether or not it was consumed; 7 days by default. A subscription that nobody
    /// reads for longer misses events, and nothing tells of it: choose more than any outage of a consumer may last.
    /// Zero: for ever, until [`max_bytes`](Self::max_bytes).
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// How many bytes a stream has at most. A full one takes nothing more until `max_age` makes room: publishers wait,
    /// and nothing is thrown away. Without a limit by default.
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }

    /// How long the server recognises a repeat of (source, id); 30 s by default. It keeps all ids of that time in memory.
    /// Subscriptions recognise repeats for themselves, so this only saves work. Zero: not at all.
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = window;
        self
    }

    /// Into how many partitions the keys of a stream are divided; 8 by default, 1 to 64. So many processes can share the
    /// work of one subscription. The namespace keeps the number that it was first opened with.
    pub fn partitions(mut self, partitions: u8) -> Self {
        self.partitions = partitions;
        self
    }

    /// How long to wait for the answer to one envelope, before it is unknown; 10 s by default.
    pub fn publish_deadline(mut self, deadline: Duration) -> Self {
        self.publish_deadline = deadline;
        self
    }

    /// How long to wait for any other answer of the server; 5 s by default.
    pub fn request_deadline(mut self, deadline: Duration) -> Self {
        self.request_deadline = deadline;
        self
    }

    /// After how long without a sign of life a consumer's process is taken for dead, and what it held goes to others;
    /// 10 s by default, at least 100 ms. Handlers may take longer: signs of life come from the bus.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How many envelopes wait for their answer at most, before publishing waits; 8,192 by default, at most 60,000.
    pub fn in_flight(mut self, in_flight: usize) -> Self {
        self.in_flight = in_flight;
        self
    }

    /// Connects, and declares or verifies what the bus needs.
    ///
    /// # Errors
    /// The server cannot be reached or has no JetStream, the options contradict each other, or what exists under this
    /// namespace was made with other settings.
    pub async fn connect(self) -> Result<Nats, Error> {
        self.check()?;
        Nats::open(self).await
    }

    /// Removes everything of the namespace from the server: streams with their events, subscriptions, settings. Nobody may
    /// be using it. Returns how many streams there were.
    ///
    /// # Errors
    /// The server cannot be reached, or does not remove them.
    pub async fn clean_up(self) -> Result<usize, Error> {
        crate::cleanup::clean_up(&self).await
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |text: &str| Err(Error::Options(text.to_owned()));
        if !(1..=64).contains(&self.partitions) {
            return wrong("partitions has to be 1 to 64");
        }
        if self.lease < Duration::from_millis(100) {
            return wrong("lease has to be at least 100 ms");
        }
        if self.publish_deadline.is_zero() || self.request_deadline.is_zero() {
            return wrong("with a deadline of 0 nothing could be published");
        }
        if !(1..=60_000).contains(&self.in_flight) {
            return wrong("in_flight has to be 1 to 60,000: the client drops answers beyond that");
        }
        if !self.max_age.is_zero() && self.max_age < self.duplicate_window {
            return wrong("duplicate_window cannot be longer than max_age");
        }
        Ok(())
    }
}

/// A URL as it may be shown.
pub(crate) fn without_secret(url: &str) -> String {
    let shown = url.split(',').map(|url| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let options =
            Nats::options("nats://me:secret@a:1,nats://token@b:2").user("me", "secret").token("token");
        let shown = format!("{options:?}");
        assert!(shown.contains("nats://a:1,nats://b:2"), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("token"), "{shown}");
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let refusal = |change: fn(Options) -> Options| {
            change(Nats::options("nats://a")).check().map_err(|error| error.to_string())
        };
        assert_eq!(refusal(|it| it), Ok(()));
        assert!(refusal(|it| it.partitions(0)).is_err());
        assert!(refusal(|it| it.partitions(65)).is_err());
        assert!(refusal(|it| it.lease(Duration::ZERO)).is_err());
        assert!(refusal(|it| it.publish_deadline(Duration::ZERO)).is_err());
        assert!(refusal(|it| it.in_flight(100_000)).is_err());
        assert!(refusal(|it| it.max_age(Duration::from_secs(1))).is_err());
    }
}
