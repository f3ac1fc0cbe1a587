//! What the relay's tests share: rows in a memory store, and a bus that does what its script says.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum::integration::{Answer, Capabilities, Confirm, Deliveries, Interest, Publication};
use factum::memory::MemoryStore;
use factum::port::{Access, Intent, Store as _};
use factum::{BoxError, BoxFuture, Envelope, EventBus};
use factum_runtime::{Relay, RelayStats, TokioTimer};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) const SOURCE: &str = "https://shop.example/ordering";
pub(crate) const TYPE: &str = "com.example.shop.ordering.order-placed.v1";

/// What the bus does with an envelope, given its id and how often it came before.
type Script = dyn Fn(&Envelope, u32) -> Act + Send + Sync;

pub(crate) enum Act {
    Answer(Answer),
    /// Holds on to the `Confirm`, until it is let go.
    Keep,
    /// Lets go of the `Confirm` without an answer.
    Drop,
}

pub(crate) const CONFIRM: Act = Act::Answer(Answer::Confirmed);

pub(crate) fn refuse() -> Act {
    Act::Answer(Answer::Refused("it is not to my taste".into()))
}

#[derive(Default)]
struct Seen {
    /// Ids in the order in which they were confirmed.
    confirmed: Vec<String>,
    /// How often each came.
    came: HashMap<String, u32>,
    kept: Vec<(String, Confirm)>,
    unreachable: bool,
    most_kept: usize,
}

/// A bus with a script.
pub(crate) struct FakeBus {
    script: Box<Script>,
    seen: Mutex<Seen>,
    changed: watch::Sender<u64>,
}

impl FakeBus {
    pub(crate) fn new(script: impl Fn(&Envelope, u32) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), seen: Mutex::default(), changed: watch::Sender::new(0) })
    }

    pub(crate) fn unreachable(&self, unreachable: bool) {
        self.seen.lock().unwrap().unreachable = unreachable;
    }

    pub(crate) fn confirmed(&self) -> Vec<String> {
        self.seen.lock().unwrap().confirmed.clone()
    }

    /// Confirmed ids by key, in order; the id is `key/n`.
    pub(crate) fn confirmed_by_key(&self) -> BTreeMap<String, Vec<u32>> {
        let mut by_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for id in self.confirmed() {
            let (key, n) = id.split_once('/').unwrap();
            by_key.entry(key.into()).or_default().push(n.parse().unwrap());
        }
        by_key
    }

    pub(crate) fn came(&self, id: &str) -> u32 {
        self.seen.lock().unwrap().came.get(id).copied().unwrap_or(0)
    }

    pub(crate) fn most_kept(&self) -> usize {
        self.seen.lock().unwrap().most_kept
    }

    /// Answers what it held on to.
    pub(crate) fn let_go(&self, answer: &Answer) {
        let kept = std::mem::take(&mut self.seen.lock().unwrap().kept);
        for (id, confirm) in kept {
            if *answer == Answer::Confirmed {
                self.seen.lock().unwrap().confirmed.push(id);
            }
            confirm.answer(answer.clone());
        }
        self.changed.send_modify(|n| *n += 1);
    }

    /// Waits until what it saw fulfils a condition.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        while !holds(self) {
            changed.changed().await.unwrap();
        }
    }

    fn accept(&self, Publication { envelope, confirm }: Publication) {
        let id = envelope.id.to_string();
        let before = {
            let mut seen = self.seen.lock().unwrap();
            let came = seen.came.entry(id.clone()).or_default();
            *came += 1;
            *came - 1
        };
        match (self.script)(&envelope, before) {
            Act::Answer(answer) => {
                if answer == Answer::Confirmed {
                    self.seen.lock().unwrap().confirmed.push(id);
                }
                confirm.answer(answer);
            }
            Act::Keep => {
                let mut seen = self.seen.lock().unwrap();
                seen.kept.push((id, confirm));
                seen.most_kept = seen.most_kept.max(seen.kept.len());
            }
            Act::Drop => drop(confirm),
        }
    }
}

impl EventBus for FakeBus {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let unreachable = self.seen.lock().unwrap().unreachable;
            if !unreachable {
                batch.into_iter().for_each(|publication| self.accept(publication));
            }
            self.changed.send_modify(|n| *n += 1);
            if unreachable { Err("nobody is there".into()) } else { Ok(()) }
        })
    }

    fn subscribe<'a>(&'a self, _: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async { Err("it only takes".into()) })
    }

    fn close<'a>(&'a self, _: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// A store whose leases run by the runtime's clock, which a test can pause.
pub(crate) fn store() -> MemoryStore {
    MemoryStore::with_timer(Arc::new(TokioTimer::new()))
}

/// An envelope with the id `key/n`.
pub(crate) fn envelope(key: &str, n: u32) -> Envelope {
    let mut envelope = Envelope::new(format!("{key}/{n}").as_str(), SOURCE, TYPE, b"{}".as_slice());
    envelope.partitionkey = Some(key.into());
    envelope
}

/// Commits envelopes in one transaction.
pub(crate) async fn commit(store: &MemoryStore, envelopes: Vec<Envelope>) {
    let intent = Intent { access: Access::Write, who: "a test".into() };
    let tx = store.begin(&intent).await.unwrap();
    assert!(MemoryStore::commit(tx, envelopes).await.is_ok());
}

/// A relay at work, and how to end it.
pub(crate) struct Running {
    task: JoinHandle<()>,
    shutdown: oneshot::Sender<()>,
    pub(crate) stats: RelayStats,
}

impl Running {
    pub(crate) async fn shut_down(self) {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap();
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub(crate) fn start(relay: Relay) -> Running {
    let (shutdown, shut_down) = oneshot::channel::<()>();
    let stats = relay.stats();
    let task = tokio::spawn(async move {
        let ended = relay.run(async move { _ = shut_down.await }).await;
        ended.unwrap();
    });
    Running { task, shutdown, stats }
}

pub(crate) fn relay(store: &MemoryStore, bus: &Arc<FakeBus>) -> Relay {
    Relay::new(Arc::new(store.clone()), Arc::clone(bus) as Arc<dyn EventBus>)
}

pub(crate) async fn in_time<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(Duration::from_secs(900), waiting).await else {
        panic!("waited too long for {what}");
    };
    value
}

/// Lets the paused clock run on; nobody really waits.
pub(crate) async fn pass(time: Duration) {
    let nothing = tokio::time::timeout(time, std::future::pending::<()>());
    assert!(nothing.await.is_err());
}
