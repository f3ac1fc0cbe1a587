//! Every future of a store is dropped at every poll, under SQL of an application's own: then no transaction is open, what
//! was acknowledged before or after is in the database, and a save happened whole or not at all.
//!
//! A store runs them by [`drops_suite!`](crate::drops_suite), with what its own tests know as [`Notes`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use factum::port::{Access, Intent};
use factum::{
    BoxError, Dispatcher, Envelope, IntegrationEvent as _, Outcome, Received, Store, Subscription, UnitOfWork,
};
use tokio::runtime::{Builder, Runtime};

use super::DropAfter;
use super::notes::{
    Note, NoteWritten, NoteWrittenV1, Notes, SOURCE, announce, assert_whole, assert_works,
    drop_at_every_poll, work, write_note,
};

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("a runtime")
}

/// Runs one case on a runtime of its own, where there is a place for its notes.
///
/// # Panics
/// The case has failed, or was not done within two minutes.
pub fn run<N: Notes, C: Future<Output = ()>>(name: &str, case: impl FnOnce(N) -> C) {
    let watched = async {
        if let Some(notes) = N::or_skip(name).await {
            let done = tokio::time::timeout(Duration::from_secs(120), case(notes)).await;
            done.expect("the case was not done within two minutes");
        }
    };
    runtime(2).block_on(watched);
}

/// Not even a lock.
pub async fn f_09_a_dropped_begin_leaves_no_transaction<N: Notes>(notes: N) {
    let work = work(&notes.patient_store().await, Dispatcher::new());
    let attempt = async |_| {
        let mut uow = work.begin().await.unwrap();
        uow.connection().await.unwrap();
        uow.roll_back().await;
    };
    drop_at_every_poll(&notes, &work, attempt, async |_, _| {}).await;
}

/// Nor what it had written.
pub async fn f_10_a_dropped_transaction_gives_its_lock_back<N: Notes>(notes: N) {
    let work = work(&notes.patient_store().await, Dispatcher::new());
    let attempt = async |round| {
        let mut uow = work.begin().await.unwrap();
        for n in 0..3 {
            N::insert(uow.connection().await.unwrap(), &format!("{round} {n}"), "well").await.unwrap();
        }
    };
    let check = async |round, _| {
        for n in 0..3 {
            assert!(!notes.has_note(&format!("{round} {n}")).await);
        }
    };
    drop_at_every_poll(&notes, &work, attempt, check).await;
}

/// By hand, ..
pub async fn f_08_a_dropped_save_commits_whole_or_not_at_all<N: Notes>(notes: N) {
    let work = work(&notes.patient_store().await, Dispatcher::new());
    let attempt = async |round: usize| Ok(write_note::<N>(&work, &round.to_string()).await?);
    let check = async |round: usize, done| assert_whole(&notes, &round.to_string(), done).await;
    drop_at_every_poll(&notes, &work, attempt, check).await;
}

/// .. or as `run` does it, with a handler.
pub async fn f_08_a_dropped_run_commits_whole_or_not_at_all<N: Notes>(notes: N) {
    let store = notes.patient_store().await;
    let announcing = work(&store, Dispatcher::new().on::<NoteWritten>(announce));
    let attempt = async |round: usize| {
        let id = round.to_string();
        let body = async |uow: &mut UnitOfWork<N::Store>| {
            uow.add(Note::<N>::written(&id, "well"));
            Ok(())
        };
        announcing.run(body).await.map(drop)
    };
    let check = async |round: usize, done| assert_whole(&notes, &round.to_string(), done).await;
    drop_at_every_poll(&notes, &work(&store, Dispatcher::new()), attempt, check).await;
}

async fn receive<N: Notes>(received: &Received<NoteWrittenV1>, uow: &mut UnitOfWork<N::Store>) -> Outcome {
    N::insert(uow.connection().await?, &received.id, "received").await?;
    uow.announce(&NoteWrittenV1 { id: received.id.clone() })?;
    Ok(())
}

/// And once for all when it is delivered again.
pub async fn f_08_a_dropped_reception_has_its_effects_once<N: Notes>(notes: N) {
    let work = work(&notes.patient_store().await, Dispatcher::new());
    let subscription = Subscription::named("copies").on::<NoteWrittenV1>(receive::<N>);
    let delivery = |round: usize| {
        let data = format!(r#"{{"id":"{round}"}}"#).into_bytes();
        Arc::new(Envelope::new(format!("event {round}"), "https://other.example", NoteWrittenV1::TYPE, data))
    };
    let attempt =
        async |round: usize| Ok(work.receive(&subscription, &[delivery(round)], false).await.map(drop)?);
    let check = async |round: usize, done: Option<Result<(), BoxError>>| {
        assert_whole(&notes, &round.to_string(), done).await;
        // Delivered again, as a bus would do.
        let _ = work.receive(&subscription, &[delivery(round)], false).await.unwrap();
        assert_whole(&notes, &round.to_string(), Some(Ok(()))).await;
    };
    drop_at_every_poll(&notes, &work, attempt, check).await;
}

/// What was spawned to clean up is gone with the runtime that it was spawned on.
pub async fn a_save_dropped_with_its_runtime_leaves_the_store_usable<N: Notes>(notes: N) {
    let work = work(&notes.patient_store().await, Dispatcher::new());
    for polls in 1..40 {
        let (id, saving) = (polls.to_string(), work.clone());
        let dropped = std::thread::spawn(move || {
            let short = runtime(1);
            short.block_on(DropAfter::polls(polls, write_note::<N>(&saving, &id)));
            short.shutdown_background();
        });
        tokio::task::spawn_blocking(move || dropped.join()).await.unwrap().unwrap();
        assert_works(&notes, &work, &format!("after {polls}")).await;
        assert_whole(&notes, &polls.to_string(), None).await;
    }
}

/// A commit of which nobody waits for the answer is carried out all the same.
pub async fn a_commit_that_was_asked_for_is_carried_out_without_its_asker<N: Notes>(notes: N) {
    let store = notes.patient_store().await;
    let work = work(&store, Dispatcher::new());
    let mut dropped = 0;
    for n in 0..50 {
        let id = format!("asked {n}");
        let mut tx = store.begin(&Intent { access: Access::Write, who: "asker".into() }).await.unwrap();
        N::insert(N::Store::connection(&mut tx).await.unwrap(), &id, "well").await.unwrap();
        let mut envelope = Envelope::new(id.as_str(), SOURCE, NoteWrittenV1::TYPE, &b"{}"[..]);
        envelope.partitionkey = Some(id.as_str().into());
        let done = DropAfter::polls(1, N::Store::commit(tx, vec![envelope])).await;
        dropped += usize::from(done.is_none());
        // Waits for the locks, which the commit holds until it is through.
        assert_works(&notes, &work, &format!("after {n}")).await;
        assert!(notes.has_note(&id).await);
        assert_whole(&notes, &id, None).await;
    }
    assert!(dropped > 0, "each was done at once: nothing was tested");
}

/// Expands into one test for each case. The argument is a type that is [`Notes`].
///
/// ```ignore
/// factum_conformance::drops_suite!(Schema);
/// ```
#[macro_export]
macro_rules! drops_suite {
    ($notes:ty) => {
        $crate::drops_cases! { $notes =>
            f_09_a_dropped_begin_leaves_no_transaction,
            f_10_a_dropped_transaction_gives_its_lock_back,
            f_08_a_dropped_save_commits_whole_or_not_at_all,
            f_08_a_dropped_run_commits_whole_or_not_at_all,
            f_08_a_dropped_reception_has_its_effects_once,
            a_save_dropped_with_its_runtime_leaves_the_store_usable,
            a_commit_that_was_asked_for_is_carried_out_without_its_asker,
        }
    };
}

/// The list behind [`drops_suite!`](crate::drops_suite).
#[doc(hidden)]
#[macro_export]
macro_rules! drops_cases {
    ($notes:ty => $($case:ident,)+) => {
        $(
            #[test]
            fn $case() {
                $crate::store::drops::run(stringify!($case), $crate::store::drops::$case::<$notes>);
            }
        )+
    };
}
