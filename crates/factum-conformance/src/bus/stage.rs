//! What a case stands on: a bus, names that are its own, envelopes, a watchdog.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use factum::integration::{Answer, Capabilities, Deliveries, Delivery, Interest};
use factum::{Envelope, EventBus};
use tokio::task::JoinHandle;

use super::answers::Answers;
use super::{BusFixture, Size, say_skipped};

/// The most that one batch has; what the relay hands over by default.
const BATCH: usize = 1_000;

/// A bus and what belongs to one case.
pub(super) struct Stage<F> {
    pub(super) fixture: F,
    pub(super) bus: Arc<dyn EventBus>,
    pub(super) size: Size,
    run: String,
}

impl<F: BusFixture> Stage<F> {
    pub(super) async fn open() -> Self {
        let fixture = F::open().await;
        let run = format!("r{:016x}", RandomState::new().hash_one(0u8));
        Self { bus: fixture.bus(), fixture, size: Size::of_this_run(), run }
    }

    /// A stage if the bus has what the case needs.
    pub(super) async fn open_with(what: &str, has: impl FnOnce(Capabilities) -> bool) -> Option<Self> {
        let stage = Self::open().await;
        let capabilities = stage.bus.capabilities();
        if has(capabilities) {
            return Some(stage);
        }
        say_skipped(what, capabilities);
        None
    }

    /// Fails if it takes longer than the fixture's patience.
    pub(super) async fn within<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(F::PATIENCE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{what} did not happen within {:?}", F::PATIENCE),
        }
    }

    pub(super) fn r#type(&self, name: &str) -> String {
        format!("com.example.{}.{name}.v1", self.run)
    }

    pub(super) fn source(&self, name: &str) -> String {
        format!("https://example.com/{}/{name}", self.run)
    }

    /// An envelope of the type and the source that cases use where it does not matter.
    pub(super) fn envelope(&self, id: &str, key: &str) -> Envelope {
        self.typed("placed", id, key)
    }

    pub(super) fn typed(&self, r#type: &str, id: &str, key: &str) -> Envelope {
        let data = format!("{{\"id\":{id:?}}}").into_bytes();
        let envelope = Envelope::new(id, self.source("ordering"), self.r#type(r#type), data);
        Envelope { partitionkey: Some(key.into()), ..envelope }
    }

    /// `count` envelopes, in turn of `keys` keys: within a key the ids ascend as text.
    pub(super) fn numbered(&self, count: usize, keys: usize) -> Vec<Envelope> {
        (0..count).map(|n| self.envelope(&format!("{n:06}"), &format!("key {}", n % keys))).collect()
    }

    /// A consumer of the type that cases use where it does not matter.
    pub(super) async fn consumer(&self, subscription: &str, prefetch: usize) -> Box<dyn Deliveries> {
        self.consumer_of(subscription, &["placed"], prefetch).await
    }

    pub(super) async fn consumer_of(
        &self,
        subscription: &str,
        types: &[&str],
        prefetch: usize,
    ) -> Box<dyn Deliveries> {
        let interest = self.interest(subscription, types, prefetch);
        self.within("subscribing", self.bus.subscribe(interest)).await.unwrap()
    }

    pub(super) fn interest(&self, subscription: &str, types: &[&str], prefetch: usize) -> Interest {
        let types = types.iter().map(|name| self.r#type(name)).collect();
        Interest { subscription: format!("{}-{subscription}", self.run), types, prefetch }
    }

    /// Publishes until all is confirmed, beside the case.
    pub(super) fn publish(&self, envelopes: Vec<Envelope>) -> Publishing {
        self.publish_on(Arc::clone(&self.bus), envelopes)
    }

    pub(super) fn publish_on(&self, bus: Arc<dyn EventBus>, envelopes: Vec<Envelope>) -> Publishing {
        Publishing { task: tokio::spawn(publish_all(bus, envelopes)), patience: F::PATIENCE }
    }

    /// The next delivery.
    pub(super) async fn one(&self, consumer: &mut dyn Deliveries) -> Delivery {
        let mut next = self.within("a delivery", consumer.next(1)).await.unwrap();
        assert_eq!(next.len(), 1, "asked for one, got {next:?}");
        next.remove(0)
    }

    /// Acknowledges until so many different events have come, and returns their ids.
    pub(super) async fn read(&self, consumer: &mut dyn Deliveries, count: usize) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        while ids.len() < count {
            let what = format!("the arrival of {count} events (so far {})", ids.len());
            let deliveries = self.within(&what, consumer.next(100)).await.unwrap();
            assert!(!deliveries.is_empty(), "the consumer ended before {what}");
            for delivery in deliveries {
                ids.insert(delivery.envelope.id.to_string());
                delivery.settle.ack().await.unwrap();
            }
        }
        ids
    }
}

/// What was published, by id.
pub(super) fn ids(envelopes: &[Envelope]) -> BTreeSet<String> {
    envelopes.iter().map(|envelope| envelope.id.to_string()).collect()
}

/// A publisher that runs beside the case.
pub(super) struct Publishing {
    task: JoinHandle<()>,
    patience: Duration,
}

impl Publishing {
    /// Waits until everything is confirmed.
    pub(super) async fn confirmed(self) {
        let all = tokio::time::timeout(self.patience, self.task).await;
        all.expect("not everything was confirmed in time").expect("the publisher failed");
    }
}

/// As the relay does: in order within a key, nothing more of a key while anything of it is unanswered, again what is
/// unknown.
async fn publish_all(bus: Arc<dyn EventBus>, mut left: Vec<Envelope>) {
    while !left.is_empty() {
        let (round, later) = next_round(left, bus.capabilities().fail_stop);
        let answers = Answers::default();
        // An error leaves what was not answered unknown; so it is tried again with the rest.
        let taken = bus.publish(answers.batch(round.iter().cloned())).await;
        let given = answers.all(round.len()).await;
        let again: Vec<_> = round.into_iter().zip(given).filter_map(unconfirmed).collect();
        if !again.is_empty() || taken.is_err() {
            // tidy: allow(sleep): the pace of tries while a broker is being restarted, not a wait for an event
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        left = again.into_iter().chain(later).collect();
    }
}

fn unconfirmed((envelope, (_, answer)): (Envelope, (u64, Answer))) -> Option<Envelope> {
    match answer {
        Answer::Confirmed => None,
        Answer::Unknown(_) => Some(envelope),
        Answer::Refused(why) => panic!("{} was refused: {why}", envelope.id),
        Answer::Unroutable => panic!("{} is unroutable although there is a subscription", envelope.id),
    }
}

fn next_round(left: Vec<Envelope>, several_of_a_key: bool) -> (Vec<Envelope>, Vec<Envelope>) {
    let mut keys = HashSet::new();
    let (mut round, mut later) = (Vec::new(), Vec::new());
    for envelope in left {
        let fits = round.len() < BATCH;
        match fits && (keys.insert(envelope.ordering_key().to_owned()) || several_of_a_key) {
            true => round.push(envelope),
            false => later.push(envelope),
        }
    }
    (round, later)
}

/// Polls the future so many times, one after the other, then drops it.
pub(super) struct DropAfter<'a, T> {
    future: Option<factum::BoxFuture<'a, T>>,
    polls: usize,
}

impl<'a, T> DropAfter<'a, T> {
    pub(super) fn new(polls: usize, future: factum::BoxFuture<'a, T>) -> Self {
        Self { future: Some(future), polls }
    }
}

impl<T> Future for DropAfter<'_, T> {
    /// `None`: it was dropped before it ended.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if this.polls > 0
            && let Some(future) = &mut this.future
        {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            this.polls -= 1;
            if this.polls > 0 {
                // Whether or not something happens: it may be dropped at any time.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        this.future = None;
        Poll::Ready(None)
    }
}

/// Random numbers that are the same for the same seed; the seed is printed.
pub(super) struct Seeded(u64);

impl Seeded {
    pub(super) fn new() -> Self {
        let given = std::env::var("FACTUM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0u8));
        println!("FACTUM_SEED={seed}");
        Self(seed | 1)
    }

    /// Another sequence, which depends on this one.
    pub(super) fn fork(&mut self) -> Self {
        Self((self.below(u64::MAX) << 12) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Deals the envelopes out, in turn.
pub(super) fn deal(envelopes: Vec<Envelope>, hands: usize) -> Vec<Vec<Envelope>> {
    let mut left = VecDeque::from(envelopes);
    let mut dealt = vec![Vec::new(); hands];
    for hand in (0..hands).cycle().take(left.len()) {
        dealt[hand].extend(left.pop_front());
    }
    dealt
}
