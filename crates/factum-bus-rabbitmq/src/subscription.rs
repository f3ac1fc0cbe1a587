//! A subscription as this process has it: all of its consumers here share one reading of its queues.
//!
//! The broker has each queue read by one process at a time, and gives it to the next one when that process is gone.
//! Within the process the consumers compete for keys, not for queues.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use factum::Envelope;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::queue::{Origin, Queue, Stale, Taken, Ticket};

/// What looking for deliveries found.
pub(crate) enum Look {
    /// The bus is closed.
    Ended,
    Taken(Vec<Taken>),
    /// Nothing, at least until then.
    Nothing(Option<Instant>),
}

/// One subscription.
pub(crate) struct Subscription {
    pub(crate) name: String,
    /// Something may be there to take.
    pub(crate) changed: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: Queue,
    types: BTreeSet<String>,
    /// The readers at work, if there is a consumer. They stop when this is dropped.
    reading: Option<watch::Sender<()>>,
    /// Counts readings.
    number: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Nothing more is handed out.
    Closing,
    Ended,
}

/// What the readers of one reading are told.
#[derive(Clone)]
pub(crate) struct Reading {
    /// Names this reading: what an earlier one still brings is not taken.
    pub(crate) number: u64,
    /// Ends when nobody wants anything any more.
    pub(crate) stop: watch::Receiver<()>,
}

impl Subscription {
    pub(crate) fn new(name: String) -> Self {
        Self { name, changed: Notify::new(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds types to those that it takes, and returns all.
    pub(crate) fn widen(&self, types: Vec<String>) -> Vec<String> {
        let mut state = self.lock();
        state.types.extend(types);
        state.types.iter().cloned().collect()
    }

    /// All types that it takes.
    pub(crate) fn types(&self) -> Vec<String> {
        self.lock().types.iter().cloned().collect()
    }

    /// Adds a consumer. The first one gets a reading to be started. `None`: the bus is closing.
    pub(crate) fn join(&self, prefetch: usize) -> Option<(usize, Option<Reading>)> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return None;
        }
        let consumer = state.queue.join(prefetch);
        if state.reading.is_some() {
            return Some((consumer, None));
        }
        let (sender, stop) = watch::channel(());
        state.reading = Some(sender);
        state.number += 1;
        Some((consumer, Some(Reading { number: state.number, stop })))
    }

    /// A consumer is gone. With the last one the reading stops, so that another process can read.
    pub(crate) fn part(&self, consumer: usize) {
        let mut state = self.lock();
        if state.queue.part(consumer) {
            state.reading = None;
            state.queue.clear();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes what a reader brought, and says whether its reading is still the one.
    pub(crate) fn push(&self, reading: u64, envelope: Envelope, attempts: u32, origin: Origin) -> bool {
        let mut state = self.lock();
        let is_current = state.reading.is_some() && state.number == reading;
        if is_current {
            state.queue.push(envelope, attempts, origin);
        }
        drop(state);
        self.changed.notify_waiters();
        is_current
    }

    /// A reader's channel is gone.
    pub(crate) fn lose(&self, channel: u64) {
        self.lock().queue.lose(channel);
        self.changed.notify_waiters();
    }

    /// A reader is giving its channel up: what is not out is another's. Says how much is out.
    pub(crate) fn withdraw(&self, channel: u64) -> usize {
        self.lock().queue.withdraw(channel)
    }

    pub(crate) fn take(&self, consumer: usize, most: usize) -> Look {
        let mut state = self.lock();
        match state.phase {
            Phase::Ended => return Look::Ended,
            Phase::Closing => return Look::Nothing(None),
            Phase::Open => {}
        }
        let taken = state.queue.take(consumer, most, Instant::now());
        match taken.is_empty() {
            true => Look::Nothing(state.queue.earliest()),
            false => Look::Taken(taken),
        }
    }

    pub(crate) fn finish(&self, ticket: Ticket) -> Result<(), Stale> {
        let finished = self.lock().queue.finish(ticket);
        self.changed.notify_waiters();
        finished
    }

    pub(crate) fn hand_back(&self, ticket: Ticket, until: Option<Instant>) -> Result<(), Stale> {
        let handed_back = self.lock().queue.hand_back(ticket, until);
        self.changed.notify_waiters();
        handed_back
    }

    /// Hands nothing more out.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
    }

    /// Waits until nothing is out.
    pub(crate) async fn settled(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.lock().queue.out() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Ends its consumers and its reading.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.phase = Phase::Ended;
        state.reading = None;
        state.queue.clear();
        drop(state);
        self.changed.notify_waiters();
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The same subscription for all who ask by its name.
#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<std::collections::HashMap<String, Arc<Subscription>>>);

impl Subscriptions {
    pub(crate) fn get(&self, name: &str) -> Arc<Subscription> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(Subscription::new(name.to_owned()))))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Subscription>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
