//! The state machine of a subscription: what happened goes in, what to do comes out.
//!
//! It never waits, reads no clock and draws no number: time and a seed come in. It loses nothing: every token that came
//! in goes out once, as acknowledged, handed back or rejected.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::ahead::Ahead;
use super::shelf::{Held, Shelf};
use super::{Arrival, Ending, Input, LanesOptions, Occurrence, Output};
use crate::integration::OnDeadLetter;
use crate::protocol::Jitter;

/// The lanes of one consumer of a subscription.
#[derive(Debug)]
pub struct Lanes {
    options: LanesOptions,
    jitter: Jitter,
    shelf: Shelf,
    running: BTreeMap<u64, Running>,
    giving_up: BTreeSet<u64>,
    batches: u64,
    /// How many deliveries may share the next commit.
    size: usize,
    rests: u32,
    rest_until: Duration,
    fetch: Request,
    look: Request,
    /// The look that is under way began before something that it ought to have seen.
    look_is_old: bool,
    /// Released envelopes that failed, and when they may be tried again.
    later: HashMap<Occurrence, Duration>,
    /// Deliveries that failed and were handed back, where the bus does not say how often they came.
    failed: HashSet<Occurrence>,
    ahead: Ahead,
    /// So many arrivals may have killed a process before, and the bus does not say so.
    wary: usize,
    halted: bool,
    closing: Option<Duration>,
    done: bool,
}

#[derive(Debug)]
struct Running {
    tokens: Vec<u64>,
    since: Duration,
}

/// A question that has at most one answer under way.
#[derive(Debug, Default)]
struct Request {
    asked: bool,
    failures: u32,
    not_before: Duration,
}

impl Request {
    fn is_due(&self, now: Duration) -> bool {
        !self.asked && now >= self.not_before
    }

    fn answered(&mut self, next: Duration) {
        *self = Self { asked: false, failures: 0, not_before: next };
    }

    fn failed(&mut self, now: Duration, options: &LanesOptions, jitter: &mut Jitter) {
        self.asked = false;
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + options.rest.delay(self.failures, jitter);
    }
}

impl Lanes {
    /// Nothing in hand. The same seed and the same inputs give the same outputs.
    pub fn new(options: LanesOptions, seed: u64) -> Self {
        Self {
            jitter: Jitter::new(seed),
            shelf: Shelf::default(),
            running: BTreeMap::new(),
            giving_up: BTreeSet::new(),
            batches: 0,
            size: options.batch_max.max(1),
            rests: 0,
            rest_until: Duration::ZERO,
            fetch: Request::default(),
            look: Request::default(),
            look_is_old: false,
            later: HashMap::new(),
            failed: HashSet::new(),
            ahead: Ahead::default(),
            wary: if options.counts_attempts { 0 } else { options.prefetch },
            halted: false,
            closing: None,
            done: false,
            options,
        }
    }

    /// Takes in what happened at `now`, which never goes back, and appends what to do about it.
    pub fn handle(&mut self, now: Duration, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Arrived(arrivals) => {
                self.fetch.answered(now);
                arrivals.into_iter().for_each(|arrival| self.arrived(now, arrival, outputs));
            }
            Input::FetchFailed => self.fetch.failed(now, &self.options, &mut self.jitter),
            Input::Ended { batch, ending } => self.ended(now, batch, ending, outputs),
            Input::GaveUp { token, kept } => self.gave_up(now, token, kept, outputs),
            Input::Looked { halted, released } => self.looked(now, halted, released, outputs),
            Input::LookFailed => self.look.failed(now, &self.options, &mut self.jitter),
            Input::Tick => {}
            Input::Shutdown => self.closing = self.closing.or(Some(now.saturating_add(self.options.grace))),
        }
        self.proceed(now, outputs);
    }

    /// When the next [`Input::Tick`] is needed, if nothing else comes before.
    pub fn wait_until(&self) -> Option<Duration> {
        if self.done {
            return None;
        }
        if self.closing.is_some() {
            return self.closing;
        }
        let look = (!self.look.asked).then_some(self.look.not_before);
        let fetch = (self.may_fetch() && !self.fetch.asked).then_some(self.fetch.not_before);
        let rest = (!self.halted && self.shelf.has_ready() && self.running.len() < self.options.concurrent)
            .then_some(self.rest_until);
        [look, fetch, rest].into_iter().flatten().min()
    }

    /// Deliveries and released envelopes in hand.
    pub fn in_hand(&self) -> usize {
        self.shelf.len()
    }

    /// Whether a dead letter stops the subscription.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    fn proceed(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if self.done {
            return;
        }
        if self.halted || self.closing.is_some() {
            let back = |token| Output::Nack { token, after: Duration::ZERO };
            outputs.extend(self.shelf.drop_idle().into_iter().map(back));
        }
        if let Some(deadline) = self.closing {
            return self.close(now, deadline, outputs);
        }
        if !self.halted {
            self.schedule(now, outputs);
        }
        if self.may_fetch() && self.fetch.is_due(now) {
            self.fetch.asked = true;
            outputs.push(Output::Fetch { room: self.options.prefetch - self.shelf.deliveries() });
        }
        if self.look.is_due(now) {
            self.look.asked = true;
            outputs.push(Output::Look { room: self.options.prefetch });
        }
    }

    fn close(&mut self, now: Duration, deadline: Duration, outputs: &mut Vec<Output>) {
        if now >= deadline {
            for (batch, running) in std::mem::take(&mut self.running) {
                outputs.push(Output::Abort { batch });
                self.hand_back(running.tokens, outputs);
            }
            let giving_up = std::mem::take(&mut self.giving_up);
            self.hand_back(giving_up, outputs);
        }
        if self.running.is_empty() && self.giving_up.is_empty() {
            self.done = true;
            outputs.push(Output::Done);
        }
    }

    fn hand_back(&mut self, tokens: impl IntoIterator<Item = u64>, outputs: &mut Vec<Output>) {
        for token in tokens {
            self.shelf.drop(token);
            outputs.push(Output::Nack { token, after: Duration::ZERO });
        }
    }

    fn may_fetch(&self) -> bool {
        !self.halted
            && self.shelf.deliveries() < self.options.prefetch
            && self.shelf.bytes() < self.options.prefetch_bytes
    }

    fn schedule(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if now < self.rest_until {
            return;
        }
        while let Some((token, attempts, reason)) = self.shelf.take_given_up() {
            self.giving_up.insert(token);
            outputs.push(Output::GiveUp { token, attempts, reason });
        }
        while self.running.len() < self.options.concurrent {
            let tokens = self.shelf.take(self.size);
            let Some(first) = tokens.first().and_then(|token| self.shelf.get(*token)) else { break };
            let (count_before, released) = (first.suspect, first.arrival.released);
            self.batches += 1;
            self.running.insert(self.batches, Running { tokens: tokens.clone(), since: now });
            outputs.push(Output::Try { batch: self.batches, tokens, count_before, released });
        }
    }

    fn arrived(&mut self, now: Duration, arrival: Arrival, outputs: &mut Vec<Output>) {
        let Arrival { token, lane, event, attempt, .. } = arrival;
        if !self.options.ordered
            && let Err(due) = self.ahead.admit(lane, event, now, self.options.prefetch)
        {
            let after = due.saturating_sub(now).max(self.options.backoff.first);
            return outputs.push(Output::Nack { token, after });
        }
        let suspect = attempt > 1 || self.wary > 0 || self.failed.remove(&event);
        self.wary = self.wary.saturating_sub(1);
        self.shelf.put(Held { arrival, suspect, alone: suspect, verdict: None });
    }

    fn looked(&mut self, now: Duration, halted: bool, released: Vec<Arrival>, outputs: &mut Vec<Output>) {
        let old = std::mem::take(&mut self.look_is_old);
        self.look.answered(if old { now } else { now.saturating_add(self.options.look) });
        self.halted = halted || (old && self.halted);
        self.later.retain(|_, until| *until > now);
        for arrival in released {
            if self.shelf.holds_released(arrival.event) || self.later.contains_key(&arrival.event) {
                outputs.push(Output::Nack { token: arrival.token, after: Duration::ZERO });
            } else {
                // No bus counts how often it was tried, so it is always a suspect.
                self.shelf.put(Held { arrival, suspect: true, alone: true, verdict: None });
            }
        }
    }

    fn look_again(&mut self, now: Duration) {
        self.look_is_old = self.look.asked;
        self.look.not_before = now;
    }

    fn ended(&mut self, now: Duration, batch: u64, ending: Ending, outputs: &mut Vec<Output>) {
        let Some(Running { tokens, since }) = self.running.remove(&batch) else { return };
        let lanes: BTreeSet<_> =
            tokens.iter().filter_map(|token| Some(self.shelf.get(*token)?.arrival.lane)).collect();
        match (ending, &*tokens) {
            (Ending::Committed, _) => self.committed(now, since, tokens, outputs),
            (Ending::Later, _) => {
                self.rest(now);
                self.shelf.put_back(&tokens);
            }
            (Ending::Failed { attempts, reason }, [token]) => {
                self.shrink();
                self.failed_alone(now, *token, attempts, reason, outputs);
            }
            (Ending::Failed { .. }, _) => {
                self.shrink();
                self.take_apart(&tokens);
            }
            (Ending::Exhausted { attempts }, _) => {
                let reason = format!(
                    "{attempts} attempts were begun and none succeeded; the last did not live to say why"
                );
                tokens.iter().for_each(|token| self.shelf.judge(*token, attempts, reason.clone()));
                self.shelf.put_back(&tokens);
            }
        }
        lanes.into_iter().for_each(|lane| self.shelf.free(lane));
    }

    fn committed(&mut self, now: Duration, since: Duration, tokens: Vec<u64>, outputs: &mut Vec<Output>) {
        self.rests = 0;
        match now.saturating_sub(since) > self.options.batch_time {
            true => self.shrink(),
            false => self.size = (self.size * 2).min(self.options.batch_max),
        }
        for token in &tokens {
            if self.shelf.drop(*token).is_some_and(|held| held.arrival.released) {
                // What stands behind it is released now.
                self.look_again(now);
            }
        }
        outputs.push(Output::Ack(tokens));
    }

    fn take_apart(&mut self, tokens: &[u64]) {
        for token in tokens {
            if let Some(held) = self.shelf.get_mut(*token) {
                held.alone = true;
            }
        }
        self.shelf.put_back(tokens);
    }

    fn failed_alone(
        &mut self,
        now: Duration,
        token: u64,
        attempts: u32,
        reason: String,
        outputs: &mut Vec<Output>,
    ) {
        if attempts >= self.options.attempts {
            self.shelf.judge(token, attempts, reason);
            return self.shelf.put_back(&[token]);
        }
        let after = self.options.backoff.delay(attempts, &mut self.jitter);
        let Some(Held { arrival, .. }) = self.shelf.drop(token) else { return };
        outputs.push(Output::Nack { token, after });
        if arrival.released {
            self.later.insert(arrival.event, now + after);
            self.look.not_before = self.look.not_before.min(now + after);
            return;
        }
        let most = self.options.prefetch * 16;
        if !self.options.counts_attempts && self.failed.len() < most {
            self.failed.insert(arrival.event);
        }
        let behind = self.shelf.drop_waiting(arrival.lane);
        outputs.extend(behind.iter().map(|arrival| Output::Nack { token: arrival.token, after }));
        if !self.options.ordered {
            let events = std::iter::once(&arrival).chain(&behind).map(|arrival| arrival.event);
            let events: Vec<_> = events.collect();
            self.ahead.handed_back(arrival.lane, events.into_iter(), now + after, most);
        }
    }

    fn gave_up(&mut self, now: Duration, token: u64, kept: bool, outputs: &mut Vec<Output>) {
        if !self.giving_up.remove(&token) {
            return;
        }
        let Some(lane) = self.shelf.get(token).map(|held| held.arrival.lane) else { return };
        if !kept {
            self.rest(now);
            self.shelf.put_back(&[token]);
        } else if let Some(Held { verdict: Some((_, reason)), .. }) = self.shelf.drop(token) {
            outputs.push(Output::Reject { token, reason });
            if self.options.policy == OnDeadLetter::Halt {
                self.halted = true;
                self.look_again(now);
            }
        }
        self.shelf.free(lane);
    }

    /// Everything waits: the store or a race, not an envelope, is the trouble.
    fn rest(&mut self, now: Duration) {
        self.shrink();
        self.rests = self.rests.saturating_add(1);
        let until = now + self.options.rest.delay(self.rests, &mut self.jitter);
        self.rest_until = self.rest_until.max(until);
    }

    fn shrink(&mut self) {
        self.size = (self.size / 2).max(1);
    }
}
