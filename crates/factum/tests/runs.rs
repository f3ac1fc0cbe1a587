//! Runs: again after a lost race, never after the rules have spoken; futures are `Send` in generic code, too.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};

use factum::memory::{CommitFault, MemoryStore};
use factum::port::{BucketSet, OutboxStore as _, Read};
use factum::{
    BoxError, Committed, Context, Dispatcher, Entity as _, Handler, IntegrationEvent as _, Outcome, Persist,
    Sort, Store, Tracked, Work,
};
use support::*;

fn is_send<T: Send>(value: T) -> T {
    value
}

/// Generic over the store, as library code would be.
async fn restock<S: Store>(uow: &mut factum::UnitOfWork<S>, sku: &Sku) -> Result<Tracked<Stock>, BoxError>
where
    Stock: Persist<S>,
{
    let stock = uow.load::<Stock>(sku).await?;
    uow[stock].give(100);
    uow.write_changes().await?;
    Ok(stock)
}

/// Generic over the aggregate.
async fn touch_all<S: Store, A: Persist<S>>(
    uow: &mut factum::UnitOfWork<S>,
    ids: &[A::Id],
    change: impl Fn(&mut A),
) -> Outcome {
    for id in ids {
        let key = uow.load::<A>(id).await?;
        change(&mut uow[key]);
    }
    Ok(())
}

async fn restock_all<S: Store>(work: Work<S>) -> Result<i64, BoxError>
where
    Stock: Persist<S>,
{
    let mut uow = work.begin().await?;
    let stock = restock(&mut uow, &pen()).await?;
    touch_all::<S, Stock>(&mut uow, &[pen(), ink()], |stock| stock.give(1)).await?;
    let left = uow[stock].left();
    let _ = uow.save_changes().await?;
    Ok(left)
}

/// `run` stays `Send` inside generic code, with borrowed captures.
async fn run_generic<S: Store>(work: Work<S>, wanted: &Sku, n: i64) -> Result<i64, BoxError>
where
    Stock: Persist<S>,
{
    let left = work
        .run(async |uow| {
            let stock = restock(uow, wanted).await?;
            uow[stock].give(n);
            Ok(uow[stock].left())
        })
        .await?;
    Ok(left.into_inner())
}

fn spawn_generic<S: Store>(work: Work<S>) -> [tokio::task::JoinHandle<Result<i64, BoxError>>; 2]
where
    Stock: Persist<S>,
{
    let other = work.clone();
    [tokio::spawn(restock_all(work)), tokio::spawn(async move { run_generic(other, &sku("nib"), 7).await })]
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_are_send_in_generic_code() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    uow.add(Stock::new(sku("nib"), 1));
    let _ = uow.save_changes().await.unwrap();
    let [all, one] = spawn_generic(work);
    assert_eq!((all.await.unwrap().unwrap(), one.await.unwrap().unwrap()), (106, 108));
    assert_eq!((left(&store, &pen()).await, left(&store, &ink()).await), (Some(106), Some(10)));
}

/// A handler may even open a unit of work of its own; that one commits on its own, too.
struct Audit(Work<MemoryStore>);

impl Handler<OrderPlaced, MemoryStore> for Audit {
    async fn handle(&self, event: &OrderPlaced, _: &mut UnitOfWork) -> Outcome {
        let line = format!("audit {}", event.order);
        let _ = self.0.run(async |uow| note(uow.connection().await?, &line)).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_run_inside_a_handler_commits_on_its_own() {
    let audit = MemoryStore::new();
    let own = Work::new(ORDERING, audit.clone(), Dispatcher::new());
    let work = Work::new(ORDERING, stocked().await, Dispatcher::new().on(Audit(own)));
    let body = async |uow: &mut UnitOfWork| {
        uow.add(Order::place(5, pen(), 1));
        Ok(())
    };
    let _ = work.run(body).await.unwrap();
    assert_eq!(log(&audit).await, ["audit 5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_run_again_by_a_closure_that_captures_references() {
    let (store, work) = shop().await;
    let rival = work.clone();
    let wanted = pen(); // borrowed by the closure, not moved
    let line = String::from("bought");
    let task = async move {
        let attempts = AtomicU32::new(0); // borrowed too; `&mut` would not do: nothing could undo what it changes
        let left = work
            .run(async |uow| {
                let is_first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
                let stock = uow.load::<Stock>(&wanted).await?;
                if is_first {
                    let _ = rival
                        .run(async |uow| {
                            let stock = uow.load::<Stock>(&wanted).await?;
                            uow[stock].reserve(1)
                        })
                        .await?;
                }
                uow[stock].reserve(1)?;
                note(uow.connection().await?, &line)?;
                Ok(uow[stock].left())
            })
            .await?;
        Ok::<_, BoxError>((left.into_inner(), attempts.into_inner(), line, wanted))
    };
    let (remaining, attempts, ..) = tokio::spawn(is_send(task)).await.unwrap().unwrap();
    assert_eq!((remaining, attempts, left(&store, &pen()).await), (3, 2, Some(3)));
    assert_eq!(log(&store).await, ["bought"]);
}

#[tokio::test]
async fn a_run_says_what_its_last_attempt_has_committed() {
    let store = stocked().await;
    let handlers = Dispatcher::new().on::<OrderPlaced>(reserve_stock);
    let work = Work::new(ORDERING, store.clone(), handlers);
    store.fail_next_commit(CommitFault::Transient);
    let body = async |uow: &mut UnitOfWork| {
        uow.add(Order::place(5, pen(), 1));
        Ok("placed")
    };
    let (value, changes) = work.run_with_changes(body).await.unwrap().into_inner();
    assert_eq!((value, changes.dispatched, changes.written), ("placed", 1, 2));
}

#[tokio::test]
async fn a_domain_error_is_not_run_again() {
    let (_, work) = shop().await;
    let attempts = AtomicU32::new(0);
    let error = work
        .run(async |uow| {
            attempts.fetch_add(1, Ordering::Relaxed);
            let stock = uow.load::<Stock>(&pen()).await?;
            uow[stock].reserve(99)
        })
        .await
        .unwrap_err();
    assert_eq!((attempts.into_inner(), error.to_string()), (1, "pen is out of stock".into()));
    assert_eq!(Sort::of::<MemoryStore>(&*error), Sort::Permanent);
}

#[tokio::test]
async fn transient_failures_are_run_again_up_to_the_limit() {
    let store = stocked().await;
    let work = Work::new(ORDERING, store.clone(), Dispatcher::new()).limits(|limits| limits.attempts = 4);
    for (failures, succeeds) in [(3, true), (4, false)] {
        let attempts = AtomicU32::new(0);
        let done = work
            .run(async |uow| {
                if attempts.fetch_add(1, Ordering::Relaxed) < failures {
                    store.fail_next_commit(CommitFault::Transient);
                }
                let stock = uow.load::<Stock>(&pen()).await?;
                uow[stock].give(1);
                Ok(())
            })
            .await;
        assert_eq!((done.is_ok(), attempts.into_inner()), (succeeds, 4));
    }
    assert_eq!(left(&store, &pen()).await, Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_all_count() {
    let (store, work) = shop().await;
    let work = work.limits(|limits| limits.attempts = 10_000);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let work = work.clone();
            tokio::spawn(async move {
                let body = async |uow: &mut UnitOfWork| {
                    let stock = uow.load::<Stock>(&ink()).await?;
                    tokio::task::yield_now().await;
                    uow[stock].give(1);
                    Ok(())
                };
                work.run(body).await.map(drop)
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!((left(&store, &ink()).await, store.open_transactions()), (Some(59), 0));
}

#[tokio::test]
async fn a_commit_vouches_for_what_is_not_in_the_outbox() {
    let (store, work) = shop().await;
    let event = OrderPlacedV1 { order: 2, quantity: 1 };
    let receipt = work.begin().await.unwrap().save_changes().await.unwrap();
    let vouched = receipt.vouch(&event).unwrap();
    assert_eq!((&*vouched.source, &*vouched.r#type), (ORDERING, OrderPlacedV1::TYPE));
    assert_ne!(vouched.id, receipt.vouch(&event).unwrap().id, "vouching twice makes two events");

    // .. and so does what a committed run answers.
    let placed: Committed<OrderPlacedV1> = work
        .run(async |uow| {
            let order = uow.add(Order::place(1, pen(), 1));
            Ok(OrderPlacedV1 { order: *uow[order].id(), quantity: uow[order].quantity() })
        })
        .await
        .unwrap();
    assert_eq!(&*placed.vouch(&*placed).unwrap().data, br#"{"order":1,"quantity":1}"#);
    let all = Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 9, bytes_max: 1 << 20 };
    assert_eq!(store.read(all).await.unwrap().rows.len(), 1, "only what was announced is in the outbox");
}

#[tokio::test]
async fn what_a_commit_vouches_for_belongs_to_its_conversation() {
    let (_, work) = shop().await;
    let context = Context::of(ORDERING).correlation("conversation").trace("00-1-2-01").tenant("north");
    let receipt = work.with(context).begin().await.unwrap().save_changes().await.unwrap();
    let vouched = receipt.vouch(&OrderPlacedV1 { order: 2, quantity: 1 }).unwrap();
    assert_eq!(vouched.correlationid.as_deref(), Some("conversation"));
    assert_eq!(vouched.traceparent.as_deref(), Some("00-1-2-01"));
    assert_eq!(vouched.extensions.get("tenant").map(|tenant| &**tenant), Some("north"));
}
