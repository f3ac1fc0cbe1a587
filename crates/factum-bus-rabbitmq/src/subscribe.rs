//! Opening consumers: the subscription's queues first, then a consumer, and with the first one the reading.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use factum::integration::Interest;
use tokio::sync::{mpsc, watch};

use crate::connection::Link;
use crate::delivery::Consumer;
use crate::error::Error;
use crate::options::Options;
use crate::read::{Reader, Seat};
use crate::share::Share;
use crate::subscription::{Reading, Subscription, Subscriptions};
use crate::topology::Topology;

/// How long readers have to say good-bye.
const GOODBYE: Duration = Duration::from_millis(700);
const SUBSCRIPTION_BYTES_MAX: usize = 128;

/// The consuming side of a bus.
pub(crate) struct Subscriber {
    link: Arc<Link>,
    topology: Arc<Topology>,
    subscriptions: Subscriptions,
    partitions: u8,
    prefetch: u16,
    deadline: Duration,
    share_every: Duration,
    channels: Arc<AtomicU64>,
    closing: watch::Sender<bool>,
    /// Each reader holds a sender, so that the end of all of them can be waited for.
    readers: std::sync::Mutex<Option<mpsc::Sender<()>>>,
    readers_gone: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Subscriber {
    pub(crate) fn new(link: Arc<Link>, topology: Arc<Topology>, options: &Options) -> Self {
        let (readers, readers_gone) = mpsc::channel(1);
        Self {
            link,
            topology,
            subscriptions: Subscriptions::default(),
            partitions: options.partitions,
            prefetch: options.prefetch,
            deadline: options.deadline,
            share_every: options.share_every,
            channels: Arc::default(),
            closing: watch::channel(false).0,
            readers: Some(readers).into(),
            readers_gone: readers_gone.into(),
        }
    }

    pub(crate) async fn subscribe(&self, interest: Interest) -> Result<Consumer, Error> {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(Error::Closed),
            opened = self.open(interest) => opened,
        }
    }

    async fn open(&self, interest: Interest) -> Result<Consumer, Error> {
        check(&interest)?;
        let Interest { subscription, types, prefetch } = interest;
        let subscription = self.subscriptions.get(&subscription);
        let up = self.link.up_within(self.deadline).await?;
        self.topology.subscription(&up, &subscription.name, &types).await?;
        subscription.widen(types);
        let (number, reading) = subscription.join(prefetch).ok_or(Error::Closed)?;
        if let Some(reading) = reading {
            self.read(&subscription, reading);
        }
        Ok(Consumer { subscription, number })
    }

    fn read(&self, subscription: &Arc<Subscription>, reading: Reading) {
        let Some(alive) = self.readers.lock().ok().and_then(|readers| readers.clone()) else { return };
        let seats: Vec<_> = (0..self.partitions).map(|_| Arc::<Seat>::default()).collect();
        for (seat, partition) in seats.iter().zip(0..) {
            let reader = Reader {
                link: Arc::clone(&self.link),
                topology: Arc::clone(&self.topology),
                subscription: Arc::clone(subscription),
                reading: reading.clone(),
                partition,
                prefetch: self.prefetch,
                give_way: Arc::clone(seat),
                channels: Arc::clone(&self.channels),
            };
            let alive = alive.clone();
            tokio::spawn(async move {
                reader.run().await;
                drop(alive);
            });
        }
        let share = Share {
            link: Arc::clone(&self.link),
            topology: Arc::clone(&self.topology),
            subscription: subscription.name.clone(),
            seats,
            every: self.share_every,
        };
        tokio::spawn(share.run(reading.stop));
    }

    /// Refuses further subscribing, and hands nothing more out.
    pub(crate) fn refuse(&self) {
        self.closing.send_replace(true);
        self.subscriptions.all().iter().for_each(|subscription| subscription.close());
    }

    /// Waits until nothing is out.
    pub(crate) async fn settled(&self) {
        for subscription in self.subscriptions.all() {
            subscription.settled().await;
        }
    }

    /// Ends all consumers.
    pub(crate) async fn end(&self) {
        self.subscriptions.all().iter().for_each(|subscription| subscription.end());
        drop(self.readers.lock().ok().and_then(|mut readers| readers.take()));
        let gone = async { self.readers_gone.lock().await.recv().await };
        let _ = tokio::time::timeout(GOODBYE, gone).await;
        self.link.close().await;
    }
}

fn check(interest: &Interest) -> Result<(), Error> {
    let why = match interest {
        Interest { prefetch: 0, .. } => "with a prefetch of 0 it would get nothing",
        Interest { types, .. } if types.is_empty() => "without a type it would get nothing",
        Interest { types, .. } if types.iter().any(String::is_empty) => "a type is not empty",
        Interest { subscription, .. } if !(1..=SUBSCRIPTION_BYTES_MAX).contains(&subscription.len()) => {
            "its name has 1 to 128 bytes"
        }
        _ => return Ok(()),
    };
    Err(Error::Interest { subscription: interest.subscription.clone(), why })
}
