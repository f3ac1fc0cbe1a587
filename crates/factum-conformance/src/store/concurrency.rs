//! Many at once: every change counts, and every event takes effect once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use factum::integration::Inspect as _;
use factum::port::Claim;
use factum::{BoxError, Documents, Outcome, Received, Sort, Subscriber, Subscription, UnitOfWork};
use tokio::sync::Notify;

use super::model::{Count, Item, ItemGrownV1};
use super::support::{arriving, items, not_asked, outbox, subscription, texts, value, work};
use super::{StoreFixture, WholeStore};

/// Sixteen tasks, twenty-five changes each, of one row.
pub async fn concurrent_increments_all_count<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    let _ = uow.save_changes().await.unwrap();
    let tasks: Vec<_> = (0..16).map(|_| tokio::spawn(increment(store.clone()))).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!((value(&store, "one").await, outbox(&store).await.len()), (Some(16 * 25), 16 * 25));
}

async fn increment<S: WholeStore>(store: S) -> Result<(), BoxError> {
    let work = work(&store);
    for _ in 0..25 {
        let done = work.run(async |uow| {
            let item = uow.load::<Item>(&"one".to_owned()).await?;
            tokio::task::yield_now().await;
            uow[item].add(1);
            uow.announce(&ItemGrownV1::of("one", "more"))?;
            Ok(())
        });
        drop(done.await?);
    }
    Ok(())
}

/// Two consumers get the same deliveries at the same time (F-72).
pub async fn f_72_two_receptions_of_one_event_never_both_take_effect<F: StoreFixture>(fixture: &F) {
    const EVENTS: usize = 40;
    let store = fixture.fresh().await;
    let receive = |store: F::Store| async move {
        let named = subscription("counting", &Count::default());
        let mut firsts = 0;
        for n in 0..EVENTS {
            let event = [arriving(&n.to_string(), "one", "x")];
            let claims = work(&store).receive(&named, &event, false).await?.claims;
            firsts += usize::from(claims == [Claim::First]);
            tokio::task::yield_now().await;
        }
        Ok::<_, factum::Error>(firsts)
    };
    let (one, two) = (tokio::spawn(receive(store.clone())), tokio::spawn(receive(store.clone())));
    let firsts = one.await.unwrap().unwrap() + two.await.unwrap().unwrap();
    assert_eq!((firsts, value(&store, "one").await), (EVENTS, Some(EVENTS as i64)));
    assert_eq!(texts(&store).await.len(), EVENTS);
    assert_eq!(store.backlog().await.unwrap().inbox, EVENTS as u64);
}

/// Stays in its first reception until another has begun, and gives that one time. Each reception adds a row of its own:
/// nothing but the inbox keeps two of them apart.
#[derive(Clone, Default)]
struct Meets {
    calls: Arc<AtomicUsize>,
    claimed: Arc<Notify>,
    other_began: Arc<Notify>,
}

impl<S: Documents> Subscriber<ItemGrownV1, S> for Meets {
    async fn receive(&self, _: &Received<ItemGrownV1>, uow: &mut UnitOfWork<S>) -> Outcome {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        uow.add(Item::new(format!("call {call}")));
        uow.write_changes().await?;
        if call == 0 {
            self.claimed.notify_one();
            self.other_began.notified().await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// The second of two claims of one event waits for the first, or fails and is run again; it never commits beside it.
pub async fn f_72_a_claim_in_flight_is_never_committed_twice<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let meets = Meets::default();
    let receive = |store: F::Store, meets: Meets| async move {
        let named = Subscription::named("counting").on::<ItemGrownV1>(meets);
        work(&store).receive(&named, &[arriving("1", "one", "x")], false).await
    };
    let first = tokio::spawn(receive(store.clone(), meets.clone()));
    meets.claimed.notified().await;
    let second = tokio::spawn({
        let (store, meets) = (store.clone(), meets.clone());
        async move {
            meets.other_began.notify_one();
            receive(store, meets).await
        }
    });
    let mut claims = [first.await.unwrap().unwrap().claims, second.await.unwrap().unwrap().claims].concat();
    claims.sort_by_key(|claim| *claim == Claim::Duplicate);
    assert_eq!(claims, [Claim::First, Claim::Duplicate]);
    assert_eq!((items(&store).await, store.backlog().await.unwrap().inbox), (1, 1));
}

/// Where two can write at once, the loser is told, in a way that is worth another run.
pub async fn writers_that_met_are_told_apart<F: StoreFixture>(fixture: &F) {
    if !fixture.capabilities().concurrent_writers {
        return not_asked("writers_that_met_are_told_apart", "it has one writer at a time");
    }
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    let _ = uow.save_changes().await.unwrap();
    let (mut one, mut two) = (work(&store).begin().await.unwrap(), work(&store).begin().await.unwrap());
    let mine = one.load::<Item>(&"one".into()).await.unwrap();
    let theirs = two.load::<Item>(&"one".into()).await.unwrap();
    one[mine].add(1);
    two[theirs].add(10);
    let _ = one.save_changes().await.unwrap();
    let error = two.save_changes().await.unwrap_err();
    assert!(matches!(error.sort::<F::Store>(), Sort::Conflict | Sort::Transient), "{error}");
    assert_eq!(value(&store, "one").await, Some(1));
}
