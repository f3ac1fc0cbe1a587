//! The raw limit: what a person would write by hand for this one table and this one broker, without factum, and as fast
//! as it honestly gets. Nothing is deleted before the broker has acknowledged it; there is no fence, no order per key
//! across failures, no retry, no lease, and any error ends the run.

pub(crate) mod drain;
pub(crate) mod mysql;
pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod rabbitmq;

use std::future::Future;

use bytes::Bytes;

use crate::Outcome;

/// Rows that are claimed, read, published and deleted at once.
pub(crate) const PAGE: usize = 1_000;
/// Pages that may be on their way to the broker: a window of about 4,096 messages.
pub(crate) const WINDOW: usize = 4;

/// What a hand-written relay needs of a row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    /// Read only where it is published, see [`Headers`].
    pub(crate) id: Option<String>,
    pub(crate) payload: Bytes,
}

/// What the raw loop publishes beside the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Headers {
    /// The payload alone.
    None,
    /// The row's id: `Nats-Msg-Id`, or the property `message_id`.
    Id,
    /// As many as a CloudEvent in binary mode has.
    CloudEvents,
}

/// One connection of a hand-written relay to its table.
pub(crate) trait RawStore: Send + Sized + 'static {
    /// Opens a connection.
    fn open(url: &str, headers: Headers) -> impl Future<Output = Outcome<Self>> + Send;

    /// Begins a transaction and locks the next rows that nobody else has locked.
    fn claim(&mut self) -> impl Future<Output = Outcome<Vec<Row>>> + Send;

    /// Deletes what was claimed and commits.
    fn claimed(&mut self, seqs: Vec<i64>) -> impl Future<Output = Outcome<()>> + Send;

    /// The next rows above a `seq`, in order.
    fn read(&mut self, above: i64) -> impl Future<Output = Outcome<Vec<Row>>> + Send;

    /// Deletes these.
    fn delete(&mut self, seqs: Vec<i64>) -> impl Future<Output = Outcome<()>> + Send;
}

/// One connection of a hand-written relay to its broker.
pub(crate) trait RawBus: Send + Sync + Sized + 'static {
    /// A page of messages on its way.
    type Sent: Send;

    /// Publishes a page, at most [`PAGE`] rows, and does not wait for acknowledgements.
    fn send(&mut self, rows: &[Row]) -> impl Future<Output = Outcome<Self::Sent>> + Send;

    /// Ends when all of the page is acknowledged.
    fn acknowledged(sent: Self::Sent) -> impl Future<Output = Outcome<()>> + Send;
}
