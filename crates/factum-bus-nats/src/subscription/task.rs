//! The task of a hub: it beats, reads what this process owns, keeps the server from giving it to others, and hands it over
//! in order when it has to.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use bytes::Bytes;
use factum::BoxFuture;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::time::sleep_until;

use super::consumers::{self, State, Stream};
use super::lanes::Pull;
use super::reader::{EXPIRES, Reader};
use super::roster::{Record, Seen, Standing};
use super::{Ground, Hub, Phase};
use crate::Error;
use crate::names;
use crate::registry::Change;
use crate::server::Failure;

/// How long a hub without consumers waits for one, before it hands over what it has.
const LINGER: Duration = Duration::from_millis(500);

pub(super) struct Task {
    pub(super) ground: Ground,
    pub(super) hub: Arc<Hub>,
    pub(super) token: String,
    /// This process, in the record.
    pub(super) me: String,
    pub(super) has_joined: bool,
    pub(super) seen: Seen,
    pub(super) record: Record,
    pub(super) streams: BTreeMap<String, Stream>,
    pub(super) owned: BTreeSet<u8>,
    pub(super) draining: BTreeSet<u8>,
    pub(super) drained: BTreeSet<u8>,
    pub(super) readers: BTreeMap<Pull, Reading>,
    pub(super) numbers: u64,
    /// Where requested messages come; with its dot.
    pub(super) inbox: String,
    pub(super) arrivals: Subscriber,
    pub(super) changes: Subscriber,
    pub(super) beat_at: Instant,
    pub(super) keep_at: Instant,
    pub(super) ack_wait: Duration,
    pub(super) idle_since: Option<Instant>,
}

/// The beat that is on its way, if any. It takes a few questions to the server, and deliveries must not wait for that.
type Beating = Option<BoxFuture<'static, Beaten>>;

/// What came of a beat.
struct Beaten {
    sent: Instant,
    /// What it gave up.
    drained: BTreeSet<u8>,
    record: Result<(Record, Standing, Seen), Error>,
    /// The streams that there are.
    streams: Result<Vec<String>, Failure>,
}

pub(super) struct Reading {
    pub(super) reader: Reader,
    pub(super) number: u64,
    /// What the server waits for and is not here, at the last look.
    pub(super) missing: usize,
    /// When to see whether its consumer is still there.
    pub(super) check_at: Option<Instant>,
    /// In front of an acknowledgement's counts.
    pub(super) prefix: Option<String>,
}

impl Task {
    pub(super) async fn open(
        ground: Ground,
        subscription: String,
        record: Record,
        hub: Arc<Hub>,
    ) -> Result<Self, Error> {
        let me = format!("{:016x}", crate::unique());
        let inbox = format!("{}.{me}.", ground.inbox);
        let what = format!("subscribing for {subscription}");
        let listen = async {
            let arrivals = ground.server.client.subscribe(format!("{inbox}>")).await?;
            Ok((arrivals, ground.server.client.subscribe(ground.names.changes()).await?))
        };
        let listen = ground.server.within::<_, async_nats::SubscribeError>(listen).await;
        let (arrivals, changes) = listen.map_err(|failure| failure.over(&what))?;
        let now = Instant::now();
        let ack_wait = ground.lease;
        Ok(Self {
            token: names::subscription(&subscription),
            ground,
            hub,
            me,
            has_joined: false,
            seen: Seen::default(),
            record,
            streams: BTreeMap::new(),
            owned: BTreeSet::new(),
            draining: BTreeSet::new(),
            drained: BTreeSet::new(),
            readers: BTreeMap::new(),
            numbers: 0,
            inbox,
            arrivals,
            changes,
            beat_at: now,
            keep_at: now,
            ack_wait,
            idle_since: None,
        })
    }

    pub(super) async fn run(mut self) {
        let mut connected = self.ground.connected.clone();
        connected.mark_unchanged();
        let mut beating = None;
        while self.step(&mut beating).await {
            let next = sleep_until(self.next_step(&beating).into());
            tokio::select! {
                arrival = self.arrivals.next() => match arrival {
                    Some(arrival) => self.take_in_all(arrival).await,
                    None => break,
                },
                () = self.hub.poke.notified() => {}
                Some(_) = self.changes.next() => self.beat_at = Instant::now(),
                Ok(()) = connected.changed() => self.interrupted(),
                beaten = over(&mut beating) => {
                    beating = None;
                    self.beaten(beaten).await;
                }
                () = next => {}
            }
        }
        drop(beating);
        self.leave().await;
        self.hub.lock().phase = Phase::Left;
        self.hub.wake.notify_waiters();
    }

    fn next_step(&self, beating: &Beating) -> Instant {
        let readers = self.readers.values();
        let looks = readers.flat_map(|it| [it.reader.look(), it.check_at]).flatten();
        let idle = self.idle_since.map(|since| since + LINGER);
        // Requests end without a sign where the connection was lost.
        let requests = Instant::now() + EXPIRES / 2;
        let beat = beating.is_none().then_some(self.beat_at);
        looks.chain(idle).chain(beat).chain([self.keep_at, requests]).min().unwrap_or(requests)
    }

    /// What is due. `false`: it has ended.
    async fn step(&mut self, beating: &mut Beating) -> bool {
        let now = Instant::now();
        if self.has_ended(now) {
            return false;
        }
        if now >= self.keep_at {
            self.keep().await;
        }
        if self.hand_over_drained().await {
            self.beat_at = now;
        }
        if now >= self.beat_at && beating.is_none() {
            *beating = Some(self.begin_beat());
        }
        self.check().await;
        self.look().await;
        self.pay().await;
        self.request().await;
        true
    }

    fn has_ended(&mut self, now: Instant) -> bool {
        let mut held = self.hub.lock();
        if held.phase == Phase::Ended {
            return true;
        }
        if held.lanes.consumers() > 0 {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        if now >= since + LINGER && held.phase == Phase::Open {
            held.phase = Phase::Ended;
        }
        held.phase == Phase::Ended
    }

    fn begin_beat(&mut self) -> BoxFuture<'static, Beaten> {
        let sent = Instant::now();
        let (ground, lease) = (self.ground.clone(), self.ground.lease);
        self.beat_at = sent + lease / 3;
        let (token, me) = (self.token.clone(), self.me.clone());
        let (seen, drained, known) = (self.seen.clone(), self.drained.clone(), self.record.clone());
        Box::pin(async move {
            let change = |found: Option<Record>| {
                // Somebody removed it: the types are known here, and all else begins anew.
                let mut record = found.unwrap_or_else(|| known.clone());
                let mut seen = seen.clone();
                let at = (&mut seen, Instant::now());
                let standing = record.beat(&me, lease, ground.partitions, &drained, at);
                Ok(Change::Write(record.clone(), (record, standing, seen)))
            };
            let record = ground.registry.change(&token, change).await;
            let streams = ground.server.streams(&ground.names.everything()).await;
            Beaten { sent, drained, record, streams }
        })
    }

    async fn beaten(&mut self, beaten: Beaten) {
        let lease = self.ground.lease;
        match beaten.record {
            Ok((record, standing, seen)) => {
                self.seen = seen;
                self.drained.retain(|partition| !beaten.drained.contains(partition));
                self.stand(record, &standing, beaten.sent + lease, beaten.streams).await;
            }
            Err(error) => {
                tracing::warn!(subscription = self.record.subscription, %error, "no beat; it is tried again");
                self.beat_at = Instant::now() + lease / 10;
                // Who cannot speak cannot say who is silent.
                self.seen = Seen::default();
            }
        }
    }

    async fn stand(
        &mut self,
        record: Record,
        standing: &Standing,
        until: Instant,
        streams: Result<Vec<String>, Failure>,
    ) {
        if standing.joined && self.has_joined {
            tracing::warn!(
                subscription = record.subscription,
                "this process was silent for too long: what it held went to others"
            );
            self.lose(&self.owned.clone());
        }
        self.has_joined = true;
        let lost: BTreeSet<u8> = self.owned.difference(&standing.owned).copied().collect();
        self.lose(&lost);
        self.owned.clone_from(&standing.owned);
        self.draining.clone_from(&standing.surplus);
        {
            let mut held = self.hub.lock();
            held.types.clone_from(&record.types);
            held.valid_until = Some(until);
            for partition in &self.draining {
                held.lanes.drain(*partition);
            }
        }
        self.record = record;
        self.hub.wake.notify_waiters();
        if standing.others_may_take {
            self.tell_others().await;
        }
        if let Err(error) = self.find_streams(streams).await {
            tracing::warn!(subscription = self.record.subscription, %error, "the streams cannot be listed");
        }
        self.open_readers().await;
    }

    async fn tell_others(&self) {
        let told = self.ground.server.client.publish(self.ground.names.changes(), Bytes::new());
        let _ = self.ground.server.within(told).await;
    }

    async fn find_streams(&mut self, there: Result<Vec<String>, Failure>) -> Result<(), Failure> {
        let Ground { server, names, .. } = self.ground.clone();
        let there = there?;
        if self.streams.keys().any(|name| !there.contains(name)) {
            self.begin_anew();
        }
        if there.iter().any(|name| !self.streams.contains_key(name)) {
            for stream in consumers::streams(&server, &names).await? {
                self.streams.entry(stream.name.clone()).or_insert(stream);
            }
        }
        Ok(())
    }

    /// Begins to read what is owned and not read yet.
    async fn open_readers(&mut self) {
        let mut missing = Vec::new();
        for stream in self.streams.values() {
            let name: Arc<str> = stream.name.as_str().into();
            // What was drained while the beat was on its way is given up by the next one.
            let kept = self.owned.difference(&self.draining).filter(|it| !self.drained.contains(it));
            let pulls = kept.map(|partition| (Arc::clone(&name), *partition));
            missing.extend(pulls.filter(|pull| !self.readers.contains_key(pull)));
        }
        let declared = join_all(missing.into_iter().map(|pull| self.declare(pull))).await;
        let now = Instant::now();
        for (pull, state) in declared {
            match state {
                Ok(state) => {
                    self.numbers += 1;
                    self.ack_wait = self.ack_wait.min(state.ack_wait);
                    let reading = Reading {
                        reader: Reader::new(state.pending > 0, state.delivered.1, now),
                        number: self.numbers,
                        missing: state.pending as usize,
                        check_at: None,
                        prefix: None,
                    };
                    self.readers.insert(pull, reading);
                }
                Err(error) => {
                    tracing::error!(subscription = self.record.subscription, %error, "a partition is not read");
                }
            }
        }
    }

    pub(super) async fn declare(&self, pull: Pull) -> (Pull, Result<State, Error>) {
        let Some(stream) = self.streams.get(&*pull.0) else { return (pull, Err(Error::Closed)) };
        let begin = match self.hub.lock().lanes.lowest(&pull) {
            Some(lowest) => lowest,
            None => match self.readers.get(&pull).map(|it| it.reader.furthest) {
                Some(furthest @ 1..) => furthest + 1,
                _ => self.record.begin(&stream.name, &stream.created),
            },
        };
        let Ground { server, lease, .. } = &self.ground;
        let at = (&*self.token, pull.1);
        let state = consumers::declare(server, &self.record, at, stream, (begin, *lease)).await;
        (pull, state)
    }

    /// Another process has them now, or may have.
    pub(super) fn lose(&mut self, partitions: &BTreeSet<u8>) {
        if partitions.is_empty() {
            return;
        }
        let mut held = self.hub.lock();
        for partition in partitions {
            drop(held.lanes.let_go(*partition));
        }
        held.owed.clear();
        drop(held);
        self.readers.retain(|(_, partition), _| !partitions.contains(partition));
        self.owned.retain(|partition| !partitions.contains(partition));
    }

    /// A stream was deleted: places in it say nothing of places in another one of its name. What is held of the other
    /// streams comes again.
    pub(super) fn begin_anew(&mut self) {
        let owned = self.owned.clone();
        self.lose(&owned);
        self.owned = owned;
        self.streams.clear();
        self.beat_at = Instant::now();
    }

    /// Whether partitions are free now of which nothing is out any more.
    async fn hand_over_drained(&mut self) -> bool {
        let ready: Vec<u8> = {
            let held = self.hub.lock();
            self.draining.iter().filter(|partition| held.lanes.is_drained(**partition)).copied().collect()
        };
        for partition in &ready {
            self.hand_over(*partition).await;
            self.draining.remove(partition);
            self.drained.insert(*partition);
        }
        !self.drained.is_empty() && !ready.is_empty()
    }

    /// Gives all that is held of a partition back to the server, in order: so it is delivered again.
    async fn hand_over(&mut self, partition: u8) {
        let mut gone = self.hub.lock().lanes.let_go(partition);
        for ((_, of), reading) in &mut self.readers {
            if *of == partition {
                gone.extend(reading.reader.take_kept());
            }
        }
        gone.sort_by(|a, b| (&a.pull, a.sequence).cmp(&(&b.pull, b.sequence)));
        self.readers.retain(|(_, of), _| *of != partition);
        for message in gone {
            self.say(message.ack, "-NAK").await;
        }
    }

    async fn leave(&mut self) {
        let since = Instant::now();
        self.pay().await;
        for partition in std::mem::take(&mut self.owned) {
            self.hand_over(partition).await;
        }
        if since.elapsed() > self.ground.lease || !self.has_joined {
            return;
        }
        let me = self.me.clone();
        let left = self.ground.registry.change(&self.token, |found: Option<Record>| match found {
            Some(mut record) => {
                record.leave(&me);
                Ok(Change::Write(record, ()))
            }
            None => Ok(Change::Keep(())),
        });
        if let Err(error) = left.await {
            tracing::warn!(subscription = self.record.subscription, %error, "could not say that it leaves");
        }
        self.tell_others().await;
    }
}

/// The end of a beat; never, where none is on its way.
async fn over(beating: &mut Beating) -> Beaten {
    match beating {
        Some(beating) => beating.await,
        None => pending().await,
    }
}
