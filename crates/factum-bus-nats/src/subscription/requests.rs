//! What a hub says to the server: what it is at work on, what is missing, and how much more it takes.

use std::time::{Duration, Instant};

use async_nats::Subject;
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;

use super::Phase;
use super::consumers::{self, State};
use super::lanes::Pull;
use super::reader::EXPIRES;
use super::task::Task;
use crate::server::Failure;

/// The most that is held of one stream and partition.
const HELD_MAX: usize = 1_000;
/// Above this nothing more is read, where there is something to do.
const BYTES_MAX: usize = 64 << 20;
/// What one request asks for: at least, and at most.
const BATCH: (usize, usize) = (16, 512);

impl Task {
    pub(super) async fn say(&self, ack: Subject, word: &'static str) {
        // Where it does not arrive, the message comes again.
        let _ = self.ground.server.say(ack, Bytes::from_static(word.as_bytes())).await;
    }

    /// All that is held is still at work.
    pub(super) async fn keep(&mut self) {
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
    pub(super) async fn pay(&mut self) {
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

    pub(super) fn interrupted(&mut self) {
        let now = Instant::now();
        for reading in self.readers.values_mut() {
            reading.reader.interrupted(now);
        }
        self.beat_at = now;
        self.keep_at = now;
    }

    /// Whether the consumers that do not answer are still there; they are declared again.
    pub(super) async fn check(&mut self) {
        let now = Instant::now();
        let due = self.readers.iter().filter(|(_, it)| it.check_at.is_some_and(|at| at <= now));
        let due: Vec<Pull> = due.map(|(pull, _)| pull.clone()).collect();
        if due.is_empty() {
            return;
        }
        let found = match consumers::streams(&self.ground.server, &self.ground.names).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(subscription = self.record.subscription, %error, "the streams cannot be looked at");
                self.check_later(&due);
                return;
            }
        };
        let is_other = |found: &consumers::Stream| {
            self.streams.get(&found.name).is_some_and(|known| known.created != found.created)
        };
        if found.iter().any(is_other) {
            // It was deleted, and another one made under its name.
            self.begin_anew();
            return;
        }
        // Of a stream that is not there nothing is declared: another one may be made under its name at any moment.
        let (due, gone): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|pull| found.iter().any(|it| *it.name == *pull.0));
        self.check_later(&gone);
        for (pull, state) in join_all(due.into_iter().map(|pull| self.declare(pull))).await {
            let Some(reading) = self.readers.get_mut(&pull) else { continue };
            match state {
                Ok(state) => {
                    reading.check_at = None;
                    reading.reader.found(state.delivered.1, now);
                }
                Err(error) => {
                    tracing::warn!(subscription = self.record.subscription, %error, "a partition is not read");
                    reading.check_at = Some(Instant::now() + Duration::from_secs(1));
                    self.beat_at = now;
                }
            }
        }
    }

    fn check_later(&mut self, pulls: &[Pull]) {
        let at = Instant::now() + Duration::from_secs(1);
        for pull in pulls {
            if let Some(reading) = self.readers.get_mut(pull) {
                reading.check_at = Some(at);
            }
        }
    }

    /// Where readers sort: whether everything is here that the server waits for.
    pub(super) async fn look(&mut self) {
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
                reading.reader.look_again(now + Duration::from_millis(200));
                return;
            }
        };
        reading.floor = state.floor;
        let here = self.hub.lock().lanes.load(pull).held + reading.reader.kept();
        reading.missing = (state.pending as usize).saturating_sub(here);
        let (mut passed, mut asks) = (Vec::new(), false);
        match reading.missing {
            0 => passed = reading.reader.is_complete(state.delivered.1),
            _ => {
                reading.reader.look_again(now);
                asks = reading.reader.asks(now);
            }
        }
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
    pub(super) async fn request(&mut self) {
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
}
