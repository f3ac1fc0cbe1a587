//! Dropping any future after any number of polls: no acknowledged write is lost, and no transaction stays open.
//!
//! Each case sweeps: it drops after 0 polls, after 1, and so on, until the future was done several times in a row.

use std::future::Future;

use factum::port::Claim;
use factum::{BoxError, Dispatcher, Documents, Outcome, Received, Subscriber, Subscription, UnitOfWork};

use super::model::{Chain, Item, ItemGrownV1, count};
use super::support::{arriving, texts, value, work, work_with};
use super::{DropAfter, StoreFixture, WholeStore};

/// More polls than anything here takes.
const POLLS_MAX: usize = 2_000;

/// Drops what `make` makes after every number of polls; after each, `probe` looks whether the store is well.
async fn sweep<R: Future>(
    make: impl Fn(usize) -> R,
    mut probe: impl AsyncFnMut(usize, Option<R::Output>),
) -> usize {
    let mut done_in_a_row = 0;
    for polls in 0..POLLS_MAX {
        let output = DropAfter::polls(polls, make(polls)).await;
        done_in_a_row = if output.is_some() { done_in_a_row + 1 } else { 0 };
        probe(polls, output).await;
        if done_in_a_row == 3 {
            return polls;
        }
    }
    panic!("it was not done within {POLLS_MAX} polls");
}

/// A write of somebody else, which must get through and must be kept.
async fn assert_others_can_write<S: WholeStore>(store: &S, polls: usize) {
    let id = format!("probe {polls}");
    let mut uow = work(store).begin().await.unwrap();
    uow.add(Item::new(&id));
    let _ = uow.save_changes().await.unwrap();
    assert_eq!(value(store, &id).await, Some(0), "acknowledged, and lost, after a drop at poll {polls}");
}

/// The aggregate is there if and only if its messages are, and if it was acknowledged. A commit that was dropped runs to
/// its end, maybe between two looks: then a second pair of them tells.
async fn assert_whole<S: WholeStore>(store: &S, id: &str, acknowledged: bool, messages: usize) {
    let mut is_there = value(store, id).await.is_some();
    let told = loop {
        let read = super::support::outbox(store).await;
        let was_there = std::mem::replace(&mut is_there, value(store, id).await.is_some());
        if was_there == is_there {
            break read;
        }
    };
    let told = told.iter().filter(|row| {
        row.envelope.partitionkey.as_deref().is_some_and(|key| key.trim_end_matches('+') == id)
    });
    let expected = if is_there { messages } else { 0 };
    assert_eq!((told.count(), is_there || !acknowledged), (expected, true), "{id}: half of it is there");
}

/// Waits for somebody else now and then, as handlers do.
async fn dawdle<S: Documents>(_: &super::model::Grown, uow: &mut UnitOfWork<S>) -> Outcome {
    tokio::task::yield_now().await;
    uow.scan::<Item>("", 1).await?;
    tokio::task::yield_now().await;
    Ok(())
}

/// Dropped before its commit was asked for, a save did not happen; dropped after that, it may have, but then all of it.
pub async fn f_08_a_dropped_save_is_whole_or_nothing<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let handlers = || Dispatcher::new().on(dawdle::<F::Store>).on(Chain { until: 2, fails_at: None });
    let save = |polls: usize| {
        let work = work_with(&store, handlers());
        async move {
            let mut uow = work.begin().await?;
            uow.add(Item::grown(format!("save {polls}"), 0));
            uow.save_changes().await
        }
    };
    let polls = sweep(save, async |polls, output| {
        let acknowledged = output.is_some_and(|saved| saved.is_ok());
        assert_others_can_write(&store, polls).await;
        assert_whole(&store, &format!("save {polls}"), acknowledged, 3).await;
    })
    .await;
    assert!(polls >= 5, "dropped at {polls} places only");
    for polls in 0..=polls {
        assert_whole(&store, &format!("save {polls}"), false, 3).await;
    }
    assert!(value(&store, &format!("save {polls}")).await.is_some());
}

/// Neither before nor after the transaction was opened.
pub async fn f_09_a_dropped_begin_leaves_no_transaction_open<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let begin = |_| {
        let work = work(&store);
        async move {
            let mut uow = work.begin().await?;
            uow.connection().await?;
            tokio::task::yield_now().await;
            uow.find::<Item>(&"nobody".to_owned()).await?;
            Ok::<_, factum::Error>(uow)
        }
    };
    sweep(begin, async |polls, output| {
        drop(output);
        assert_others_can_write(&store, polls).await;
    })
    .await;
}

/// Whatever it was doing.
pub async fn f_10_a_dropped_run_leaves_no_transaction_open<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let run = |polls: usize| {
        let work = work_with(&store, Dispatcher::new().on(Chain { until: 1, fails_at: None }));
        async move {
            let id = format!("run {polls}");
            let done = work.run(async |uow| {
                let item = uow.add(Item::grown(&id, 0));
                uow.write_changes().await?;
                tokio::task::yield_now().await;
                uow[item].add(1);
                uow.write_changes().await?;
                tokio::task::yield_now().await;
                Ok(())
            });
            done.await.map(drop)
        }
    };
    let polls = sweep(run, async |polls, output: Option<Result<(), BoxError>>| {
        assert_others_can_write(&store, polls).await;
        assert_whole(&store, &format!("run {polls}"), output.is_some_and(|done| done.is_ok()), 2).await;
    })
    .await;
    for polls in 0..=polls {
        assert_whole(&store, &format!("run {polls}"), false, 2).await;
    }
}

/// Counts, dawdles and tells.
struct Dawdles;

impl<S: Documents> Subscriber<ItemGrownV1, S> for Dawdles {
    async fn receive(&self, received: &Received<ItemGrownV1>, uow: &mut UnitOfWork<S>) -> Outcome {
        tokio::task::yield_now().await;
        count(received, uow).await?;
        uow.write_changes().await?;
        tokio::task::yield_now().await;
        uow.announce(&ItemGrownV1::of(&received.item, "told"))?;
        Ok(())
    }
}

/// Inbox row, effect and message together; and whatever became of it, the delivery that comes again puts it right.
pub async fn f_10_a_dropped_reception_is_whole_or_nothing<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let receive = |polls: usize| {
        let work = work(&store);
        async move {
            let id = format!("reception {polls}");
            let named = Subscription::named("dawdling").on::<ItemGrownV1>(Dawdles);
            work.receive(&named, &[arriving(&id, &id, "x")], false).await
        }
    };
    let polls = sweep(receive, async |polls, output| {
        let acknowledged = output.is_some_and(|received| received.is_ok());
        let id = format!("reception {polls}");
        assert_others_can_write(&store, polls).await;
        assert_whole(&store, &id, acknowledged, 1).await;
        let was_there = value(&store, &id).await.is_some();
        let again = receive(polls).await.unwrap();
        // A commit that was dropped runs to its end: where writers wait for nobody, it may do so just now.
        let expected: &[Claim] =
            if was_there { &[Claim::Duplicate] } else { &[Claim::Duplicate, Claim::First] };
        assert!(again.claims.len() == 1 && expected.contains(&again.claims[0]), "{id}: {:?}", again.claims);
        assert_eq!(value(&store, &id).await, Some(1), "{id}");
    })
    .await;
    assert_eq!(texts(&store).await.len(), polls + 1);
}
