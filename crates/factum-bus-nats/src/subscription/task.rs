//! The task of a hub: it beats, reads what this process owns, keeps the server from giving it to others, and hands it over
//! in order when it has to.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Message as Arrival, Subscriber};
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
    /// It may be in the record: a beat was begun.
    pub(super) has_asked: bool,
    /// Its life in the record, which began when it joined; `None`: it has not.
    pub(super) life: Option<u64>,
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
    /// Came while a beat was on its way, and of a type that is not known: the beat may tell of it. Nothing else is taken
    /// in before it.
    pub(super) held_back: Option<Arrival>,
    pub(super) changes: Subscriber,
    pub(super) beat_at: Instant,
    pub(super) keep_at: Instant,
    pub(super) ack_wait: Duration,
    pub(super) idle_since: Option<Instant>,
}

/// What the server is asked, beside the loop: it takes a few questions, and deliveries must not wait for their answers.
/// Never both: what is found is judged by the record that was written last.
enum Asking {
    Beat(BoxFuture<'static, Beaten>),
    /// For the streams that there are.
    Streams(BoxFuture<'static, Result<Vec<String>, Failure>>),
}

enum Answer {
    Beaten(Box<Beaten>),
    Streams(Result<Vec<String>, Failure>),
}

impl Asking {
    fn is_beat(asking: &Option<Self>) -> bool {
        matches!(asking, Some(Self::Beat(_)))
    }

    /// The answer; never, where nothing is asked.
    async fn answer(asking: &mut Option<Self>) -> Answer {
        match asking {
            Some(Self::Beat(beat)) => Answer::Beaten(Box::new(beat.await)),
            Some(Self::Streams(streams)) => Answer::Streams(streams.await),
            None => pending().await,
        }
    }
}

/// What came of a beat.
struct Beaten {
    sent: Instant,
    /// What it gave up.
    drained: BTreeSet<u8>,
    record: Result<(Record, Standing, Seen), Error>,
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
    /// All before, and this one, were acknowledged at the last look.
    pub(super) floor: u64,
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
            has_asked: false,
            life: None,
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
            held_back: None,
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
        let mut asking = None;
        while self.step(&mut asking).await {
            let next = sleep_until(self.next_step(&asking).into());
            tokio::select! {
                // What a beat has learnt is to be known to whatever comes after it.
                biased;
                answer = Asking::answer(&mut asking) => asking = self.answered(answer).await,
                Ok(()) = connected.changed() => {
                    // Nobody answers any more.
                    if Asking::is_beat(&asking) {
                        self.seen = Seen::default();
                    }
                    asking = None;
                    self.interrupted();
                }
                Some(_) = self.changes.next() => self.beat_at = Instant::now(),
                arrival = self.arrivals.next(), if self.held_back.is_none() => match arrival {
                    Some(arrival) => self.take_in_all(arrival, Asking::is_beat(&asking)).await,
                    None => break,
                },
                () = self.hub.poke.notified() => {}
                () = next => {}
            }
        }
        drop(asking);
        self.leave().await;
        self.hub.lock().phase = Phase::Left;
        self.hub.wake.notify_waiters();
    }

    async fn answered(&mut self, answer: Answer) -> Option<Asking> {
        match answer {
            Answer::Beaten(beaten) => {
                if !self.beaten(*beaten).await {
                    return None;
                }
                if let Some(arrival) = self.held_back.take() {
                    self.take_in_all(arrival, false).await;
                }
                let ground = self.ground.clone();
                let streams = async move { ground.server.streams(&ground.names.everything()).await };
                Some(Asking::Streams(Box::pin(streams)))
            }
            Answer::Streams(there) => {
                if let Err(error) = self.find_streams(there).await {
                    let subscription = &self.record.subscription;
                    tracing::warn!(subscription, %error, "the streams cannot be listed");
                }
                self.open_readers().await;
                None
            }
        }
    }

    fn next_step(&self, asking: &Option<Asking>) -> Instant {
        let readers = self.readers.values();
        let looks = readers.clone().filter_map(|it| it.reader.look());
        let checks = readers.filter_map(|it| it.check_at).filter(|_| !Asking::is_beat(asking));
        let idle = self.idle_since.map(|since| since + LINGER);
        // Requests end without a sign where the connection was lost.
        let requests = Instant::now() + EXPIRES / 2;
        let beat = asking.is_none().then_some(self.beat_at);
        looks.chain(checks).chain(idle).chain(beat).chain([self.keep_at, requests]).min().unwrap_or(requests)
    }

    /// What is due. `false`: it has ended.
    async fn step(&mut self, asking: &mut Option<Asking>) -> bool {
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
        if now >= self.beat_at && asking.is_none() {
            *asking = Some(Asking::Beat(self.begin_beat()));
        }
        // Consumers are declared by the record, which a beat on its way may have learnt to be another one.
        if !Asking::is_beat(asking) {
            self.check().await;
        }
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
        // A hub that is being closed is told when to end.
        if held.lanes.consumers() > 0 || held.phase != Phase::Open {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        if now >= since + LINGER {
            held.phase = Phase::Ended;
        }
        held.phase == Phase::Ended
    }

    fn begin_beat(&mut self) -> BoxFuture<'static, Beaten> {
        let sent = Instant::now();
        let (ground, lease) = (self.ground.clone(), self.ground.lease);
        self.beat_at = sent + lease / 3;
        self.has_asked = true;
        let (token, me) = (self.token.clone(), self.me.clone());
        let (seen, drained, known) = (self.seen.clone(), self.drained.clone(), self.record.clone());
        Box::pin(async move {
            let change = |found: Option<Record>| {
                // Somebody removed it: the types are known here, and all else begins anew.
                let mut record = found.unwrap_or_else(|| known.clone());
                let mut seen = seen.clone();
                let at = (&mut seen, Instant::now());
                let standing = record.beat(&me, crate::unique(), lease, ground.partitions, &drained, at);
                Ok(Change::Write(record.clone(), (record, standing, seen)))
            };
            let record = ground.registry.change(&token, change).await;
            Beaten { sent, drained, record }
        })
    }

    /// Whether it was written down.
    async fn beaten(&mut self, beaten: Beaten) -> bool {
        let lease = self.ground.lease;
        match beaten.record {
            Ok((record, standing, seen)) => {
                self.seen = seen;
                self.drained.retain(|partition| !beaten.drained.contains(partition));
                self.stand(record, &standing, beaten.sent + lease).await;
                true
            }
            Err(error) => {
                tracing::warn!(subscription = self.record.subscription, %error, "no beat; it is tried again");
                self.beat_at = Instant::now() + lease / 10;
                // Who cannot speak cannot say who is silent.
                self.seen = Seen::default();
                false
            }
        }
    }

    async fn stand(&mut self, record: Record, standing: &Standing, until: Instant) {
        // It may have come back by a beat that nobody answered.
        if self.life.is_some_and(|life| life != standing.life) {
            tracing::warn!(
                subscription = record.subscription,
                "this process was silent for too long: what it held went to others"
            );
            self.lose(&self.owned.clone());
        }
        self.life = Some(standing.life);
        let lost: BTreeSet<u8> = self.owned.difference(&standing.owned).copied().collect();
        self.lose(&lost);
        self.owned.clone_from(&standing.owned);
        // What was begun to be drained is drained to its end, also if it would not be begun now: half of it waits for that.
        self.draining =
            self.draining.intersection(&standing.owned).chain(&standing.surplus).copied().collect();
        self.draining.retain(|partition| !self.drained.contains(partition));
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
                        floor: state.floor,
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
        let first = self.record.begin(&stream.name, &stream.created);
        let begin = match (self.hub.lock().lanes.lowest(&pull), self.readers.get(&pull)) {
            // Something is missing, anywhere above what was acknowledged. What comes again is recognised.
            (_, Some(reading)) if reading.reader.look().is_some() => first.max(reading.floor + 1),
            (Some(lowest), _) => lowest,
            (None, Some(reading)) if reading.reader.furthest > 0 => reading.reader.furthest + 1,
            _ => first,
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
        if since.elapsed() > self.ground.lease || !self.has_asked {
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
