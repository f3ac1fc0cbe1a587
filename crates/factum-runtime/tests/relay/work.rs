//! What it does while nothing goes wrong.

use factum::integration::{Answer, Backlog, Inspect as _, OnDeadLetter};
use factum::memory::MemoryBus;
use factum::memory::MemoryStore;
use factum::port::{Asked, BucketSet, Lease, OutboxStore as _, Settlement};
use factum::{Dispatcher, Work};
use factum_runtime::{AnsweredBatch, PublishedBatch, Relay, RelayCounts, RelayMetrics, Service, TokioTimer};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{Act, CONFIRM, FakeBus, commit, envelope, in_time, pass, relay, start, store};

/// What `owner` holds after asking for everything.
async fn lease(store: &MemoryStore, owner: &str, seconds: u64) -> Vec<Lease> {
    let asked = Asked { duration: Duration::from_secs(seconds), most: 64, give_back: BucketSet::NONE };
    store.lease(owner, asked).await.unwrap().leases
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_published_in_order_and_leaves_the_outbox() {
    let (store, bus) = (store(), FakeBus::new(|_, _| CONFIRM));
    let running = start(relay(&store, &bus));
    for n in 0..50 {
        commit(&store, (0..4).map(|key| envelope(&format!("k{key}"), n)).collect()).await;
    }
    in_time("an empty outbox", store.drained()).await;
    for (key, published) in bus.confirmed_by_key() {
        assert_eq!(published, (0..50).collect::<Vec<_>>(), "key {key}");
    }
    assert_eq!(bus.confirmed().len(), 200);
    let counts = running.stats.now();
    assert_eq!((counts.published, counts.confirmed, counts.kept), (200, 200, 0));
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_this_process_is_published_before_the_next_poll() {
    let (store, bus) = (store(), FakeBus::new(|_, _| CONFIRM));
    let running = start(relay(&store, &bus));
    // Idle for long, so that the poll has become slow.
    tokio::time::advance(Duration::from_secs(60)).await;
    commit(&store, vec![envelope("k", 0)]).await;
    let began = tokio::time::Instant::now();
    in_time("the hint", bus.until(|bus| bus.came("k/0") == 1)).await;
    assert!(began.elapsed() < Duration::from_millis(20), "it took {:?}", began.elapsed());
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_answered_does_not_hold_up_the_others_and_memory_stays_bounded() {
    let (store, bus) = (
        store(),
        FakeBus::new(|envelope, _| if envelope.ordering_key() == "slow" { Act::Keep } else { CONFIRM }),
    );
    for n in 0..20_000 {
        commit(&store, vec![envelope("slow", n)]).await;
    }
    commit(&store, (0..100).map(|n| envelope(&format!("quick{n}"), 0)).collect()).await;
    let running = start(relay(&store, &bus));
    in_time("the quick keys", bus.until(|bus| bus.confirmed().len() == 100)).await;
    assert_eq!(bus.most_kept(), 1, "of a key one envelope is on its way");
    let kept = running.stats.now().kept;
    assert!(kept <= 4_096, "{kept} envelopes in memory");
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn two_relays_share_one_store_and_publish_nothing_twice() {
    let (store, bus) = (store(), FakeBus::new(|_, _| CONFIRM));
    let [one, other] = [start(relay(&store, &bus)), start(relay(&store, &bus))];
    for n in 0..100 {
        commit(&store, (0..20).map(|key| envelope(&format!("k{key}"), n)).collect()).await;
        tokio::time::advance(Duration::from_millis(37)).await;
    }
    in_time("an empty outbox", store.drained()).await;
    assert_eq!(bus.confirmed().len(), 2_000);
    assert!(bus.confirmed_by_key().values().all(|published| *published == (0..100).collect::<Vec<_>>()));
    one.shut_down().await;
    other.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn f_46_what_a_dead_relay_held_is_taken_over_when_its_lease_is_over() {
    let (store, bus) = (store(), FakeBus::new(|_, _| CONFIRM));
    let dead = start(relay(&store, &bus));
    commit(&store, vec![envelope("k", 0)]).await;
    in_time("the first", store.drained()).await;
    dead.kill().await;
    let began = tokio::time::Instant::now();
    let heir = start(relay(&store, &bus));
    commit(&store, vec![envelope("k", 1)]).await;
    in_time("the takeover", store.drained()).await;
    assert!(began.elapsed() <= Duration::from_secs(11), "it took {:?}", began.elapsed());
    heir.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_answers_writes_them_down_and_frees_the_buckets() {
    let (store, bus) = (store(), FakeBus::new(|_, _| Act::Keep));
    let running = start(relay(&store, &bus));
    commit(&store, vec![envelope("k", 0), envelope("k", 1), envelope("j", 0)]).await;
    in_time("both keys at the bus", bus.until(|bus| bus.most_kept() == 2)).await;
    let (ended, ()) = tokio::join!(in_time("the end", running.shut_down()), async {
        pass(Duration::from_secs(2)).await;
        bus.let_go(&Answer::Confirmed);
    });
    let () = ended;
    assert_eq!(store.backlog().await.unwrap().outbox, 1, "k/1 was not begun any more, and stays");
    assert_eq!(lease(&store, "somebody else", 1).await.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_without_answers_ends_at_its_deadline_and_leaves_the_rows() {
    let (store, bus) = (store(), FakeBus::new(|_, _| Act::Keep));
    let running = start(relay(&store, &bus).options(|o| o.shutdown = Duration::from_secs(3)));
    commit(&store, vec![envelope("k", 0)]).await;
    in_time("it at the bus", bus.until(|bus| bus.most_kept() == 1)).await;
    let began = tokio::time::Instant::now();
    in_time("the end", running.shut_down()).await;
    assert!(began.elapsed() >= Duration::from_secs(3) && began.elapsed() < Duration::from_secs(4));
    assert_eq!(store.backlog().await.unwrap().outbox, 1);
}

#[tokio::test(start_paused = true)]
async fn f_43_a_late_settlement_of_a_relay_that_lost_its_lease_changes_nothing() {
    let (store, bus) = (store(), FakeBus::new(|_, _| Act::Keep));
    let leases = lease(&store, "paused", 10).await;
    commit(&store, vec![envelope("k", 0)]).await;
    let heir = start(relay(&store, &bus));
    in_time("the heir", bus.until(|bus| bus.came("k/0") == 1)).await;
    let late = Settlement { confirmed: vec![1], ..Settlement::default() };
    assert_eq!(store.settle("paused", &leases, &late).await.unwrap(), 0);
    assert_eq!(store.backlog().await.unwrap().outbox, 1);
    bus.let_go(&Answer::Confirmed);
    in_time("the heir's own settlement", store.drained()).await;
    assert_eq!(bus.came("k/0"), 1);
    heir.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_lease_was_lost_leaves_the_row_to_its_new_owner() {
    let (store, bus) = (store(), FakeBus::new(|_, _| Act::Keep));
    let running = start(relay(&store, &bus));
    commit(&store, vec![envelope("k", 0)]).await;
    in_time("it at the bus", bus.until(|bus| bus.came("k/0") == 1)).await;
    // The store's clock says that it slept; somebody else is quicker.
    store.advance_clock(Duration::from_secs(60));
    assert_eq!(lease(&store, "heir", 600).await.len(), 64);
    bus.let_go(&Answer::Confirmed);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(store.backlog().await.unwrap().outbox, 1, "the row is the heir's");
    assert_eq!(running.stats.now().settled, 0);
    running.shut_down().await;
}

#[tokio::test]
async fn numbers_that_contradict_each_other_are_refused_at_the_start() {
    let (store, bus) = (store(), FakeBus::new(|_, _| CONFIRM));
    let wrong: [fn(Relay) -> Relay; 5] = [
        |relay| relay.options(|o| o.renew = o.lease),
        |relay| relay.options(|o| o.batch.rows = 0),
        |relay| relay.options(|o| o.poll_least = Duration::from_secs(2)),
        |relay| relay.options(|o| o.rescan = Duration::from_millis(1)),
        |relay| relay.options(|o| o.take_over = Duration::ZERO),
    ];
    for change in wrong {
        let relay = change(Relay::new(Arc::new(store.clone()), bus.clone()));
        assert!(matches!(relay.run(std::future::pending()).await, Err(factum::Error::Misconfigured { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_that_the_relay_never_ran_instead_of_waiting_for_ever() {
    let store = store();
    commit(&store, vec![envelope("k", 0)]).await;
    let work = Work::new("https://shop.example/ordering", store, Dispatcher::new());
    let bus = MemoryBus::new(TokioTimer::new());
    let running = Service::new(work).relay(|options| options.batch.rows = 0).start(&bus).await.unwrap();
    let drained = in_time("the reason", running.drain()).await;
    assert!(matches!(drained, Err(factum::Error::Misconfigured { .. })), "{drained:?}");
}

#[derive(Default)]
struct Seen {
    published: AtomicUsize,
    confirmed: AtomicUsize,
    settled: AtomicUsize,
    refused: AtomicUsize,
    given_up: AtomicUsize,
    buckets: AtomicUsize,
    waiting: AtomicUsize,
    slowest: Mutex<Duration>,
}

impl RelayMetrics for Seen {
    fn published(&self, batch: &PublishedBatch) {
        assert!(batch.data_bytes > 0);
        self.published.fetch_add(batch.envelopes, Ordering::SeqCst);
    }

    fn answered(&self, batch: &AnsweredBatch) {
        self.confirmed.fetch_add(batch.confirmed, Ordering::SeqCst);
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = batch.latency_max.max(*slowest);
        assert!(batch.latency_sum >= batch.latency_max);
    }

    fn settled(&self, rows: usize) {
        self.settled.fetch_add(rows, Ordering::SeqCst);
    }

    fn refused(&self, attempts: u32) {
        self.refused.fetch_max(attempts as usize, Ordering::SeqCst);
    }

    fn given_up(&self, r#type: &str, policy: OnDeadLetter) {
        assert_eq!((r#type, policy), (crate::world::TYPE, OnDeadLetter::Park));
        self.given_up.fetch_add(1, Ordering::SeqCst);
    }

    fn leases(&self, buckets: usize, relays: usize) {
        assert_eq!(relays, 1);
        self.buckets.store(buckets, Ordering::SeqCst);
    }

    fn backlog(&self, backlog: &Backlog) {
        self.waiting.fetch_max(backlog.outbox as usize, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_collects_metrics_is_told_what_is_published_answered_refused_and_left() {
    let store = store();
    let bus = FakeBus::new(|envelope, _| match envelope.ordering_key() {
        "poison" => crate::world::refuse(),
        _ => CONFIRM,
    });
    let seen = Arc::new(Seen::default());
    let relay = Relay::new(Arc::new(store.clone()), Arc::clone(&bus) as Arc<dyn factum::EventBus>)
        .options(|options| options.attempts_max = 3)
        .metrics(Arc::clone(&seen) as Arc<dyn RelayMetrics>)
        .inspect(Arc::new(store.clone()), Duration::from_secs(1));
    let running = start(relay);
    commit(
        &store,
        (0..20).map(|n| envelope("k", n)).chain([envelope("poison", 0), envelope("poison", 1)]).collect(),
    )
    .await;
    in_time("an outbox with what is parked", running.stats.until(|now| now.given_up == 1)).await;
    in_time("a look", async {
        while seen.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.shut_down().await;
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    assert_eq!((count(&seen.published), count(&seen.confirmed)), (23, 20));
    assert_eq!((count(&seen.settled), count(&seen.refused), count(&seen.given_up)), (23, 2, 1));
    assert_eq!(count(&seen.buckets), 64);
}

#[tokio::test(start_paused = true)]
async fn a_service_tells_and_counts_what_its_relay_does() {
    let store = store();
    commit(&store, (0..20).map(|n| envelope("k", n)).collect()).await;
    let work = Work::new("https://shop.example/ordering", store.clone(), Dispatcher::new());
    let bus = MemoryBus::new(TokioTimer::new());
    let seen = Arc::new(Seen::default());
    // Nobody takes them, so that all stay in the outbox.
    let service = Service::new(work.clone())
        .metrics(Arc::clone(&seen) as Arc<dyn RelayMetrics>)
        .inspect(Duration::from_secs(1));
    let running = service.start(&bus).await.unwrap();
    in_time("its leases", running.relay_stats().until(|now| now.buckets == 64)).await;
    pass(Duration::from_secs(3)).await;
    let published = running.relay_stats().now().published;
    assert_eq!(published, seen.published.load(Ordering::SeqCst) as u64);
    assert!(published > 0);
    assert_eq!((seen.waiting.load(Ordering::SeqCst), seen.buckets.load(Ordering::SeqCst)), (20, 64));
    running.stop().await.unwrap();

    let receiving = Service::new(work).without_relay().start(&bus).await.unwrap();
    assert_eq!(receiving.relay_stats().now(), RelayCounts::default());
    receiving.stop().await.unwrap();
}
