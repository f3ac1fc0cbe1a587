//! A bus that does everything a bus may do: it delivers twice, across keys in any order, loses acknowledgements, takes
//! for lost what it hears nothing of, and breaks off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum::integration::{Answer, Capabilities, Deliveries, Delivery, Interest, Publication, Settle};
use factum::protocol::Jitter;
use factum::{BoxError, BoxFuture, Envelope, EventBus};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Percentages, and what the bus declares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) ordered: bool,
    pub(crate) counts_attempts: bool,
    pub(crate) duplicates: u64,
    pub(crate) lost_acks: u64,
    pub(crate) breaks: u64,
}

impl Habits {
    pub(crate) const CALM: Self =
        Self { ordered: true, counts_attempts: true, duplicates: 0, lost_acks: 0, breaks: 0 };
}

/// After so long without a word a delivery is taken for lost.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

struct Item {
    envelope: Arc<Envelope>,
    due: Instant,
    attempt: u32,
    /// To which consumer, under which ticket, and since when.
    out: Option<(u64, u64, Instant)>,
}

struct State {
    random: Jitter,
    items: Vec<Item>,
    last: u64,
    lost: usize,
    breaks: u64,
    silent: bool,
}

struct Shared {
    habits: Habits,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone)]
pub(crate) struct Chaos(Arc<Shared>);

impl Chaos {
    pub(crate) fn new(seed: u64, habits: Habits) -> Self {
        let state = State {
            random: Jitter::new(seed),
            items: Vec::new(),
            last: 0,
            lost: 0,
            breaks: habits.breaks,
            silent: false,
        };
        Self(Arc::new(Shared { habits, state: Mutex::new(state), changed: Notify::new() }))
    }

    /// What nobody has settled.
    pub(crate) fn left(&self) -> usize {
        self.0.state.lock().unwrap().items.len()
    }

    /// How often, in percent, a consumer is lost from now on.
    pub(crate) fn breaks(&self, percent: u64) {
        self.0.state.lock().unwrap().breaks = percent;
        self.0.changed.notify_waiters();
    }

    /// From now on it answers nothing that is settled.
    pub(crate) fn falls_silent(&self) {
        self.0.state.lock().unwrap().silent = true;
    }

    /// How many acknowledgements the bus did not hear.
    pub(crate) fn lost(&self) -> usize {
        self.0.state.lock().unwrap().lost
    }
}

impl Chaos {
    async fn answers(&self) {
        let silent = self.0.state.lock().unwrap().silent;
        if silent {
            std::future::pending::<()>().await;
        }
    }
}

impl State {
    fn chance(&mut self, percent: u64) -> bool {
        self.random.up_to(99) < percent
    }

    fn expire(&mut self) {
        for item in &mut self.items {
            if item.out.is_some_and(|(_, _, since)| since.elapsed() >= LEASE) {
                item.out = None;
            }
        }
    }

    fn deliverable(&self, ordered: bool) -> BTreeMap<String, Vec<usize>> {
        let mut keys: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut seen = Vec::new();
        for (place, item) in self.items.iter().enumerate() {
            let key = item.envelope.ordering_key();
            let behind = ordered && seen.contains(&key);
            seen.push(key);
            if !behind && item.out.is_none() && item.due <= Instant::now() {
                keys.entry(key.into()).or_default().push(place);
            }
        }
        keys
    }

    fn pick(&mut self, ordered: bool, most: usize) -> Vec<usize> {
        let mut keys = self.deliverable(ordered);
        let most = 1 + self.random.up_to(most as u64 - 1) as usize;
        let mut picked = Vec::new();
        while picked.len() < most && !keys.is_empty() {
            let which = self.random.up_to(keys.len() as u64 - 1) as usize;
            let key = keys.keys().nth(which).unwrap().clone();
            picked.push(keys.get_mut(&key).unwrap().remove(0));
            keys.retain(|_, places| !places.is_empty());
        }
        picked
    }

    fn next_change(&self) -> Option<Instant> {
        let when = |item: &Item| match item.out {
            Some((_, _, since)) => since + LEASE,
            None => item.due,
        };
        self.items.iter().map(when).filter(|when| *when > Instant::now()).min()
    }

    fn find(&mut self, ticket: u64) -> Result<usize, BoxError> {
        let is = |item: &Item| item.out.is_some_and(|(_, own, _)| own == ticket);
        self.items.iter().position(is).ok_or_else(|| "that delivery is no longer yours".into())
    }
}

impl EventBus for Chaos {
    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::none();
        (can.ordered, can.counts_attempts) = (self.0.habits.ordered, self.0.habits.counts_attempts);
        can
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let mut state = self.0.state.lock().unwrap();
            for Publication { envelope, confirm } in batch {
                let envelope = Arc::new(Envelope::clone(&envelope));
                let copies = 1 + usize::from(state.chance(self.0.habits.duplicates));
                let copy =
                    || Item { envelope: Arc::clone(&envelope), due: Instant::now(), attempt: 0, out: None };
                state.items.extend((0..copies).map(|_| copy()));
                confirm.answer(Answer::Confirmed);
            }
            self.0.changed.notify_waiters();
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, _: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async move {
            let mut state = self.0.state.lock().unwrap();
            state.last += 1;
            Ok(Box::new(Consumer { bus: self.clone(), id: state.last }) as Box<dyn Deliveries>)
        })
    }

    fn close<'a>(&'a self, _: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

struct Consumer {
    bus: Chaos,
    id: u64,
}

impl Consumer {
    fn look(&self, most: usize) -> Result<Vec<Delivery>, BoxError> {
        let shared = &self.bus.0;
        let mut state = shared.state.lock().unwrap();
        let breaks = state.breaks;
        if state.chance(breaks) {
            return Err("the connection broke".into());
        }
        state.expire();
        let mut deliveries = Vec::new();
        for place in state.pick(shared.habits.ordered, most) {
            state.last += 1;
            let ticket = state.last;
            let item = &mut state.items[place];
            item.attempt += 1;
            item.out = Some((self.id, ticket, Instant::now()));
            let attempt = if shared.habits.counts_attempts { item.attempt } else { 1 };
            let settle = Box::new(Ticket { bus: self.bus.clone(), ticket, settled: false });
            deliveries.push(Delivery { envelope: Arc::clone(&item.envelope), attempt, settle });
        }
        Ok(deliveries)
    }
}

impl Deliveries for Consumer {
    fn next<'a>(&'a mut self, most: usize) -> BoxFuture<'a, Result<Vec<Delivery>, BoxError>> {
        Box::pin(async move {
            loop {
                let changed = self.bus.0.changed.notified();
                let deliveries = self.look(most)?;
                if !deliveries.is_empty() {
                    return Ok(deliveries);
                }
                let until = self.bus.0.state.lock().unwrap().next_change();
                let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
                drop(tokio::time::timeout_at(until, changed).await);
            }
        })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for item in &mut self.bus.0.state.lock().unwrap().items {
            if item.out.is_some_and(|(consumer, ..)| consumer == self.id) {
                item.out = None;
            }
        }
        self.bus.0.changed.notify_waiters();
    }
}

struct Ticket {
    bus: Chaos,
    ticket: u64,
    settled: bool,
}

impl Ticket {
    fn settle(mut self, change: impl FnOnce(&mut State, usize)) -> Result<(), BoxError> {
        self.settled = true;
        let mut state = self.bus.0.state.lock().unwrap();
        let place = state.find(self.ticket)?;
        if state.chance(self.bus.0.habits.lost_acks) {
            state.lost += 1;
            return Err("the bus did not hear it".into());
        }
        change(&mut state, place);
        self.bus.0.changed.notify_waiters();
        Ok(())
    }
}

impl Settle for Ticket {
    fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move {
            self.bus.answers().await;
            self.settle(|state, place| drop(state.items.remove(place)))
        })
    }

    fn nack(self: Box<Self>, after: Duration) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move {
            self.settle(|state, place| {
                (state.items[place].out, state.items[place].due) = (None, Instant::now() + after);
            })
        })
    }

    fn reject(self: Box<Self>, _: String) -> BoxFuture<'static, Result<(), BoxError>> {
        self.ack()
    }

    fn progress(&mut self) -> BoxFuture<'_, Result<(), BoxError>> {
        let mut state = self.bus.0.state.lock().unwrap();
        let found = state.find(self.ticket).map(|place| {
            if let Some((_, _, since)) = &mut state.items[place].out {
                *since = Instant::now();
            }
        });
        Box::pin(std::future::ready(found))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut state = self.bus.0.state.lock().unwrap();
        if let Ok(place) = state.find(self.ticket) {
            state.items[place].out = None;
            self.bus.0.changed.notify_waiters();
        }
    }
}
