//! What the tests share: a subscriber that does as it is told and keeps a log in the store, and a bus to feed it.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum::integration::{Confirm, Inspect, Interest, OnDeadLetter, Publication, Side};
use factum::memory::{Connection, MemoryBus, MemoryStore};
use factum::port::read_back;
use factum::{
    Dispatcher, Envelope, Event, EventBus, EventId, Integration, IntegrationEvent, Outcome, Projection,
    Received, Subscriber, Subscription, UnitOfWork, View, Work, Written,
};
use factum_runtime::{Counters, Counts, Receiver, ReceiverOptions, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

pub(crate) const SOURCE: &str = "https://test.example/tally";
pub(crate) const NAME: &str = "ledger";

/// Number `n` of its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tallied {
    pub(crate) key: String,
    pub(crate) n: u32,
}

impl Event for Tallied {
    type Kind = Integration;
}

impl IntegrationEvent for Tallied {
    const TYPE: &'static str = "com.example.test.tally.tallied.v1";
    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

/// What a subscriber does about one delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Fails,
    Panics,
    Hangs,
    /// It succeeds, late.
    Takes(Duration),
}

/// What the subscriber is told, and what it was called with.
#[derive(Default)]
pub(crate) struct Script {
    troubles: Mutex<HashMap<String, Vec<Trouble>>>,
    always: Mutex<HashMap<String, Trouble>>,
    pub(crate) calls: Mutex<Vec<String>>,
    called: Notify,
}

impl Script {
    /// Lets the next attempts at a delivery go wrong, the first first.
    pub(crate) fn next(&self, id: &str, troubles: &[Trouble]) {
        self.troubles.lock().unwrap().insert(id.into(), troubles.iter().rev().copied().collect());
    }

    pub(crate) fn always(&self, id: &str, trouble: Trouble) {
        self.always.lock().unwrap().insert(id.into(), trouble);
    }

    pub(crate) fn heal(&self, id: &str) {
        self.always.lock().unwrap().remove(id);
    }

    pub(crate) fn calls_of(&self, id: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| *call == id).count()
    }

    pub(crate) async fn until_called(&self, id: &str, times: usize) {
        while self.calls_of(id) < times {
            self.called.notified().await;
        }
    }

    fn trouble(&self, id: &str) -> Option<Trouble> {
        self.calls.lock().unwrap().push(id.into());
        self.called.notify_one();
        let next = self.troubles.lock().unwrap().get_mut(id).and_then(Vec::pop);
        next.or_else(|| self.always.lock().unwrap().get(id).copied())
    }
}

/// Keeps, by key, the numbers in the order of their effects.
struct Ledger(Arc<Script>);

impl Ledger {
    async fn note(&self, received: &Received<Tallied>, connection: &mut Connection) -> Outcome {
        let trouble = self.0.trouble(received.envelope.id.as_str());
        let row = connection.get("ledger", &received.key)?;
        let mut numbers: Vec<u32> =
            row.as_ref().map_or(Ok(Vec::new()), |row| serde_json::from_slice(&row.bytes))?;
        numbers.push(received.n);
        let version = row.map(|row| row.version);
        if connection.put("ledger", &received.key, version, serde_json::to_vec(&numbers)?)? == Written::Stale
        {
            return Err(factum::Error::Conflict { aggregate: "ledger", id: received.key.clone() }.into());
        }
        tokio::task::yield_now().await;
        match trouble {
            None => Ok(()),
            Some(Trouble::Fails) => Err("told to fail".into()),
            Some(Trouble::Panics) => panic!("told to panic"),
            Some(Trouble::Hangs) => std::future::pending().await,
            Some(Trouble::Takes(time)) => {
                pass(time).await;
                Ok(())
            }
        }
    }
}

impl Subscriber<Tallied, MemoryStore> for Ledger {
    async fn receive(&self, received: &Received<Tallied>, uow: &mut UnitOfWork<MemoryStore>) -> Outcome {
        self.note(received, uow.connection().await?).await
    }
}

impl Projection<Tallied, MemoryStore> for Ledger {
    async fn project(&self, received: &Received<Tallied>, view: &mut View<'_, MemoryStore>) -> Outcome {
        self.note(received, view.connection().await?).await
    }
}

pub(crate) fn id(key: &str, n: u32) -> String {
    format!("{key}-{n}")
}

pub(crate) fn envelope(key: &str, n: u32) -> Envelope {
    let data = serde_json::to_vec(&Tallied { key: key.into(), n }).unwrap();
    Envelope { partitionkey: Some(key.into()), ..Envelope::new(&*id(key, n), SOURCE, Tallied::TYPE, data) }
}

/// A store, a bus and a script.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) script: Arc<Script>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) policy: OnDeadLetter,
    /// It is a projection, and no subscriber.
    pub(crate) projects: bool,
    name: &'static str,
}

impl World {
    /// On a bus in memory on which the subscription is known already.
    pub(crate) async fn new() -> (Self, MemoryBus) {
        let bus = MemoryBus::new(TokioTimer::new());
        let interest = Interest { subscription: NAME.into(), types: vec![Tallied::TYPE.into()], prefetch: 1 };
        drop(bus.subscribe(interest).await.unwrap());
        (Self::on(Arc::new(bus.clone())), bus)
    }

    pub(crate) fn on(bus: Arc<dyn EventBus>) -> Self {
        Self {
            store: MemoryStore::new(),
            bus,
            script: Arc::default(),
            counters: Arc::default(),
            policy: OnDeadLetter::Park,
            projects: false,
            name: NAME,
        }
    }

    /// The same store, bus and script, for another subscription, which the bus knows from now on.
    pub(crate) async fn also_named(&self, name: &'static str) -> Self {
        let interest = Interest { subscription: name.into(), types: vec![Tallied::TYPE.into()], prefetch: 1 };
        drop(self.bus.subscribe(interest).await.unwrap());
        let script = Arc::clone(&self.script);
        Self { store: self.store.clone(), script, name, ..Self::on(Arc::clone(&self.bus)) }
    }

    pub(crate) fn receiver(&self) -> Receiver<MemoryStore> {
        let work = Work::new("https://test.example/ledger", self.store.clone(), Dispatcher::new());
        let subscription = Subscription::named(self.name).on_dead_letter(self.policy);
        let ledger = Ledger(Arc::clone(&self.script));
        let subscription = match self.projects {
            true => subscription.projecting::<Tallied>(ledger),
            false => subscription.on::<Tallied>(ledger),
        };
        Receiver::new(work, subscription, Arc::clone(&self.bus)).counters(Arc::clone(&self.counters))
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(|_| {})
    }

    pub(crate) fn start_with(&self, change: impl FnOnce(&mut ReceiverOptions)) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let receiver = self.receiver().options(change);
        let task = tokio::spawn(async move {
            receiver.run(async { drop(stopped.await) }).await.unwrap();
        });
        Running { stop: Some(stop), task }
    }

    /// Hands envelopes over, in this order, without waiting for them to be handled.
    pub(crate) async fn publish(&self, envelopes: impl IntoIterator<Item = Envelope>) {
        let confirm = || Confirm::new(0, Arc::new(|_, _| {}));
        let publication =
            |envelope| Publication { envelope: read_back(envelope, SOURCE.into()), confirm: confirm() };
        self.bus.publish(envelopes.into_iter().map(publication).collect()).await.unwrap();
    }

    pub(crate) async fn publish_all(&self, keys: &[&str], numbers: std::ops::Range<u32>) {
        self.publish(numbers.flat_map(|n| keys.iter().map(move |key| envelope(key, n)))).await;
    }

    /// By key, the numbers in the order of their effects.
    pub(crate) async fn ledger(&self) -> BTreeMap<String, Vec<u32>> {
        let work = Work::new(SOURCE, self.store.clone(), Dispatcher::new());
        let mut uow = work.read().await.unwrap();
        let rows = uow.connection().await.unwrap().list("ledger").unwrap();
        rows.into_iter()
            .map(|row| (row.id.to_string(), serde_json::from_slice(&row.bytes).unwrap()))
            .collect()
    }

    pub(crate) async fn of(&self, key: &str) -> Vec<u32> {
        self.ledger().await.remove(key).unwrap_or_default()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counters.read()
    }

    pub(crate) async fn dead(&self) -> Vec<(String, u32, String)> {
        let dead = self.store.dead_letters(100).await.unwrap();
        dead.into_iter().map(|dead| (dead.envelope.id.as_str().into(), dead.attempts, dead.reason)).collect()
    }

    pub(crate) async fn requeue(&self, id: &str) {
        let side = Side::Subscription(NAME.into());
        assert!(
            self.store.requeue(&side, SOURCE, &EventId::from(id)).await.unwrap(),
            "{id} is no dead letter"
        );
    }

    pub(crate) async fn discard(&self, id: &str) {
        let side = Side::Subscription(NAME.into());
        assert!(
            self.store.discard(&side, SOURCE, &EventId::from(id)).await.unwrap(),
            "{id} is no dead letter"
        );
    }

    /// Waits until the store says so; the clock may go on meanwhile.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, mut holds: impl FnMut() -> F) {
        while !holds().await {
            pass(Duration::from_millis(10)).await;
        }
    }
}

/// A receiver at work.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }

    /// As a crash would: nothing is handed back by anybody.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn ends(self) {
        self.task.await.unwrap();
    }
}

/// Lets the virtual clock go on, and everybody do what they do meanwhile.
pub(crate) async fn pass(time: Duration) {
    tokio::time::timeout(time, std::future::pending::<()>()).await.unwrap_err();
}

/// Fails a test that would hang.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(36_000), future).await.expect("it hangs")
}
