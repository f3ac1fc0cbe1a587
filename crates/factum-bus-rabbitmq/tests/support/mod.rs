//! What tests share: a namespace of their own on the broker, removed when they are done with it; envelopes; answers.
#![allow(dead_code)] // each file of tests uses a part of it

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum::integration::{Answer, Confirm, Deliveries, EventBus, Interest, Publication};
use factum::{BoxError, Envelope};
use factum_bus_rabbitmq::{Options, RabbitMq};
use factum_conformance::service;
use tokio::sync::Notify;

/// How long a test waits for what it expects before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const TYPE: &str = "com.example.shop.order-placed.v1";
pub(crate) const SOURCE: &str = "https://shop.example/ordering";

/// A name that nobody else has.
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) url: String,
}

impl Namespace {
    /// On the server that all tests share.
    pub(crate) fn new() -> Self {
        Self::on(service::RABBITMQ.url())
    }

    pub(crate) fn on(url: impl Into<String>) -> Self {
        Self { name: format!("test-{:016x}", RandomState::new().hash_one(0u8)), url: url.into() }
    }

    pub(crate) fn options(&self) -> Options {
        self.options_at(&self.url)
    }

    /// The same namespace, reached in another way.
    pub(crate) fn options_at(&self, url: &str) -> Options {
        RabbitMq::options(url).namespace(&self.name).partitions(4)
    }
}

impl Drop for Namespace {
    /// On a thread of its own, because a runtime cannot be entered from within another one.
    fn drop(&mut self) {
        let options = self.options().connect_deadline(Duration::from_secs(2));
        let clean_up = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(options.clean_up())
        });
        if let Err(error) = clean_up.join().unwrap() {
            eprintln!("the namespace {} is left on the broker: {error}", self.name);
        }
    }
}

pub(crate) fn envelope(id: &str, key: &str) -> Envelope {
    Envelope { partitionkey: Some(key.into()), ..Envelope::new(id, SOURCE, TYPE, *b"{}") }
}

/// The answers to what was published, by id of the envelope.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<(Mutex<BTreeMap<String, Answer>>, Notify)>);

impl Answers {
    pub(crate) fn batch(&self, envelopes: impl IntoIterator<Item = Envelope>) -> Vec<Publication> {
        envelopes.into_iter().map(|envelope| self.publication(envelope)).collect()
    }

    fn publication(&self, envelope: Envelope) -> Publication {
        let (given, id) = (Arc::clone(&self.0), envelope.id.to_string());
        let answered = move |_, answer| {
            given.0.lock().unwrap().insert(id.clone(), answer);
            given.1.notify_waiters();
        };
        let source = envelope.source.clone();
        let confirm = Confirm::new(0, Arc::new(answered));
        Publication { envelope: factum::port::read_back(envelope, source), confirm }
    }

    pub(crate) fn so_far(&self) -> BTreeMap<String, Answer> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits for so many.
    pub(crate) async fn all(&self, count: usize) -> BTreeMap<String, Answer> {
        loop {
            let mut changed = std::pin::pin!(self.0.1.notified());
            changed.as_mut().enable();
            let given = self.so_far();
            if given.len() >= count {
                return given;
            }
            changed.await;
        }
    }
}

/// Publishes one, and waits for its answer.
pub(crate) async fn publish_one(bus: &RabbitMq, envelope: Envelope) -> Answer {
    let answers = Answers::default();
    let published = bus.publish(answers.batch([envelope])).await;
    let answer = answers.all(1).await.into_values().next().unwrap();
    match published {
        Ok(()) => answer,
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

/// Publishes until it is confirmed, as a relay does.
pub(crate) async fn publish_until_confirmed(bus: &RabbitMq, envelope: Envelope) -> usize {
    let mut tries = 0;
    loop {
        tries += 1;
        match publish_one(bus, envelope.clone()).await {
            Answer::Confirmed => return tries,
            Answer::Unknown(_) => tokio::task::yield_now().await,
            other => panic!("{} was answered {other:?}", envelope.id),
        }
    }
}

pub(crate) async fn subscribe(bus: &RabbitMq, name: &str) -> Result<Box<dyn Deliveries>, BoxError> {
    let interest = Interest { subscription: name.into(), types: vec![TYPE.into()], prefetch: 100 };
    bus.subscribe(interest).await
}

/// Fails if it takes too long.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    let begun = std::time::Instant::now();
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {limit:?} (waited {:?})", begun.elapsed()),
    }
}

/// Acknowledges until so many different ids have come; all ids in the order of their coming, repeats included.
pub(crate) async fn read(consumer: &mut dyn Deliveries, different: usize) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < different {
        for delivery in within(PATIENCE, "a delivery", consumer.next(100)).await.unwrap() {
            let id = delivery.envelope.id.to_string();
            seen.insert(id.clone());
            ids.push(id);
            // The connection may be gone; then it comes again.
            let _ = delivery.settle.ack().await;
        }
    }
    ids
}
