//! Subscriptions: a process has one *hub* for each, which reads what the process owns of it and deals it out to the
//! consumers here.
//!
//! Keys are divided into partitions, and a partition is read by one process at a time ([`roster`]); in the process, of
//! each key one delivery is out at a time ([`lanes`]). On the server there is a durable consumer for each stream and
//! partition ([`consumers`]).

mod arrivals;
mod consumers;
mod deliveries;
mod lanes;
mod reader;
mod requests;
mod roster;
mod task;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Subject;
use factum::integration::Interest;
use tokio::sync::{Notify, watch};

use self::lanes::Lanes;
use self::roster::{Begin, Record};
use crate::Error;
use crate::names::{self, Names};
use crate::registry::{Change, Registry};
use crate::server::Server;

pub(crate) use self::deliveries::NatsDeliveries;

/// What all subscriptions of one bus stand on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) server: Server,
    pub(crate) names: Arc<Names>,
    pub(crate) registry: Registry,
    pub(crate) partitions: u8,
    pub(crate) lease: Duration,
    /// Where what is asked for comes, for this connection alone; without a dot at its end.
    pub(crate) inbox: String,
    /// Counts connections.
    pub(crate) connected: watch::Receiver<u64>,
}

/// The hubs of one bus, by subscription.
pub(crate) struct Hubs {
    /// `None`: closed.
    by_name: tokio::sync::Mutex<Option<HashMap<String, Arc<Hub>>>>,
}

impl Hubs {
    pub(crate) fn new() -> Self {
        Self { by_name: tokio::sync::Mutex::new(Some(HashMap::new())) }
    }

    /// Adds a consumer to the hub of its subscription, which begins to be if it was not there.
    pub(crate) async fn join(&self, ground: &Ground, interest: Interest) -> Result<(Arc<Hub>, u64), Error> {
        let Interest { subscription, types, prefetch } = interest;
        let types: BTreeSet<String> = types.into_iter().collect();
        let mut hubs = self.by_name.lock().await;
        let hubs = hubs.as_mut().ok_or(Error::Closed)?;
        if let Some(hub) = hubs.get(&subscription) {
            if !types.is_subset(&hub.lock().types) {
                let record = register(ground, &subscription, &types).await?;
                hub.lock().types = record.types;
            }
            if let Some(consumer) = hub.join(prefetch) {
                return Ok((Arc::clone(hub), consumer));
            }
        }
        let record = register(ground, &subscription, &types).await?;
        let hub = Arc::new(Hub::new(ground.server.clone(), record.types.clone()));
        let consumer = hub.join(prefetch).ok_or(Error::Closed)?;
        let task = task::Task::open(ground.clone(), subscription.clone(), record, Arc::clone(&hub)).await?;
        tokio::spawn(task.run());
        hubs.retain(|_, hub| !hub.has_left());
        hubs.insert(subscription, Arc::clone(&hub));
        Ok((hub, consumer))
    }

    /// Waits for what is out, then ends all of them, and waits until they have handed back what they held.
    pub(crate) async fn close(&self, deadline: Duration) {
        let until = tokio::time::Instant::now() + deadline;
        let Ok(mut hubs) = tokio::time::timeout_at(until, self.by_name.lock()).await else { return };
        let Some(hubs) = hubs.take() else { return };
        for hub in hubs.values() {
            hub.lock().phase = Phase::Closing;
        }
        for hub in hubs.values() {
            let _ = tokio::time::timeout_at(until, hub.quiet()).await;
        }
        for hub in hubs.values() {
            hub.end();
        }
        for hub in hubs.values() {
            let _ = tokio::time::timeout_at(until, hub.left()).await;
        }
    }

    /// Ends all of them, without waiting: they hand back what they hold on their own.
    pub(crate) fn end(&mut self) {
        for hub in self.by_name.get_mut().iter().flat_map(HashMap::values) {
            hub.end();
        }
    }
}

/// What the consumers of a subscription in this process share with the task that reads for them.
pub(crate) struct Hub {
    server: Server,
    held: Mutex<Held>,
    /// Consumers look again.
    wake: Notify,
    /// The task looks again.
    poke: Notify,
}

struct Held {
    lanes: Lanes,
    types: BTreeSet<String>,
    /// Until when this process may take itself for the owner of its partitions.
    valid_until: Option<Instant>,
    phase: Phase,
    /// Acknowledgements that wait until it is known whether they are this process's to give.
    owed: Vec<(Subject, &'static str)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Gives nothing more out, and waits for what is.
    Closing,
    Ended,
    /// The task is gone, too.
    Left,
}

impl Hub {
    fn new(server: Server, types: BTreeSet<String>) -> Self {
        let held =
            Held { lanes: Lanes::default(), types, valid_until: None, phase: Phase::Open, owed: Vec::new() };
        Self { server, held: Mutex::new(held), wake: Notify::new(), poke: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // No code of others runs under the lock: a panic cannot have left half a change behind.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if it has ended.
    fn join(&self, prefetch: usize) -> Option<u64> {
        let mut held = self.lock();
        let consumer = (held.phase == Phase::Open).then(|| held.lanes.join(prefetch));
        drop(held);
        self.poke.notify_one();
        consumer
    }

    fn end(&self) {
        let mut held = self.lock();
        if held.phase != Phase::Left {
            held.phase = Phase::Ended;
        }
        drop(held);
        self.wake.notify_waiters();
        self.poke.notify_one();
    }

    fn has_left(&self) -> bool {
        self.lock().phase == Phase::Left
    }

    /// Ends when nothing is out.
    async fn quiet(&self) {
        self.when(|held| held.lanes.out() == 0 && held.owed.is_empty()).await;
    }

    /// Ends when the task is gone.
    async fn left(&self) {
        self.when(|held| held.phase == Phase::Left).await;
    }

    async fn when(&self, is: impl Fn(&Held) -> bool) {
        loop {
            let mut wake = std::pin::pin!(self.wake.notified());
            wake.as_mut().enable();
            if is(&self.lock()) {
                return;
            }
            wake.await;
        }
    }
}

/// Makes sure that the subscription exists and takes these types: from now on everything of them is its.
async fn register(ground: &Ground, subscription: &str, types: &BTreeSet<String>) -> Result<Record, Error> {
    let token = names::subscription(subscription);
    let Ground { server, names, registry, .. } = ground;
    let what = || format!("registering subscription {subscription}");
    let streams = consumers::streams(server, names).await.map_err(|failure| failure.over(&what()))?;
    let begins = streams.iter().map(|stream| {
        let begin = Begin { created: stream.created.clone(), sequence: stream.last + 1 };
        (stream.name.clone(), begin)
    });
    let (record, is_wider) = registry
        .change(&token, |found: Option<Record>| {
            let is_there = found.is_some();
            let mut record = found.unwrap_or_else(|| {
                let mut record = Record::new(subscription);
                record.begins = begins.clone().collect();
                record
            });
            if is_there && types.is_subset(&record.types) {
                return Ok(Change::Keep((record, false)));
            }
            record.types.extend(types.iter().cloned());
            Ok(Change::Write(record.clone(), (record, is_there)))
        })
        .await?;
    if is_wider {
        // Who does not know of a type passes it over.
        tell_readers(ground, &token, record.beats()).await?;
        // What the consumers pass over until then would be lost to the new types.
        for stream in &streams {
            let begin = record.begin(&stream.name, &stream.created);
            for partition in 0..ground.partitions {
                let at = (&*token, partition);
                consumers::declare(server, &record, at, stream, (begin, ground.lease)).await?;
            }
        }
    }
    Ok(record)
}

/// Waits until each process that reads for the subscription has looked at its record again, or is dead.
async fn tell_readers(ground: &Ground, token: &str, mut untold: BTreeMap<String, u64>) -> Result<(), Error> {
    const PAUSE: Duration = Duration::from_millis(10);
    let Ground { server, names, registry, lease, .. } = ground;
    let until = Instant::now() + *lease * 2;
    while !untold.is_empty() && Instant::now() < until {
        let told = server.say(names.changes().into(), bytes::Bytes::new()).await;
        told.map_err(|failure| failure.over("telling others of new types"))?;
        tokio::time::sleep(PAUSE).await;
        let record: Record = registry.read(token).await?.unwrap_or_default();
        let beats = record.beats();
        untold.retain(|member, beat| beats.get(member).is_some_and(|now| now <= beat));
    }
    Ok(())
}
