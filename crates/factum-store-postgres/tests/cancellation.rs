//! Every future of the store is dropped at every poll: then no transaction is open, what was acknowledged before or
//! after is in the database, and a save happened whole or not at all.

mod support;

use std::sync::Arc;

use factum::integration::Received;
use factum::port::{Access, Intent, Store as _};
use factum::{
    BoxError, Dispatcher, Envelope, IntegrationEvent as _, Outcome, Subscription, UnitOfWork, Work,
};
use factum_store_postgres::Postgres;
use support::{
    DropAfter, Note, NoteWritten, NoteWrittenV1, Schema, announce, assert_works, insert, work, write_note,
};

/// Drops `attempt` after 1, 2, 3 .. polls until it gets through a few times, and looks at the database each time.
async fn drop_at_every_poll<T>(
    schema: &Schema,
    work: &Work<Postgres>,
    attempt: impl AsyncFn(usize) -> T,
    check: impl AsyncFn(usize, Option<T>),
) {
    let (mut round, mut polls, mut completed, mut dropped) = (0, 1, 0, 0);
    // A quick machine may answer within a poll.
    while completed < 3 || dropped < 3 {
        let done = DropAfter::polls(polls, attempt(round)).await;
        polls = if done.is_some() { 1 } else { polls + 1 };
        completed += usize::from(done.is_some());
        dropped += usize::from(done.is_none());
        assert_works(schema, work, &format!("after {round}")).await;
        check(round, done).await;
        round += 1;
        assert!(round < 1_000, "{dropped} were dropped, {completed} got through");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_09_a_dropped_begin_leaves_no_transaction() {
    let Some(schema) = Schema::new("f_09_a_dropped_begin_leaves_no_transaction").await else { return };
    let work = work(&schema.store().await, Dispatcher::new());
    let attempt = async |_| {
        let mut uow = work.begin().await.unwrap();
        uow.connection().await.unwrap();
        uow.roll_back().await;
    };
    drop_at_every_poll(&schema, &work, attempt, async |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_10_a_dropped_transaction_gives_its_lock_back() {
    let Some(schema) = Schema::new("f_10_a_dropped_transaction_gives_its_lock_back").await else { return };
    let work = work(&schema.store().await, Dispatcher::new());
    let attempt = async |round| {
        let mut uow = work.begin().await.unwrap();
        for n in 0..3 {
            insert(uow.connection().await.unwrap(), &format!("{round} {n}"), "well").await.unwrap();
        }
    };
    let check = async |round, _| {
        for n in 0..3 {
            assert!(!schema.has_note(&format!("{round} {n}")).await);
        }
    };
    drop_at_every_poll(&schema, &work, attempt, check).await;
}

/// Whole, or not at all; and whole if it was acknowledged.
async fn check_whole(schema: &Schema, id: &str, done: Option<Result<(), BoxError>>) {
    if let Some(done) = done {
        done.unwrap();
        assert!(schema.has_note(id).await, "{id} was acknowledged");
    }
    let sql = "SELECT count(*) FROM factum_outbox WHERE partitionkey = $1";
    let announced: i64 = sqlx::query_scalar(sql).bind(id).fetch_one(&mut schema.look().await).await.unwrap();
    assert_eq!(announced, i64::from(schema.has_note(id).await), "{id} is there by half");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_dropped_save_commits_whole_or_not_at_all() {
    let Some(schema) = Schema::new("f_08_a_dropped_save_commits_whole_or_not_at_all").await else { return };
    let work = work(&schema.store().await, Dispatcher::new());
    let attempt = async |round: usize| Ok(write_note(&work, &round.to_string()).await?);
    let check = async |round: usize, done| check_whole(&schema, &round.to_string(), done).await;
    drop_at_every_poll(&schema, &work, attempt, check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_dropped_run_commits_whole_or_not_at_all() {
    let Some(schema) = Schema::new("f_08_a_dropped_run_commits_whole_or_not_at_all").await else { return };
    let store = schema.store().await;
    let announcing = work(&store, Dispatcher::new().on::<NoteWritten>(announce));
    let attempt = async |round: usize| {
        let id = round.to_string();
        let body = async |uow: &mut UnitOfWork<Postgres>| {
            uow.add(Note::written(&id, "well"));
            Ok(())
        };
        announcing.run(body).await.map(drop)
    };
    let check = async |round: usize, done| check_whole(&schema, &round.to_string(), done).await;
    drop_at_every_poll(&schema, &work(&store, Dispatcher::new()), attempt, check).await;
}

async fn receive(received: &Received<NoteWrittenV1>, uow: &mut UnitOfWork<Postgres>) -> Outcome {
    insert(uow.connection().await?, &received.id, "received").await?;
    uow.announce(&NoteWrittenV1 { id: received.id.clone() })?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_dropped_reception_has_its_effects_once() {
    let Some(schema) = Schema::new("f_08_a_dropped_reception_has_its_effects_once").await else { return };
    let work = work(&schema.store().await, Dispatcher::new());
    let subscription = Subscription::named("copies").on(receive);
    let delivery = |round: usize| {
        let data = format!(r#"{{"id":"{round}"}}"#).into_bytes();
        Arc::new(Envelope::new(format!("event {round}"), "https://other.example", NoteWrittenV1::TYPE, data))
    };
    let attempt =
        async |round: usize| Ok(work.receive(&subscription, &[delivery(round)], false).await.map(drop)?);
    let check = async |round: usize, done| {
        check_whole(&schema, &round.to_string(), done).await;
        // Delivered again, as a bus would do.
        let _ = work.receive(&subscription, &[delivery(round)], false).await.unwrap();
        check_whole(&schema, &round.to_string(), Some(Ok(()))).await;
    };
    drop_at_every_poll(&schema, &work, attempt, check).await;
}

#[test]
fn a_save_dropped_with_its_runtime_leaves_the_store_usable() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let found = first.block_on(async {
        let schema = Schema::new("a_save_dropped_with_its_runtime_leaves_the_store_usable").await?;
        let store = schema.store().await;
        Some((schema, store))
    });
    let Some((schema, store)) = found else { return };
    let work = work(&store, Dispatcher::new());
    for polls in 1..40 {
        let short = runtime();
        let id = polls.to_string();
        short.block_on(DropAfter::polls(polls, write_note(&work, &id)));
        short.shutdown_background();
        first.block_on(async {
            assert_works(&schema, &work, &format!("after {polls}")).await;
            check_whole(&schema, &id, None).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_asked_for_is_carried_out_without_its_asker() {
    let Some(schema) = Schema::new("a_commit_that_was_asked_for_is_carried_out_without_its_asker").await
    else {
        return;
    };
    let store = schema.store().await;
    let work = work(&store, Dispatcher::new());
    let mut dropped = 0;
    for n in 0..50 {
        let id = format!("asked {n}");
        let mut tx = store.begin(&Intent { access: Access::Write, who: "asker".into() }).await.unwrap();
        insert(Postgres::connection(&mut tx).await.unwrap(), &id, "well").await.unwrap();
        let mut envelope = Envelope::new(id.as_str(), support::SOURCE, NoteWrittenV1::TYPE, &b"{}"[..]);
        envelope.partitionkey = Some(id.as_str().into());
        let done = DropAfter::polls(1, Postgres::commit(tx, vec![envelope])).await;
        dropped += usize::from(done.is_none());
        // Waits for the locks, which the commit holds until it is through.
        assert_works(&schema, &work, &format!("after {n}")).await;
        assert!(schema.has_note(&id).await);
        check_whole(&schema, &id, None).await;
    }
    assert!(dropped > 0, "each was done at once: nothing was tested");
}
