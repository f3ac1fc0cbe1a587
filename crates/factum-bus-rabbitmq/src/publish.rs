//! Taking a batch: each envelope finds its exchange and its lane, and room in the window of what is unanswered.

use std::sync::Arc;
use std::time::Duration;

use factum::Envelope;
use factum::integration::{Answer, Publication, Source};
use lapin::types::ShortString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::Link;
use crate::error::Error;
use crate::lane::{Item, Lane, Pending};
use crate::names::routing_key;
use crate::options::Options;
use crate::topology::Topology;

/// A place in the window.
pub(crate) struct Room {
    _slot: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// The publishing side of a bus.
pub(crate) struct Publisher {
    link: Arc<Link>,
    topology: Arc<Topology>,
    lanes: Vec<mpsc::UnboundedSender<Item>>,
    slots: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    in_flight: usize,
    in_flight_bytes: usize,
    partitions: u8,
    data_bytes_max: usize,
    deadline: Duration,
    closing: watch::Sender<bool>,
    /// Ended with the publisher.
    _tasks: JoinSet<()>,
}

impl Publisher {
    pub(crate) fn start(link: Arc<Link>, topology: Arc<Topology>, options: &Options) -> Self {
        let mut tasks = JoinSet::new();
        let lane = |_| {
            let (sender, inbox) = mpsc::unbounded_channel();
            let lane = Lane::new(Arc::clone(&link), Arc::clone(&topology), inbox, options.deadline);
            tasks.spawn(lane.run());
            sender
        };
        let lanes = (0..options.channels).map(lane).collect();
        Self {
            lanes,
            slots: Arc::new(Semaphore::new(options.in_flight)),
            bytes: Arc::new(Semaphore::new(options.in_flight_bytes)),
            in_flight: options.in_flight,
            in_flight_bytes: options.in_flight_bytes,
            partitions: options.partitions,
            data_bytes_max: options.data_bytes_max,
            deadline: options.deadline,
            closing: watch::channel(false).0,
            link,
            topology,
            _tasks: tasks,
        }
    }

    /// Hands the batch over. What is not handed over when it fails or is dropped answers `Unknown` by itself.
    pub(crate) async fn publish(&self, batch: Vec<Publication>) -> Result<(), Error> {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(Error::Closed),
            taken = self.take(batch) => taken,
        }
    }

    async fn take(&self, batch: Vec<Publication>) -> Result<(), Error> {
        let mut exchange: Option<(Source, ShortString)> = None;
        for Publication { envelope, confirm } in batch {
            let envelope = envelope.into_inner();
            if let Some(why) = self.objection(&envelope) {
                confirm.answer(Answer::Refused(why));
                continue;
            }
            let room = self.room(envelope.data.len()).await?;
            if !self.link.takes() {
                self.link.takes_within(self.deadline).await?;
            }
            let exchange = match &mut exchange {
                Some((of, exchange)) if *of == envelope.source => exchange.clone(),
                other => {
                    let found = self.exchange(&envelope.source).await?;
                    other.insert((envelope.source.clone(), found)).1.clone()
                }
            };
            self.hand_over(envelope, exchange, Pending { confirm, since: Instant::now(), room });
        }
        Ok(())
    }

    fn hand_over(&self, envelope: Envelope, exchange: ShortString, pending: Pending) {
        let partition = envelope.bucket() % self.partitions;
        let routing_key = routing_key(&envelope.r#type, partition);
        // By partition, so that a lane's confirmations come in the order of one queue: the broker then sends one for
        // many. A lane that has ended drops it, which is an answer as well.
        if let Some(lane) = self.lanes.get(usize::from(partition) % self.lanes.len().max(1)) {
            let _ = lane.send(Item { envelope, exchange, routing_key, pending });
        }
    }

    /// Why the bus does not take it, if so.
    fn objection(&self, envelope: &Envelope) -> Option<String> {
        let (bytes, most) = (envelope.data.len(), self.data_bytes_max);
        if bytes > most {
            return Some(format!("data has {bytes} bytes, this bus takes {most}"));
        }
        // All attributes travel in one frame.
        let bytes: usize = envelope.attributes().map(|(name, value)| name.len() + value.len()).sum();
        let most = Envelope::ATTRIBUTES_BYTES_MAX;
        (bytes > most)
            .then(|| format!("the envelope without its data has {bytes} bytes, this bus takes {most}"))
    }

    async fn room(&self, bytes: usize) -> Result<Room, Error> {
        let bytes = u32::try_from(bytes.clamp(1, self.in_flight_bytes)).unwrap_or(u32::MAX);
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Error::Closed)?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(|_| Error::Closed)?;
        Ok(Room { _slot: slot, _bytes: bytes })
    }

    /// The exchange of the source, made or verified.
    async fn exchange(&self, source: &Source) -> Result<ShortString, Error> {
        let up = self.link.up_within(self.deadline).await?;
        self.topology.source(&up, source).await?;
        Ok(self.topology.names.exchange(source))
    }

    /// Refuses further publishing.
    pub(crate) fn refuse(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until everything is answered.
    pub(crate) async fn answered(&self) {
        let all = u32::try_from(self.in_flight).unwrap_or(u32::MAX);
        let _ = self.slots.acquire_many(all).await;
    }

    /// Lets go of what is unanswered.
    pub(crate) async fn end(&self) {
        self.link.close().await;
    }
}
