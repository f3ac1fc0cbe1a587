//! How a bus is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use factum::Envelope;
use lapin::uri::AMQPUri;

use crate::RabbitMq;
use crate::connection::Recipe;
use crate::error::Error;
use crate::names::Names;

/// Seconds between heartbeats where the URL does not say: a peer that is silent for twice that long is gone.
const HEARTBEAT_SECONDS: u16 = 10;
const PARTITIONS_MAX: u8 = 64;
const CHANNELS_MAX: usize = 64;

/// What keeps a subscription's deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueKind {
    /// Replicated, and confirmed when a majority has it on disk. Counts deliveries.
    #[default]
    Quorum,
    /// On one node, durable. Tells that a delivery came before, but not how often.
    Classic,
}

/// How a bus is opened. Begin with [`RabbitMq::options`].
#[derive(Clone)]
#[must_use = "options open nothing until `connect` is called"]
pub struct Options {
    url: String,
    namespace: String,
    exchanges: BTreeMap<String, String>,
    pub(crate) queue_kind: QueueKind,
    pub(crate) partitions: u8,
    pub(crate) prefetch: u16,
    pub(crate) channels: usize,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_bytes: usize,
    pub(crate) data_bytes_max: usize,
    connect_deadline: Duration,
    pub(crate) deadline: Duration,
    pub(crate) share_every: Duration,
    connection_name: String,
    certificate_authority: Option<String>,
}

impl Options {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            namespace: "factum".into(),
            exchanges: BTreeMap::new(),
            queue_kind: QueueKind::default(),
            partitions: 8,
            prefetch: 128,
            channels: 8,
            in_flight: 4_096,
            in_flight_bytes: 16 << 20,
            data_bytes_max: Envelope::DATA_BYTES_MAX,
            connect_deadline: Duration::from_secs(10),
            deadline: Duration::from_secs(10),
            share_every: Duration::from_secs(5),
            connection_name: "factum".into(),
            certificate_authority: None,
        }
    }

    /// What the names of everything that this bus makes begin with; `factum` by default. Programs with the same
    /// namespace are on the same bus. Lower-case letters, digits, `-` and `_`, at most 60.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The exchange of a source, where it shall not be `<namespace>.<source>`. Its publishers and those who look for
    /// it must be told the same. An exchange that exists must be a durable fanout exchange. The topic exchange behind it,
    /// for those who want some types, is called `<exchange>.topic`.
    pub fn exchange(mut self, source: impl Into<String>, exchange: impl Into<String>) -> Self {
        self.exchanges.insert(source.into(), exchange.into());
        self
    }

    /// What keeps a subscription's deliveries; [`QueueKind::Quorum`] by default. A namespace has one kind.
    pub fn queue_kind(mut self, kind: QueueKind) -> Self {
        self.queue_kind = kind;
        self
    }

    /// How many queues each subscription has, 1 to 64; 8 by default. A key is always in the same one, and a queue is
    /// read by one process at a time. It is fixed when the namespace is made: a program that says otherwise is
    /// refused.
    pub fn partitions(mut self, partitions: u8) -> Self {
        self.partitions = partitions;
        self
    }

    /// How many deliveries of each partition this process holds at most, handed out or waiting, at least 1; 128 by
    /// default. Keys that were handed back for later count: while they fill it, their partition stands still.
    pub fn prefetch(mut self, prefetch: u16) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// Over how many channels it publishes, 1 to 64; 8 by default. A partition always takes the same one, and more than
    /// there are partitions are of no use.
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = channels;
        self
    }

    /// How many publications are unanswered at most before publishing waits, at least 1; 4,096 by default.
    pub fn in_flight(mut self, publications: usize) -> Self {
        self.in_flight = publications;
        self
    }

    /// How many bytes of `data` are unanswered at most before publishing waits; 16 MiB by default. A larger envelope
    /// goes alone.
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = bytes;
        self
    }

    /// The largest `data` that it takes, in bytes; 16 MiB by default, which is also the limit of a RabbitMQ 4 that
    /// was not told otherwise. Set it lower where the broker's `max_message_size` is.
    pub fn data_bytes_max(mut self, bytes: usize) -> Self {
        self.data_bytes_max = bytes;
        self
    }

    /// How long one try to connect may take; 10 s by default.
    pub fn connect_deadline(mut self, deadline: Duration) -> Self {
        self.connect_deadline = deadline;
        self
    }

    /// How long the broker has for an answer, to a publication as to a declaration; 10 s by default. After that a
    /// publication is [`Unknown`](factum::integration::Answer::Unknown).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How often a process looks whether it reads more than its share of a subscription's partitions, and lets others
    /// have some; at least 100 ms, 5 s by default.
    pub fn share_every(mut self, interval: Duration) -> Self {
        self.share_every = interval.max(Duration::from_millis(100));
        self
    }

    /// What the broker's tools call the two connections, followed by `publish` and `consume`; `factum` by default.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.connection_name = name.into();
        self
    }

    /// Whom to trust with `amqps://`, in PEM, beside the authorities of the web that are compiled in.
    pub fn certificate_authority(mut self, pem: impl Into<String>) -> Self {
        self.certificate_authority = Some(pem.into());
        self
    }

    /// Connects, and makes or verifies what the namespace needs.
    ///
    /// # Errors
    /// An option is out of its range, the broker cannot be reached or refuses the user, or the namespace exists with
    /// other settings.
    pub async fn connect(self) -> Result<RabbitMq, Error> {
        RabbitMq::connect_with(self).await
    }

    /// Deletes every exchange and queue that this namespace has made, with all that is in them, and says how many
    /// they were. It does not touch an exchange that was there before. Nobody should be using the namespace.
    ///
    /// # Errors
    /// The broker cannot be reached, refuses the user, or does not answer in time. What is left then is found by the
    /// next call.
    pub async fn clean_up(self) -> Result<usize, Error> {
        crate::cleanup::clean_up(self).await
    }

    pub(crate) fn names(&self) -> Result<Names, Error> {
        Names::new(self.namespace.clone(), self.exchanges.clone())
    }

    pub(crate) fn namespace_name(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let range = |what, found: usize, fits: bool, expected| match fits {
            true => Ok(()),
            false => Err(Error::Range { what, found: found as u64, expected }),
        };
        let (partitions, channels) = (usize::from(self.partitions), self.channels);
        range("`partitions`", partitions, (1..=PARTITIONS_MAX).contains(&self.partitions), "1 to 64")?;
        range("`channels`", channels, (1..=CHANNELS_MAX).contains(&channels), "1 to 64")?;
        range("`prefetch`", usize::from(self.prefetch), self.prefetch > 0, "at least 1")?;
        range("`in_flight`", self.in_flight, (1..=1 << 20).contains(&self.in_flight), "1 to 1,048,576")?;
        let fits = (1..=1 << 31).contains(&self.in_flight_bytes);
        range("`in_flight_bytes`", self.in_flight_bytes, fits, "1 to 2,147,483,648")?;
        let fits = self.data_bytes_max <= Envelope::DATA_BYTES_MAX;
        range("`data_bytes_max`", self.data_bytes_max, fits, "at most 16,777,216")
    }

    /// How to connect, for a purpose.
    pub(crate) fn recipe(&self, purpose: &str) -> Result<Recipe, Error> {
        Ok(Recipe {
            uri: self.uri()?,
            name: format!("{}-{purpose}", self.connection_name),
            certificate_authority: self.certificate_authority.clone(),
            deadline: self.connect_deadline,
            answers_within: self.deadline,
        })
    }

    /// What to connect to. A path of `/` alone means the vhost `/`, as no path does: one with an empty name is made
    /// by nobody on purpose.
    fn uri(&self) -> Result<AMQPUri, Error> {
        let mut uri: AMQPUri = self.url.parse().map_err(|why| Error::Url { why })?;
        if uri.vhost.is_empty() {
            uri.vhost = "/".into();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(uri)
    }
}

/// Without the URL, which holds a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("namespace", &self.namespace)
            .field("queue_kind", &self.queue_kind)
            .field("partitions", &self.partitions)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named_with_what_it_may_be() {
        let said = |options: Options| options.check().unwrap_err().to_string();
        let options = || Options::new("amqp://h");
        assert_eq!(said(options().partitions(0)), "`partitions` is 0, expected 1 to 64");
        assert_eq!(said(options().partitions(65)), "`partitions` is 65, expected 1 to 64");
        assert_eq!(said(options().prefetch(0)), "`prefetch` is 0, expected at least 1");
        assert!(options().check().is_ok());
    }

    #[test]
    fn a_url_without_a_vhost_means_the_default_one() {
        for url in ["amqp://h", "amqp://h/", "amqp://h/%2f"] {
            assert_eq!(Options::new(url).uri().unwrap().vhost, "/", "{url}");
        }
        assert_eq!(Options::new("amqps://u:p@h:5671/shop").uri().unwrap().vhost, "shop");
    }

    #[test]
    fn a_password_is_in_no_error_and_no_debug_output() {
        let options = Options::new("http://user:secret@host");
        let error = options.uri().unwrap_err().to_string();
        assert!(!error.contains("secret") && !format!("{options:?}").contains("secret"), "{error}");
    }
}
