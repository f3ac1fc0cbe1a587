//! When the database fails: `Ok` means committed, and an error means that nothing was, unless it says that nobody knows.

use std::sync::atomic::{AtomicUsize, Ordering};

use factum::integration::Inspect as _;
use factum::{Dispatcher, Error, Sort};

use super::model::{Chain, Item, ItemGrownV1};
use super::support::{assert_no_trace, items, not_asked, texts, work, work_with};
use super::{FailingCommit, StoreFixture};

/// Rows, the handlers' too, and outbox.
pub async fn f_03_what_handlers_did_is_taken_back_when_the_commit_fails<F: StoreFixture>(fixture: &F) {
    if !fixture.capabilities().fails_commits {
        let case = "f_03_what_handlers_did_is_taken_back_when_the_commit_fails";
        return not_asked(case, "its commits cannot be made to fail");
    }
    let store = fixture.fresh().await;
    fixture.fail_next_commit(&store, FailingCommit::RolledBack).await;
    for is_first in [true, false] {
        let work = work_with(&store, Dispatcher::new().on(Chain { until: 2, fails_at: None }));
        let mut uow = work.begin().await.unwrap();
        uow.add(Item::grown("one", 0));
        match uow.save_changes().await {
            Err(error) => {
                assert!(is_first && matches!(error, Error::Store(_)), "{error}");
                assert_no_trace(&store).await;
            }
            Ok(_) => assert!(!is_first, "the commit was meant to fail"),
        }
    }
    assert_eq!((items(&store).await, texts(&store).await.len()), (3, 3));
}

/// Only a person, or a second look, can tell; running it again could do it twice (F-08).
pub async fn f_08_an_unknown_outcome_is_not_run_again<F: StoreFixture>(fixture: &F) {
    if !fixture.capabilities().fails_commits {
        return not_asked("f_08_an_unknown_outcome_is_not_run_again", "its commits cannot be made to fail");
    }
    for (how, kept) in [(FailingCommit::UnknownAndLost, 0), (FailingCommit::UnknownAndKept, 1)] {
        let store = fixture.fresh().await;
        fixture.fail_next_commit(&store, how).await;
        let attempts = AtomicUsize::new(0);
        let error = work(&store)
            .run(async |uow| {
                attempts.fetch_add(1, Ordering::SeqCst);
                uow.add(Item::new("one"));
                uow.announce(&ItemGrownV1::of("one", "more"))?;
                Ok(())
            })
            .await
            .unwrap_err();
        assert_eq!((Sort::of::<F::Store>(&*error), attempts.into_inner()), (Sort::OutcomeUnknown, 1));
        assert_eq!((items(&store).await, texts(&store).await.len()), (kept, kept), "{how:?}");
    }
}

/// A handler that swallows an error of the database cannot make a save succeed, nor leave an outbox row alone.
pub async fn a_swallowed_fatal_error_cannot_commit<F: StoreFixture>(fixture: &F) {
    if !fixture.capabilities().breaks_transactions {
        return not_asked("a_swallowed_fatal_error_cannot_commit", "its transactions cannot be broken");
    }
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    uow.announce(&ItemGrownV1::of("one", "before")).unwrap();
    uow.write_changes().await.unwrap();
    fixture.break_transaction(&store, uow.connection().await.unwrap()).await;
    uow.announce(&ItemGrownV1::of("one", "after")).unwrap();
    let error = uow.save_changes().await.unwrap_err();
    assert_ne!(error.sort::<F::Store>(), Sort::OutcomeUnknown, "{error}");
    assert_no_trace(&store).await;
}

/// Not even what a handler goes on to write, and the next transaction is as good as new.
pub async fn what_is_written_after_a_swallowed_fatal_error_is_not_kept<F: StoreFixture>(fixture: &F) {
    if !fixture.capabilities().breaks_transactions {
        let case = "what_is_written_after_a_swallowed_fatal_error_is_not_kept";
        return not_asked(case, "its transactions cannot be broken");
    }
    let store = fixture.fresh().await;
    for _ in 0..3 {
        let mut uow = work(&store).begin().await.unwrap();
        uow.add(Item::new("before"));
        uow.write_changes().await.unwrap();
        fixture.break_transaction(&store, uow.connection().await.unwrap()).await;
        uow.add(Item::new("after"));
        let _swallowed = uow.write_changes().await;
        uow.announce(&ItemGrownV1::of("one", "after")).unwrap();
        uow.save_changes().await.unwrap_err();
        assert_no_trace(&store).await;
    }
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    let _ = uow.save_changes().await.unwrap();
    assert_eq!((items(&store).await, store.backlog().await.unwrap().outbox), (1, 0));
}
