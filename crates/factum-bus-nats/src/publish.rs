//! Handing envelopes to the server, pipelined: the answers come to [`InFlight`], on one subscription for all of them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::connection::State;
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use factum::Envelope;
use factum::integration::{Answer, Confirm, Publication};
use futures_util::future::poll_immediate;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::Error;
use crate::headers::{self, MessageId};
use crate::inflight::{InFlight, Sending};
use crate::names::{self, Names};
use crate::server::Server;
use crate::streams::{self, Settings};

/// Types of one destination whose subjects are remembered.
const TYPES_REMEMBERED: usize = 4_096;

pub(crate) struct Publisher {
    server: Server,
    names: Arc<Names>,
    settings: Settings,
    partitions: u8,
    with_message_id: bool,
    deadline: Duration,
    pub(crate) in_flight: Arc<InFlight>,
    destinations: Arc<Destinations>,
}

/// Where the events of sources go, by source.
#[derive(Default)]
pub(crate) struct Destinations(Mutex<HashMap<String, Arc<Destination>>>);

impl Destinations {
    /// The server said that a stream is not there: look again, and declare it again.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The stream of one source.
struct Destination {
    subjects: String,
    /// By what the server recognises repeats in it.
    message_id: MessageId,
    declared: OnceCell<()>,
    types: Mutex<HashMap<String, Arc<[Subject]>>>,
}

/// The destination and the type of the envelope before: mostly the next one's as well.
#[derive(Default)]
struct Before {
    source: String,
    destination: Option<Arc<Destination>>,
    r#type: String,
    subjects: Option<Arc<[Subject]>>,
}

impl Publisher {
    pub(crate) fn new(
        server: Server,
        names: Arc<Names>,
        options: &crate::Options,
        partitions: u8,
        in_flight: Arc<InFlight>,
        destinations: Arc<Destinations>,
    ) -> Self {
        Self {
            server,
            names,
            settings: Settings::of(options),
            partitions,
            with_message_id: !options.duplicate_window.is_zero(),
            deadline: options.publish_deadline,
            in_flight,
            destinations,
        }
    }

    /// The largest data that fits beside any headers.
    pub(crate) fn data_bytes_max(&self) -> usize {
        self.server.client.max_payload().saturating_sub(headers::BYTES_MAX).min(Envelope::DATA_BYTES_MAX)
    }

    /// Hands over all of the batch. What is not answered when it fails is answered `Unknown`, by being dropped.
    pub(crate) async fn publish(&self, batch: Vec<Publication>) -> Result<(), Error> {
        let most = self.data_bytes_max();
        let (mut before, mut headers) = (Before::default(), headers::Writer::default());
        for Publication { envelope, confirm } in batch {
            self.connected()?;
            if let Some(why) = too_large(&envelope, most) {
                confirm.answer(Answer::Refused(why));
                continue;
            }
            let (subject, message_id) = self.subject(&envelope, &mut before).await?;
            match headers.write(&envelope, message_id) {
                Ok(headers) => self.hand_over(subject, headers, &envelope, confirm).await?,
                Err(why) => confirm.answer(Answer::Refused(why)),
            }
        }
        Ok(())
    }

    async fn hand_over(
        &self,
        subject: Subject,
        headers: HeaderMap,
        envelope: &Envelope,
        confirm: Confirm,
    ) -> Result<(), Error> {
        let payload = Bytes::from_owner(Arc::clone(&envelope.data));
        let ticket = self.in_flight.take(confirm).await;
        let reply = ticket.reply.clone();
        let sending = Sending::new(&self.in_flight, ticket);
        let client = &self.server.client;
        let mut send = pin!(client.publish_with_reply_and_headers(subject, reply, headers, payload));
        let sent = match poll_immediate(&mut send).await {
            Some(sent) => Ok(sent),
            // The client has no room: the connection is slow, or gone.
            None => timeout(self.deadline, send).await,
        };
        match sent {
            Ok(Ok(())) => sending.sent(),
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                sending.failed(Answer::Refused(error.to_string()));
            }
            Ok(Err(error)) => return Err(Error::server("publishing", error)),
            Err(_) => {
                let what = "publishing; it takes no further messages".to_owned();
                return Err(Error::Late { what, within: self.deadline });
            }
        }
        Ok(())
    }

    /// What is given to the client while there is no connection would leave later, when nobody waits for it any more.
    fn connected(&self) -> Result<(), Error> {
        match self.server.client.connection_state() {
            State::Connected => Ok(()),
            _ => Err(Error::server("publishing", "there is no connection to the server at the moment")),
        }
    }

    async fn subject(&self, envelope: &Envelope, before: &mut Before) -> Result<(Subject, MessageId), Error> {
        if before.destination.is_none() || before.source != *envelope.source {
            before.destination = Some(self.destination(&envelope.source).await?);
            before.source = envelope.source.as_str().to_owned();
            before.subjects = None;
        }
        let Some(destination) = &before.destination else { return Err(Error::Closed) };
        if before.subjects.is_none() || before.r#type != envelope.r#type {
            before.subjects = Some(destination.subjects_of(&envelope.r#type, self.partitions));
            before.r#type = envelope.r#type.clone().into_owned();
        }
        let partition = usize::from(partition(envelope, self.partitions));
        match before.subjects.as_ref().and_then(|subjects| subjects.get(partition)) {
            Some(subject) => Ok((subject.clone(), destination.message_id)),
            None => Err(Error::Closed),
        }
    }

    async fn destination(&self, source: &str) -> Result<Arc<Destination>, Error> {
        let destination = {
            let mut known = self.destinations.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = known.entry(source.to_owned());
            Arc::clone(known.or_insert_with(|| {
                let subjects = self.names.subjects(&self.names.destination(source));
                let message_id = match self.names.is_given(source) {
                    _ if !self.with_message_id => MessageId::None,
                    true => MessageId::SourceAndId,
                    false => MessageId::Id,
                };
                Arc::new(Destination {
                    subjects,
                    message_id,
                    declared: OnceCell::new(),
                    types: Mutex::default(),
                })
            }))
        };
        let declare = async || {
            if streams::declare(&self.server, &self.names, &self.settings, source).await? {
                // Subscriptions would find it by themselves, a little later.
                let told = self.server.client.publish(self.names.changes(), Bytes::new());
                let _ = self.server.within(told).await;
            }
            Ok::<_, Error>(())
        };
        destination.declared.get_or_try_init(declare).await?;
        Ok(destination)
    }
}

impl Destination {
    /// The subjects of a type, by partition.
    fn subjects_of(&self, r#type: &str, partitions: u8) -> Arc<[Subject]> {
        let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subjects) = types.get(r#type) {
            return Arc::clone(subjects);
        }
        if types.len() >= TYPES_REMEMBERED {
            types.clear();
        }
        let subjects: Arc<[Subject]> =
            (0..partitions).map(|partition| names::subject(&self.subjects, partition, r#type)).collect();
        types.insert(r#type.to_owned(), Arc::clone(&subjects));
        subjects
    }
}

/// The partition of an envelope's key. Of 64 buckets it is the outbox's, so that any language can compute it.
fn partition(envelope: &Envelope, partitions: u8) -> u8 {
    envelope.bucket() % partitions.max(1)
}

fn too_large(envelope: &Envelope, most: usize) -> Option<String> {
    let bytes = envelope.data.len();
    (bytes > most).then(|| format!("data has {bytes} bytes, this bus takes {most}"))
}
