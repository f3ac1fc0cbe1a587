//! The manners of the store in memory that no suite can ask of every store.

mod support;

use std::sync::Arc;
use std::time::Duration;

use factum::integration::Inspect as _;
use factum::memory::{CommitFault, MemoryError, MemoryStore, StatementFault};
use factum::port::{Asked, BucketSet, OutboxStore as _, Read, Timer};
use factum::{BoxFuture, Dispatcher, Error, Sort, Work};
use support::*;

fn work(store: &MemoryStore) -> Work<MemoryStore> {
    Work::new(ORDERING, store.clone(), Dispatcher::new())
}

const ALL: Read =
    Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 100, bytes_max: 1 << 20 };

#[tokio::test]
async fn the_second_of_two_writers_is_told_at_once_that_its_version_is_stale() {
    let store = stocked().await;
    let (mut one, mut two) = (work(&store).begin().await.unwrap(), work(&store).begin().await.unwrap());
    let (a, b) = (one.load::<Stock>(&pen()).await.unwrap(), two.load::<Stock>(&pen()).await.unwrap());
    one[a].give(1);
    two[b].give(1);
    let _ = one.save_changes().await.unwrap();
    let error = two.save_changes().await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { aggregate: "Stock", .. }), "{error}");
    assert_eq!((left(&store, &pen()).await, store.open_transactions()), (Some(6), 0));
}

#[tokio::test]
async fn a_commit_that_rests_on_an_outdated_read_is_refused_and_worth_another_run() {
    let store = stocked().await;
    let (mut one, mut two) = (work(&store).begin().await.unwrap(), work(&store).begin().await.unwrap());
    let a = one.load::<Stock>(&pen()).await.unwrap();
    two.load::<Stock>(&pen()).await.unwrap();
    let b = two.load::<Stock>(&ink()).await.unwrap();
    one[a].give(1);
    two[b].give(1);
    let _ = one.save_changes().await.unwrap();
    let error = two.save_changes().await.unwrap_err();
    assert_eq!(error.sort::<MemoryStore>(), Sort::Transient, "{error}");
    assert!(error.to_string().contains("document pen of stock"), "{error}");
    assert_eq!(left(&store, &ink()).await, Some(9));
}

#[tokio::test]
async fn a_row_that_appeared_in_a_listed_collection_is_noticed() {
    let store = stocked().await;
    let mut uow = work(&store).begin().await.unwrap();
    assert_eq!(uow.connection().await.unwrap().list("stock").unwrap().len(), 2);
    uow.add(Order::place(1, pen(), 1));
    let mut rival = work(&store).begin().await.unwrap();
    rival.add(Stock::new(sku("nib"), 1));
    let _ = rival.save_changes().await.unwrap();
    let error = uow.save_changes().await.unwrap_err();
    assert!(error.to_string().contains("collection stock"), "{error}");
}

#[tokio::test]
async fn a_snapshot_stays_while_others_commit_and_nothing_is_kept_after_it() {
    let store = stocked().await;
    let mut reader = work(&store).read().await.unwrap();
    let names =
        |rows: Vec<factum::memory::Row>| rows.into_iter().map(|row| row.id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(reader.connection().await.unwrap().list("stock").unwrap()), ["ink", "pen"]);
    for _ in 0..3 {
        let mut uow = work(&store).begin().await.unwrap();
        let (pen, ink) = (uow.load::<Stock>(&pen()).await.unwrap(), uow.find::<Stock>(&ink()).await.unwrap());
        uow[pen].give(1);
        ink.into_iter().for_each(|ink| uow.remove(ink));
        let _ = uow.save_changes().await.unwrap();
    }
    assert_eq!(names(reader.connection().await.unwrap().list("stock").unwrap()), ["ink", "pen"]);
    let stock = reader.load::<Stock>(&pen()).await.unwrap();
    assert_eq!(reader[stock].left(), 5);
    reader.roll_back().await;
    assert_eq!((left(&store, &pen()).await, left(&store, &ink()).await), (Some(8), None));
}

#[tokio::test]
async fn a_scan_sees_what_its_own_transaction_wrote_and_deleted() {
    let store = stocked().await;
    let mut uow = work(&store).begin().await.unwrap();
    let ink = uow.load::<Stock>(&ink()).await.unwrap();
    uow.remove(ink);
    uow.add(Stock::new(sku("nib"), 1));
    uow.add(Stock::new(sku("ant"), 1));
    uow.write_changes().await.unwrap();
    let connection = uow.connection().await.unwrap();
    let mut scan = |after, most| {
        let rows = connection.scan("stock", after, most).unwrap();
        rows.into_iter().map(|row| row.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(scan("", 9), ["ant", "nib", "pen"]);
    assert_eq!(scan("", 2), ["ant", "nib"]);
    assert_eq!(scan("ant", 1), ["nib"]);
    assert_eq!(scan("nib", 5), ["pen"]);
}

/// A clock that stands still.
struct Stopped(Duration);

impl Timer for Stopped {
    fn now(&self) -> Duration {
        self.0
    }
    fn sleep_until(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn leases_run_by_the_clock_that_was_given() {
    let store = MemoryStore::with_timer(Arc::new(Stopped(Duration::from_secs(1000))));
    let second = Duration::from_secs(1);
    let all = Asked { duration: second, most: 64, give_back: BucketSet::NONE };
    assert_eq!(store.lease("one", all).await.unwrap().leases.len(), 64);
    assert_eq!(store.lease("two", all).await.unwrap().leases, []);
    store.advance_clock(second);
    assert_eq!(store.lease("two", all).await.unwrap().leases.len(), 64);
}

#[tokio::test]
async fn who_only_reads_loses_no_race_and_meets_no_fault() {
    let store = stocked().await;
    let mut reader = work(&store).begin().await.unwrap();
    reader.load::<Stock>(&pen()).await.unwrap();
    let mut uow = work(&store).begin().await.unwrap();
    let stock = uow.load::<Stock>(&pen()).await.unwrap();
    uow[stock].give(1);
    let _ = uow.save_changes().await.unwrap();
    store.fail_next_commit(CommitFault::Permanent);
    let _ = reader.save_changes().await.unwrap();
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Stock::new(sku("nib"), 1));
    uow.save_changes().await.unwrap_err();
}

#[tokio::test]
async fn faults_come_when_they_are_asked_for_and_once() {
    let (store, work) = shop().await;
    for (fault, kept) in [
        (CommitFault::Transient, false),
        (CommitFault::Permanent, false),
        (CommitFault::UnknownAndLost, false),
        (CommitFault::UnknownAndKept, true),
    ] {
        store.fail_next_commit(fault);
        let mut uow = work.begin().await.unwrap();
        let order = if kept { 2 } else { 1 };
        uow.add(Order::place(order, pen(), 1));
        let error = uow.save_changes().await.unwrap_err();
        let is_unknown = matches!(fault, CommitFault::UnknownAndLost | CommitFault::UnknownAndKept);
        assert_eq!(error.sort::<MemoryStore>() == Sort::OutcomeUnknown, is_unknown, "{fault:?}: {error}");
        assert_eq!(quantity(&store, order).await.is_some(), kept, "{fault:?}");
        assert_eq!(store.read(ALL).await.unwrap().rows.len(), usize::from(kept), "{fault:?}");
    }
    let mut uow = work.begin().await.unwrap();
    uow.add(Order::place(1, pen(), 1));
    let _ = uow.save_changes().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_ends_the_transaction_leaves_nothing_to_commit() {
    let store = stocked().await;
    let mut uow = work(&store).begin().await.unwrap();
    store.fail_statement(1, StatementFault::Fatal);
    let connection = uow.connection().await.unwrap();
    connection.get("stock", "pen").unwrap();
    connection.get("stock", "ink").unwrap_err();
    assert!(matches!(connection.get("stock", "pen"), Err(MemoryError::Aborted { .. })));
    uow.announce(&OrderPlacedV1 { order: 1, quantity: 1 }).unwrap();
    let error = uow.save_changes().await.unwrap_err();
    assert_eq!(error.sort::<MemoryStore>(), Sort::Permanent, "{error}");
    assert_eq!(store.backlog().await.unwrap().outbox, 0);
}

#[tokio::test]
async fn a_relay_is_woken_by_a_commit_that_announces_and_by_no_other() {
    let store = stocked().await;
    let hint = tokio::spawn({
        let store = store.clone();
        async move { store.hint().await }
    });
    tokio::task::yield_now().await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Stock::new(sku("nib"), 1));
    let _ = uow.save_changes().await.unwrap();
    tokio::task::yield_now().await;
    assert!(!hint.is_finished());
    let mut uow = work(&store).begin().await.unwrap();
    uow.announce(&OrderPlacedV1 { order: 1, quantity: 1 }).unwrap();
    let _ = uow.save_changes().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), hint).await.unwrap().unwrap();
}

#[tokio::test]
async fn f_15_two_stores_in_one_process_know_nothing_of_each_other() {
    let (one, two) = (MemoryStore::new(), MemoryStore::new());
    for (store, quantity) in [(&one, 1), (&two, 2)] {
        let mut uow = work(store).begin().await.unwrap();
        uow.add(Order::place(1, pen(), quantity));
        uow.announce(&OrderPlacedV1 { order: 1, quantity }).unwrap();
        let _ = uow.save_changes().await.unwrap();
    }
    assert_eq!((quantity(&one, 1).await, quantity(&two, 1).await), (Some(1), Some(2)));
    for store in [&one, &two] {
        let rows = store.read(ALL).await.unwrap().rows;
        assert_eq!((rows.len(), rows[0].seq), (1, 1));
    }
}
