//! What the cases share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use factum::integration::{DeadLetter, Side};
use factum::port::{Asked, BucketSet, Lease, OutboxRow, Read};
use factum::{BoxError, Dispatcher, Envelope, IntegrationEvent as _, Subscription, Timestamp, Work};

use super::WholeStore;
use super::model::{Count, Item, ItemGrownV1};

/// The service under test.
pub(super) const HERE: &str = "https://conformance.example/here";
/// Another service, whose events arrive.
pub(super) const THERE: &str = "https://conformance.example/there";
/// Longer than any case takes.
pub(super) const LONG: Duration = Duration::from_secs(3600);

pub(super) fn work<S: WholeStore>(store: &S) -> Work<S> {
    work_with(store, Dispatcher::new())
}

/// Tries for as long as it takes: how often a race is lost is not what a case is about.
pub(super) fn work_with<S: WholeStore>(store: &S, dispatcher: Dispatcher<S>) -> Work<S> {
    Work::new(HERE, store.clone(), dispatcher).limits(|limits| {
        limits.attempts = 10_000;
        limits.backoff = Duration::from_micros(200);
    })
}

pub(super) const ALL: Read =
    Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 10_000, bytes_max: 64 << 20 };

/// Every bucket that is free.
pub(super) const EVERYTHING: Asked = Asked { duration: LONG, most: 64, give_back: BucketSet::NONE };

/// What `owner` holds after asking for everything.
pub(super) async fn lease<S: WholeStore>(store: &S, owner: &str) -> Vec<Lease> {
    store.lease(owner, EVERYTHING).await.expect("the store leases").leases
}

pub(super) async fn outbox<S: WholeStore>(store: &S) -> Vec<OutboxRow> {
    store.read(ALL).await.expect("the outbox can be read").rows
}

/// Of the rows in the outbox.
pub(super) async fn texts<S: WholeStore>(store: &S) -> Vec<String> {
    outbox(store).await.iter().map(|row| text_of(&row.envelope)).collect()
}

pub(super) fn text_of(envelope: &Envelope) -> String {
    let event: ItemGrownV1 = serde_json::from_slice(&envelope.data).expect("an ItemGrownV1");
    event.text
}

/// Announces these in one unit of work, each under its key.
pub(super) async fn announce<S: WholeStore>(store: &S, events: &[(&str, &str)]) {
    let mut uow = work(store).begin().await.expect("a unit of work");
    for (item, text) in events {
        uow.announce(&ItemGrownV1::of(*item, *text)).expect("it can be announced");
    }
    let _ = uow.save_changes().await.expect("it commits");
}

/// An envelope of another service.
pub(super) fn arriving(id: &str, item: &str, text: &str) -> Arc<Envelope> {
    let data = serde_json::to_vec(&ItemGrownV1::of(item, text)).expect("JSON");
    let mut envelope = Envelope::new(id, THERE, ItemGrownV1::TYPE, data);
    envelope.partitionkey = Some(item.into());
    envelope.time = Timestamp::from_micros(883_612_800_000_001);
    Arc::new(envelope)
}

/// What an item is worth, as committed.
pub(super) async fn value<S: WholeStore>(store: &S, id: &str) -> Option<i64> {
    let mut uow = work(store).read().await.expect("a snapshot");
    let item = uow.find::<Item>(&id.into()).await.expect("it can be read")?;
    let value = uow[item].value();
    uow.roll_back().await;
    Some(value)
}

/// What is written on an item, as committed.
pub(super) async fn note<S: WholeStore>(store: &S, id: &str) -> String {
    let mut uow = work(store).read().await.expect("a snapshot");
    let item = uow.find::<Item>(&id.into()).await.expect("it can be read");
    let note = item.map(|item| uow[item].note().trim_end().to_owned());
    uow.roll_back().await;
    note.unwrap_or_default()
}

/// How many items there are, as committed.
pub(super) async fn items<S: WholeStore>(store: &S) -> usize {
    let mut uow = work(store).read().await.expect("a snapshot");
    let page = uow.scan::<Item>("", 10_000).await.expect("it can be read");
    uow.roll_back().await;
    page.len()
}

/// Nothing was ever committed.
pub(super) async fn assert_no_trace<S: WholeStore>(store: &S) {
    let backlog = store.backlog().await.expect("it can be counted");
    assert_eq!((items(store).await, texts(store).await), (0, Vec::new()));
    let counts = (backlog.outbox, backlog.inbox, backlog.dead_letters, backlog.parked);
    assert_eq!(counts, (0, 0, 0, 0));
}

pub(super) fn subscription<S: WholeStore>(name: &str, count: &Count) -> Subscription<S> {
    Subscription::named(name).on::<ItemGrownV1>(count.clone())
}

pub(super) fn dead(subscription: &str, envelope: &Envelope) -> DeadLetter {
    let side = Side::Subscription(subscription.into());
    let at = Timestamp::from_micros(883_612_800_000_002);
    DeadLetter::new(side, envelope.clone(), "it will never do".into(), 3, at)
}

/// Looks at the outbox from a task of its own, over and over.
pub(super) struct Watch {
    looks: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<Vec<usize>, BoxError>>,
}

impl Watch {
    /// Begins to look.
    pub(super) fn over<S: WholeStore>(store: &S) -> Self {
        let (looks, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let task = tokio::spawn({
            let (store, looks, stop) = (store.clone(), Arc::clone(&looks), Arc::clone(&stop));
            async move {
                let mut seen = vec![0];
                while !stop.load(Ordering::SeqCst) {
                    let rows = store.read(ALL).await?.rows.len();
                    let backlog = store.backlog().await?.outbox;
                    seen.extend([rows, usize::try_from(backlog)?]);
                    looks.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                Ok(seen)
            }
        });
        Self { looks, stop, task }
    }

    /// A future that ends when it has looked three times more: the last two of them began after this call.
    pub(super) fn looks_again(&self) -> impl Future<Output = ()> + Send + 'static {
        let looks = Arc::clone(&self.looks);
        async move {
            let until = looks.load(Ordering::SeqCst) + 3;
            while looks.load(Ordering::SeqCst) < until {
                tokio::task::yield_now().await;
            }
        }
    }

    /// How often it has looked so far.
    pub(super) fn looks(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.looks)
    }

    /// Ends it; answers all numbers of rows that it saw.
    pub(super) async fn seen(self) -> Vec<usize> {
        self.stop.store(true, Ordering::SeqCst);
        let mut seen = self.task.await.expect("it looked to the end").expect("it could look");
        seen.sort_unstable();
        seen.dedup();
        seen
    }
}

/// Says why a case has nothing to ask.
pub(super) fn not_asked(case: &str, why: &str) {
    eprintln!("{case}: not asked of this store: {why}");
}
