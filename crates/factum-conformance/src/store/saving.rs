//! Saving: all of it or nothing, at whatever depth it fails, whoever looks on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use factum::{Dispatcher, Documents, Error, Handler, Outcome, UnitOfWork};

use super::model::{Chain, Count, Does, Grown, Item, ItemGrownV1};
use super::support::{Watch, arriving, assert_no_trace, items, subscription, texts, value, work, work_with};
use super::{FailingCommit, StoreFixture};

/// Rows, outbox and inbox: what was rolled back never was.
pub async fn a_rollback_leaves_no_trace<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    uow.announce(&ItemGrownV1::of("one", "never")).unwrap();
    uow.write_changes().await.unwrap();
    uow.roll_back().await;
    assert_no_trace(&store).await;

    let count = Count::default();
    count.fails_on.lock().unwrap().push("bad".into());
    let named = subscription("counting", &count);
    let error = work(&store).receive(&named, &[arriving("1", "one", "bad")], false).await.unwrap_err();
    let Error::Subscriber { subscription, event, id, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (&**subscription, &**event, &**id),
        ("counting", "com.example.conformance.item-grown.v1", "1")
    );
    assert_eq!(count.calls.load(Ordering::SeqCst), 1);
    assert_no_trace(&store).await;
}

/// Forgetting a unit of work is a rollback.
pub async fn a_dropped_unit_of_work_leaves_no_trace<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    for _ in 0..20 {
        let mut uow = work(&store).begin().await.unwrap();
        uow.add(Item::new("one"));
        uow.announce(&ItemGrownV1::of("one", "never")).unwrap();
        uow.write_changes().await.unwrap();
        drop(uow);
    }
    assert_no_trace(&store).await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    let _ = uow.save_changes().await.unwrap();
    assert_eq!(items(&store).await, 1);
}

/// Handler, event and aggregate are named; nothing remains; the same again succeeds.
pub async fn a_handler_that_fails_at_any_depth_leaves_no_trace_and_the_next_run_succeeds<F: StoreFixture>(
    fixture: &F,
) {
    for depth in 0..4 {
        let store = fixture.fresh().await;
        let failing = work_with(&store, Dispatcher::new().on(Chain { until: 3, fails_at: Some(depth) }));
        let mut uow = failing.begin().await.unwrap();
        uow.add(Item::grown("root", 0));
        let error = uow.save_changes().await.unwrap_err();
        let Error::Handler { handler, event, aggregate, .. } = &error else { panic!("{error}") };
        assert_eq!((*handler, *event), ("Chain", "Grown"));
        assert_eq!(*aggregate, format!("Item {:?}", format!("root{}", "+".repeat(depth as usize))));
        assert_no_trace(&store).await;

        let working = work_with(&store, Dispatcher::new().on(Chain { until: 3, fails_at: None }));
        let mut uow = working.begin().await.unwrap();
        uow.add(Item::grown("root", 0));
        let changes = uow.save_changes().await.unwrap();
        assert_eq!((changes.dispatched, changes.written, items(&store).await), (4, 4, 4));
        assert_eq!(texts(&store).await, ["depth 0", "depth 1", "depth 2", "depth 3"]);
    }
}

/// Each wave writes before it dispatches.
pub async fn a_handler_sees_in_the_tables_what_was_changed_before_it_ran<F: StoreFixture>(fixture: &F) {
    async fn look<S: Documents>(event: &Grown, uow: &mut UnitOfWork<S>) -> Outcome {
        let states = uow.scan::<Item>("", 9).await?;
        let (_, state) = states.iter().find(|(id, _)| *id == event.item).ok_or("not in the table yet")?;
        uow.announce(&ItemGrownV1::of("seen", state.value.to_string()))?;
        Ok(())
    }
    let store = fixture.fresh().await;
    let work = work_with(&store, Dispatcher::new().on(look::<F::Store>));
    let mut uow = work.begin().await.unwrap();
    let item = uow.add(Item::grown("one", 0));
    uow[item].grow(0);
    let _ = uow.save_changes().await.unwrap();
    assert_eq!(texts(&store).await, ["2", "2"]);
}

/// An observer looks at the outbox throughout, and never sees a message whose save has failed.
pub async fn message_is_taken_back_when_the_save_fails<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let watch = Watch::over(&store);
    watch.looks_again().await;
    let before = watch.looks().load(Ordering::SeqCst);
    let looked = {
        let (looks_again, looks) = (watch.looks(), watch.looks());
        move || {
            let (until, looks) = (looks_again.load(Ordering::SeqCst) + 3, looks.clone());
            async move {
                while looks.load(Ordering::SeqCst) < until {
                    tokio::task::yield_now().await;
                }
                Err("the handler fails after it has announced".into())
            }
        }
    };
    let mut uow = work_with(&store, Dispatcher::new().on::<Grown>(Does(looked))).begin().await.unwrap();
    uow.add(Item::grown("one", 0));
    let error = uow.save_changes().await.unwrap_err();
    assert!(matches!(error, Error::Handler { .. }), "{error}");
    let during = watch.looks().load(Ordering::SeqCst) - before;
    assert!(during >= 3, "the observer looked {during} times while the save ran");

    if fixture.capabilities().fails_commits {
        fixture.fail_next_commit(&store, FailingCommit::RolledBack).await;
        let mut uow = work_with(&store, Dispatcher::new().on(Chain { until: 0, fails_at: None }))
            .begin()
            .await
            .unwrap();
        uow.add(Item::grown("one", 0));
        let error = uow.save_changes().await.unwrap_err();
        assert!(matches!(error, Error::Store(_)), "{error}");
    }
    watch.looks_again().await;
    assert_eq!(watch.seen().await, [0]);
    assert_no_trace(&store).await;
}

/// The envelopes of a commit appear together.
pub async fn an_observer_sees_all_of_a_commit_or_none<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let watch = Watch::over(&store);
    for round in 0..20 {
        let mut uow = work_with(&store, Dispatcher::new().on(Chain { until: 4, fails_at: None }))
            .begin()
            .await
            .unwrap();
        uow.add(Item::grown(format!("{round}-"), 0));
        tokio::task::yield_now().await;
        let _ = uow.save_changes().await.unwrap();
    }
    watch.looks_again().await;
    let seen = watch.seen().await;
    assert!(seen.len() >= 2 && seen.last() == Some(&100), "{seen:?}");
    assert!(seen.iter().all(|rows| rows % 5 == 0), "a part of a commit was seen: {seen:?}");
}

/// What was lost to a race is tried again from the start; what the rules refuse is not.
pub async fn a_conflict_is_run_again_and_a_domain_error_is_not<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let work = work(&store);
    let attempts = AtomicUsize::new(0);
    let done = work
        .run(async |uow| {
            let attempt = attempts.fetch_add(1, Ordering::SeqCst);
            let item = uow.add(Item::new(format!("of attempt {attempt}")));
            uow[item].add(1);
            uow.write_changes().await?;
            match attempt {
                0 | 1 => Err(Error::Conflict { aggregate: "Item", id: "one".into() }.into()),
                _ => Ok(attempt),
            }
        })
        .await
        .unwrap();
    assert_eq!((*done, attempts.load(Ordering::SeqCst), items(&store).await), (2, 3, 1));
    assert_eq!(value(&store, "of attempt 2").await, Some(1));

    let attempts = AtomicUsize::new(0);
    let error = work
        .run(async |uow| {
            attempts.fetch_add(1, Ordering::SeqCst);
            uow.add(Item::new("refused"));
            uow.write_changes().await?;
            Err::<(), _>("the rules refuse".into())
        })
        .await
        .unwrap_err();
    assert_eq!((error.to_string().as_str(), attempts.load(Ordering::SeqCst)), ("the rules refuse", 1));
    assert_eq!(items(&store).await, 1);
}

/// Loses a race the first time that it is called at this depth.
struct Loses {
    at: u32,
    calls: Arc<AtomicUsize>,
}

impl<S: Documents> Handler<Grown, S> for Loses {
    async fn handle(&self, event: &Grown, _: &mut UnitOfWork<S>) -> Outcome {
        match event.depth == self.at && self.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Err(Error::Conflict { aggregate: "Item", id: "any".into() }.into()),
            false => Ok(()),
        }
    }
}

/// Nothing that was collected before the failure is lost or comes twice.
pub async fn f_01_a_save_that_is_run_again_tells_every_event_once<F: StoreFixture>(fixture: &F) {
    for at in 0..4 {
        let store = fixture.fresh().await;
        let calls = Arc::<AtomicUsize>::default();
        let loses = Loses { at, calls: Arc::clone(&calls) };
        let work = work_with(&store, Dispatcher::new().on(Chain { until: 3, fails_at: None }).on(loses));
        let body = async |uow: &mut UnitOfWork<F::Store>| {
            uow.add(Item::grown("root", 0));
            Ok(())
        };
        let _ = work.run(body).await.unwrap();
        assert_eq!((calls.load(Ordering::SeqCst), items(&store).await), (2, 4));
        assert_eq!(texts(&store).await, ["depth 0", "depth 1", "depth 2", "depth 3"]);
    }
}

/// What the lost attempt changed in memory does not reach the next.
pub async fn f_07_a_save_that_is_run_again_begins_with_what_is_in_the_tables<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    let _ = uow.save_changes().await.unwrap();
    let loses = Loses { at: 0, calls: Arc::default() };
    let work = work_with(&store, Dispatcher::new().on(loses));
    for round in 1..4 {
        let body = async |uow: &mut UnitOfWork<F::Store>| {
            let item = uow.load::<Item>(&"one".to_owned()).await?;
            uow[item].grow(0);
            Ok(uow[item].value())
        };
        let value_then = work.run(body).await.unwrap();
        assert_eq!((*value_then, value(&store, "one").await), (round, Some(round)));
    }
}
