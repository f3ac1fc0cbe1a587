//! The task of a hub: it beats, reads what this process owns, keeps the server from giving it to others, and hands it over
//! in order when it has to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Message as Arrival, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;
use tokio::time::sleep_until;

use super::consumers::{self, State, Stream};
use super::lanes::{Message, Pull};
use super::reader::{EXPIRES, Reader, Said};
use super::roster::{Record, Seen, Standing};
use super::{Ground, Hub, Phase};
use crate::Error;
use crate::headers;
use crate::names;
use crate::registry::Change;
use crate::server::Failure;

/// How long a hub without consumers waits for one, before it hands over what it has.
const LINGER: Duration = Duration::from_millis(500);
/// The most that is held of one stream and partition.
const HELD_MAX: usize = 1_000;
/// Above this nothing more is read, where there is something to do.
const BYTES_MAX: usize = 64 << 20;
/// What one request asks for: at least, and at most.
const BATCH: (usize, usize) = (16, 512);
/// Arrivals that are taken in before anything else is looked at.
const ARRIVALS: usize = 512;

pub(super) struct Task {
    ground: Ground,
    hub: Arc<Hub>,
    token: String,
    /// This process, in the record.
    me: String,
    has_joined: bool,
    seen: Seen,
    record: Record,
    streams: BTreeMap<String, Stream>,
    owned: BTreeSet<u8>,
    draining: BTreeSet<u8>,
    drained: BTreeSet<u8>,
    readers: BTreeMap<Pull, Reading>,
    numbers: u64,
    /// Where requested messages come; with its dot.
    inbox: String,
    arrivals: Subscriber,
    changes: Subscriber,
    beat_at: Instant,
    keep_at: Instant,
    ack_wait: Duration,
    idle_since: Option<Instant>,
}

struct Reading {
    reader: Reader,
    number: u64,
    /// What the server waits for and is not here, at the last look.
    missing: usize,
    /// When to see whether its consumer is still there.
    check_at: Option<Instant>,
    /// In front of an acknowledgement's counts.
    prefix: Option<String>,
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
        while self.step().await {
            let next = sleep_until(self.next_step().into());
            tokio::select! {
                arrival = self.arrivals.next() => match arrival {
                    Some(arrival) => self.take_in_all(arrival).await,
                    None => break,
                },
                () = self.hub.poke.notified() => {}
                Some(_) = self.changes.next() => self.beat_at = Instant::now(),
                Ok(()) = connected.changed() => self.interrupted(),
                () = next => {}
            }
        }
        self.leave().await;
        self.hub.lock().phase = Phase::Left;
        self.hub.wake.notify_waiters();
    }

    fn next_step(&self) -> Instant {
        let readers = self.readers.values();
        let looks = readers.flat_map(|it| [it.reader.look(), it.check_at]).flatten();
        let idle = self.idle_since.map(|since| since + LINGER);
        // Requests end without a sign where the connection was lost.
        let requests = Instant::now() + EXPIRES / 2;
        looks.chain(idle).chain([self.beat_at, self.keep_at, requests]).min().unwrap_or(requests)
    }

    /// What is due. `false`: it has ended.
    async fn step(&mut self) -> bool {
        let now = Instant::now();
        if self.has_ended(now) {
            return false;
        }
        if now >= self.keep_at {
            self.keep().await;
        }
        if self.hand_over_drained().await || now >= self.beat_at {
            self.beat().await;
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

    // ---- What this process owns.

    async fn beat(&mut self) {
        let sent = Instant::now();
        let lease = self.ground.lease;
        self.beat_at = sent + lease / 3;
        let Self { ground, token, me, seen, drained, record, .. } = self;
        let beaten = ground
            .registry
            .change(token, |found: Option<Record>| {
                // Somebody removed it: the types are known here, and all else begins anew.
                let mut record = found.unwrap_or_else(|| record.clone());
                let mut seen_then = seen.clone();
                let at = (&mut seen_then, Instant::now());
                let standing = record.beat(me, lease, ground.partitions, drained, at);
                Ok(Change::Write(record.clone(), (record, standing, seen_then)))
            })
            .await;
        match beaten {
            Ok((record, standing, seen)) => {
                self.seen = seen;
                self.stand(record, &standing, sent + lease).await;
            }
            Err(error) => {
                tracing::warn!(subscription = self.record.subscription, %error, "no beat; it is tried again");
                self.beat_at = Instant::now() + lease / 10;
            }
        }
    }

    async fn stand(&mut self, record: Record, standing: &Standing, until: Instant) {
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
        self.drained.clear();
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
        if let Err(error) = self.find_streams().await {
            tracing::warn!(subscription = self.record.subscription, %error, "the streams cannot be listed");
        }
        self.open_readers().await;
    }

    async fn tell_others(&self) {
        let told = self.ground.server.client.publish(self.ground.names.changes(), Bytes::new());
        let _ = self.ground.server.within(told).await;
    }

    async fn find_streams(&mut self) -> Result<(), Failure> {
        let Ground { server, names, .. } = &self.ground;
        let there = server.streams(&names.everything()).await?;
        self.streams.retain(|name, _| there.contains(name));
        if there.iter().any(|name| !self.streams.contains_key(name)) {
            for stream in consumers::streams(server, names).await? {
                self.streams.entry(stream.name.clone()).or_insert(stream);
            }
        }
        self.readers.retain(|(stream, _), _| self.streams.contains_key(&**stream));
        Ok(())
    }

    /// Begins to read what is owned and not read yet.
    async fn open_readers(&mut self) {
        let mut missing = Vec::new();
        for stream in self.streams.values() {
            let name: Arc<str> = stream.name.as_str().into();
            let pulls =
                self.owned.difference(&self.draining).map(|partition| (Arc::clone(&name), *partition));
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
                        reader: Reader::new(state.pending > 0, now),
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

    async fn declare(&self, pull: Pull) -> (Pull, Result<State, Error>) {
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
    fn lose(&mut self, partitions: &BTreeSet<u8>) {
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

    // ---- What the server hears.

    async fn say(&self, ack: Subject, word: &'static str) {
        let said = self.ground.server.client.publish(ack, Bytes::from_static(word.as_bytes()));
        let _ = self.ground.server.within(said).await;
    }

    /// All that is held is still at work.
    async fn keep(&mut self) {
        self.keep_at = Instant::now() + self.ack_wait.min(self.ground.lease) / 3;
        let mut acks = self.hub.lock().lanes.acks();
        for reading in self.readers.values() {
            acks.extend(reading.reader.kept_messages().map(|message| message.ack.clone()));
        }
        for ack in acks {
            self.say(ack, "+WPI").await;
        }
    }

    /// What was settled while it was not known whether this process may say so.
    async fn pay(&mut self) {
        let owed = {
            let mut held = self.hub.lock();
            if held.owed.is_empty() || !held.is_owner(Instant::now()) {
                return;
            }
            std::mem::take(&mut held.owed)
        };
        for (ack, word) in owed {
            self.say(ack, word).await;
        }
        self.hub.wake.notify_waiters();
    }

    fn interrupted(&mut self) {
        let now = Instant::now();
        for reading in self.readers.values_mut() {
            reading.reader.interrupted(now);
        }
        self.beat_at = now;
        self.keep_at = now;
    }

    /// Whether the consumers that do not answer are still there; they are declared again.
    async fn check(&mut self) {
        let now = Instant::now();
        let due = self.readers.iter().filter(|(_, it)| it.check_at.is_some_and(|at| at <= now));
        let due: Vec<Pull> = due.map(|(pull, _)| pull.clone()).collect();
        if due.is_empty() {
            return;
        }
        for (pull, state) in join_all(due.into_iter().map(|pull| self.declare(pull))).await {
            let Some(reading) = self.readers.get_mut(&pull) else { continue };
            match state {
                Ok(_) => {
                    reading.check_at = None;
                    reading.reader.interrupted(now);
                }
                Err(error) => {
                    tracing::warn!(subscription = self.record.subscription, %error, "a partition is not read");
                    reading.check_at = Some(Instant::now() + Duration::from_secs(1));
                    self.beat_at = now;
                }
            }
        }
    }

    /// Where readers sort: whether everything is here that the server waits for.
    async fn look(&mut self) {
        let now = Instant::now();
        let due = self.readers.iter().filter(|(_, it)| it.reader.look().is_some_and(|at| at <= now));
        let due: Vec<Pull> = due.map(|(pull, _)| pull.clone()).collect();
        let looks = due.into_iter().map(async |pull: Pull| {
            let name = consumers::name(&self.token, pull.1);
            let state = consumers::look(&self.ground.server, &pull.0, &name).await;
            (pull, state)
        });
        for (pull, state) in join_all(looks).await {
            self.looked(&pull, state).await;
        }
    }

    async fn looked(&mut self, pull: &Pull, state: Result<State, Failure>) {
        let now = Instant::now();
        let Some(reading) = self.readers.get_mut(pull) else { return };
        let state = match state {
            Ok(state) => state,
            Err(failure) => {
                if failure.is(crate::server::CONSUMER_NOT_FOUND) {
                    reading.check_at = Some(now);
                }
                reading.reader.looked(false, now + Duration::from_millis(200));
                return;
            }
        };
        let here = self.hub.lock().lanes.load(pull).held + reading.reader.kept();
        reading.missing = (state.pending as usize).saturating_sub(here);
        let passed = reading.reader.looked(reading.missing == 0, now);
        let asks = reading.missing > 0 && reading.reader.asks(now);
        if !passed.is_empty() {
            let mut held = self.hub.lock();
            passed.into_iter().for_each(|message| held.lanes.add(message));
            drop(held);
            self.hub.wake.notify_waiters();
        }
        if asks {
            self.ask_for_missing(pull, &state).await;
        }
    }

    /// Has the server deliver again what it delivered to somebody who is gone, or what got lost on the way, instead of
    /// waiting until it notices. It ignores this for all that was acknowledged.
    async fn ask_for_missing(&self, pull: &Pull, state: &State) {
        let Some(reading) = self.readers.get(pull) else { return };
        let prefix = match &reading.prefix {
            Some(prefix) => prefix.clone(),
            None => format!("$JS.ACK.{}.{}.", pull.0, consumers::name(&self.token, pull.1)),
        };
        let (last, delivery) = state.delivered;
        for sequence in (state.floor + 1..=last).take(4 * HELD_MAX * usize::from(self.ground.partitions)) {
            let is_here = reading.reader.keeps(sequence) || self.hub.lock().lanes.has(pull, sequence);
            if !is_here {
                self.say(Subject::from(format!("{prefix}1.{sequence}.{delivery}.0.0")), "-NAK").await;
            }
        }
    }

    /// Asks for more where there is too little.
    async fn request(&mut self) {
        let now = Instant::now();
        let mut requests = Vec::new();
        {
            let held = self.hub.lock();
            if held.phase != Phase::Open || held.lanes.consumers() == 0 || !held.is_owner(now) {
                return;
            }
            let quota = held.lanes.prefetch().clamp(BATCH.0, BATCH.1);
            let is_full = held.lanes.bytes() > BYTES_MAX;
            for (pull, reading) in &mut self.readers {
                if self.draining.contains(&pull.1) {
                    continue;
                }
                let (load, coming) = (held.lanes.load(pull), reading.reader.outstanding(now));
                let wanted = match reading.reader.look() {
                    Some(_) => reading.missing.min(BATCH.1).saturating_sub(coming),
                    None if (load.ready + coming) * 2 >= quota => 0,
                    None if load.held + coming + quota > HELD_MAX => 0,
                    None if is_full && load.held > 0 => 0,
                    None => quota - (load.ready + coming),
                };
                if wanted > 0 {
                    self.numbers += 1;
                    reading.reader.requested(self.numbers, wanted, now);
                    requests.push((pull.clone(), reading.number, self.numbers, wanted));
                }
            }
        }
        for (pull, reader, request, batch) in requests {
            let subject =
                format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", pull.0, consumers::name(&self.token, pull.1));
            let reply = format!("{}{reader}.{request}", self.inbox);
            let body = json!({ "batch": batch, "expires": EXPIRES.as_nanos() as u64 }).to_string();
            let sent = self.ground.server.client.publish_with_reply(subject, reply, body.into());
            let _ = self.ground.server.within(sent).await;
        }
    }

    // ---- What comes.

    async fn take_in_all(&mut self, first: Arrival) {
        let mut next = Some(first);
        let mut answers = Vec::new();
        for _ in 0..ARRIVALS {
            let Some(arrival) = next else { break };
            match arrival.status {
                Some(status) => self.ended(&arrival.subject, status),
                None => answers.extend(self.take_in(arrival)),
            }
            next = self.arrivals.next().now_or_never().flatten();
        }
        if let Some(arrival) = next {
            // One more than is taken in at once.
            match arrival.status {
                Some(status) => self.ended(&arrival.subject, status),
                None => answers.extend(self.take_in(arrival)),
            }
        }
        self.hub.wake.notify_waiters();
        for (ack, word) in answers {
            self.say(ack, word).await;
        }
    }

    /// A request has ended, or never reached a consumer.
    fn ended(&mut self, subject: &str, status: StatusCode) {
        let numbers = subject.strip_prefix(&*self.inbox).and_then(|numbers| numbers.split_once('.'));
        let Some((Ok(reader), Ok(request))) = numbers.map(|(a, b)| (a.parse::<u64>(), b.parse::<u64>()))
        else {
            return;
        };
        let Some(reading) = self.readers.values_mut().find(|reading| reading.number == reader) else {
            return;
        };
        match status {
            StatusCode::IDLE_HEARTBEAT => return,
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => {}
            // The consumer was deleted, or its leader moved.
            _ => {
                reading.check_at.get_or_insert(Instant::now() + Duration::from_millis(50));
            }
        }
        reading.reader.ended(request);
    }

    /// A message came. What has to be said to the server at once, if anything.
    fn take_in(&mut self, arrival: Arrival) -> Option<(Subject, &'static str)> {
        let now = Instant::now();
        let ack = arrival.reply?;
        let said = Said::of(&ack)?;
        let partition = said.consumer.rsplit_once('-')?.1.parse().ok()?;
        let pull: Pull = (said.stream.into(), partition);
        let reading = self.readers.get_mut(&pull)?;
        reading.prefix.get_or_insert_with(|| said.prefix.to_owned());
        let mut held = self.hub.lock();
        if held.lanes.knows(&pull, said.sequence, &ack) {
            reading.reader.came(said.delivery, None, now);
            return None;
        }
        if held.lanes.has_finished(&pull, said.sequence) {
            reading.reader.came(said.delivery, None, now);
            return Some((ack, "+ACK"));
        }
        let envelope = match headers::read(arrival.headers.as_ref(), &arrival.payload) {
            Ok(envelope) if held.types.contains(&*envelope.r#type) => envelope,
            Ok(_) => {
                reading.reader.came(said.delivery, None, now);
                return Some((ack, "+ACK"));
            }
            Err(error) => {
                let (stream, sequence) = (said.stream, said.sequence);
                tracing::error!(stream, sequence, %error, "this is no CloudEvent, and is left out; it stays in the stream");
                reading.reader.came(said.delivery, None, now);
                return Some((ack, "+TERM"));
            }
        };
        let (delivery, sequence) = (said.delivery, said.sequence);
        let attempt = u32::try_from(said.attempt).unwrap_or(u32::MAX);
        let message = Message { pull, sequence, attempt, envelope: Arc::new(envelope), ack };
        if let Some(message) = reading.reader.came(delivery, Some(message), now) {
            held.lanes.add(message);
        }
        None
    }
}
