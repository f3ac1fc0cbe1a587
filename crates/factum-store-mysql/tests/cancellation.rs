//! Every future of the store is dropped at every poll: then no transaction is open, what was acknowledged before or
//! after is in the database, and a save happened whole or not at all.

mod support;

use std::sync::Arc;
use std::time::Duration;

use factum::integration::Received;
use factum::port::{Access, Intent, Store as _};
use factum::{
    BoxError, Dispatcher, Envelope, IntegrationEvent as _, Outcome, Subscription, UnitOfWork, Work,
};
use factum_store_mysql::MySql;
use support::{
    Database, DropAfter, Note, NoteWritten, NoteWrittenV1, announce, assert_works, insert, work, write_note,
};

/// With one connection: who has it next has waited until whatever was dropped is over.
async fn store(database: &Database) -> MySql {
    database.store_with(|options| options.connections(1)).await
}

/// Drops `attempt` after 1, 2, 3 .. polls until it gets through a few times, and looks at the database each time.
async fn drop_at_every_poll<T>(
    database: &Database,
    work: &Work<MySql>,
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
        assert_works(database, work, &format!("after {round}")).await;
        check(round, done).await;
        round += 1;
        assert!(round < 1_000, "{dropped} were dropped, {completed} got through");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_09_a_dropped_begin_leaves_no_transaction() {
    let Some(database) = Database::or_skip("f_09_a_dropped_begin_leaves_no_transaction") else { return };
    let work = work(&store(&database).await, Dispatcher::new());
    let attempt = async |_| {
        let mut uow = work.begin().await.unwrap();
        uow.connection().await.unwrap();
        uow.roll_back().await;
    };
    drop_at_every_poll(&database, &work, attempt, async |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_10_a_dropped_transaction_gives_its_lock_back() {
    let Some(database) = Database::or_skip("f_10_a_dropped_transaction_gives_its_lock_back") else { return };
    let work = work(&store(&database).await, Dispatcher::new());
    let attempt = async |round| {
        let mut uow = work.begin().await.unwrap();
        for n in 0..3 {
            insert(uow.connection().await.unwrap(), &format!("{round} {n}"), "well").await.unwrap();
        }
    };
    let check = async |round, _| {
        for n in 0..3 {
            assert!(!database.has_note(&format!("{round} {n}")).await);
        }
    };
    drop_at_every_poll(&database, &work, attempt, check).await;
}

/// Whole, or not at all; and whole if it was acknowledged.
async fn check_whole(database: &Database, id: &str, done: Option<Result<(), BoxError>>) {
    if let Some(done) = done {
        done.unwrap();
        assert!(database.has_note(id).await, "{id} was acknowledged");
    }
    let sql = "SELECT count(*) FROM factum_outbox WHERE partitionkey = ?";
    let announced: i64 =
        sqlx::query_scalar(sql).bind(id).fetch_one(&mut database.look().await).await.unwrap();
    assert_eq!(announced, i64::from(database.has_note(id).await), "{id} is there by half");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_dropped_save_commits_whole_or_not_at_all() {
    let Some(database) = Database::or_skip("f_08_a_dropped_save_commits_whole_or_not_at_all") else { return };
    let work = work(&store(&database).await, Dispatcher::new());
    let attempt = async |round: usize| Ok(write_note(&work, &round.to_string()).await?);
    let check = async |round: usize, done| check_whole(&database, &round.to_string(), done).await;
    drop_at_every_poll(&database, &work, attempt, check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_dropped_run_commits_whole_or_not_at_all() {
    let Some(database) = Database::or_skip("f_08_a_dropped_run_commits_whole_or_not_at_all") else { return };
    let store = store(&database).await;
    let announcing = work(&store, Dispatcher::new().on::<NoteWritten>(announce));
    let attempt = async |round: usize| {
        let id = round.to_string();
        let body = async |uow: &mut UnitOfWork<MySql>| {
            uow.add(Note::written(&id, "well"));
            Ok(())
        };
        announcing.run(body).await.map(drop)
    };
    let check = async |round: usize, done| check_whole(&database, &round.to_string(), done).await;
    drop_at_every_poll(&database, &work(&store, Dispatcher::new()), attempt, check).await;
}

async fn receive(received: &Received<NoteWrittenV1>, uow: &mut UnitOfWork<MySql>) -> Outcome {
    insert(uow.connection().await?, &received.id, "received").await?;
    uow.announce(&NoteWrittenV1 { id: received.id.clone() })?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_dropped_reception_has_its_effects_once() {
    let Some(database) = Database::or_skip("f_08_a_dropped_reception_has_its_effects_once") else { return };
    let work = work(&store(&database).await, Dispatcher::new());
    let subscription = Subscription::named("copies").on(receive);
    let delivery = |round: usize| {
        let data = format!(r#"{{"id":"{round}"}}"#).into_bytes();
        Arc::new(Envelope::new(format!("event {round}"), "https://other.example", NoteWrittenV1::TYPE, data))
    };
    let attempt =
        async |round: usize| Ok(work.receive(&subscription, &[delivery(round)], false).await.map(drop)?);
    let check = async |round: usize, done| {
        check_whole(&database, &round.to_string(), done).await;
        // Delivered again, as a bus would do.
        let _ = work.receive(&subscription, &[delivery(round)], false).await.unwrap();
        check_whole(&database, &round.to_string(), Some(Ok(()))).await;
    };
    drop_at_every_poll(&database, &work, attempt, check).await;
}

#[test]
fn a_save_dropped_with_its_runtime_leaves_the_store_usable() {
    let name = "a_save_dropped_with_its_runtime_leaves_the_store_usable";
    let Some(database) = Database::or_skip(name) else { return };
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let store = first.block_on(store(&database));
    let work = work(&store, Dispatcher::new());
    for polls in 1..25 {
        let short = runtime();
        let id = polls.to_string();
        short.block_on(DropAfter::polls(polls, write_note(&work, &id)));
        short.shutdown_background();
        first.block_on(async {
            assert_works(&database, &work, &format!("after {polls}")).await;
            check_whole(&database, &id, None).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_10_a_dropped_wait_for_a_lock_gives_the_other_locks_back() {
    let name = "f_10_a_dropped_wait_for_a_lock_gives_the_other_locks_back";
    let Some(database) = Database::or_skip(name) else { return };
    let store = store(&database).await;
    database.run("INSERT INTO notes VALUES ('held', 'well', 1)").await;
    let mut holder = database.look().await;
    let hold = "START TRANSACTION; UPDATE notes SET text = 'mine' WHERE id = 'held'";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let mut uow = work(&store, Dispatcher::new()).begin().await.unwrap();
    insert(uow.connection().await.unwrap(), "taken", "well").await.unwrap();
    let wait = async {
        let sql = "UPDATE notes SET text = 'theirs' WHERE id = 'held'";
        sqlx::raw_sql(sql).execute(&mut **uow.connection().await.unwrap()).await
    };
    let waited = tokio::time::timeout(Duration::from_millis(300), wait).await;
    assert!(waited.is_err(), "it did not wait: {waited:?}");
    drop(uow);
    // The first is the wait for the lock on "taken"; the other would be the wait for "held", for 10 s.
    let mut other = database.look().await;
    let took = async {
        sqlx::raw_sql("SET innodb_lock_wait_timeout = 5").execute(&mut other).await?;
        insert(&mut other, "taken", "well").await
    };
    took.await.expect("the lock was given back");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_works(&database, &work(&store, Dispatcher::new()), "afterwards").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_asked_for_is_carried_out_without_its_asker() {
    let Some(database) = Database::or_skip("a_commit_that_was_asked_for_is_carried_out_without_its_asker")
    else {
        return;
    };
    let store = store(&database).await;
    let work = work(&store, Dispatcher::new());
    let mut dropped = 0;
    for n in 0..50 {
        let id = format!("asked {n}");
        let mut tx = store.begin(&Intent { access: Access::Write, who: "asker".into() }).await.unwrap();
        insert(MySql::connection(&mut tx).await.unwrap(), &id, "well").await.unwrap();
        let mut envelope = Envelope::new(id.as_str(), support::SOURCE, NoteWrittenV1::TYPE, &b"{}"[..]);
        envelope.partitionkey = Some(id.as_str().into());
        let done = DropAfter::polls(1, MySql::commit(tx, vec![envelope])).await;
        dropped += usize::from(done.is_none());
        // Waits for the writer, which the commit holds until it is through.
        assert_works(&database, &work, &format!("after {n}")).await;
        assert!(database.has_note(&id).await);
        check_whole(&database, &id, None).await;
    }
    assert!(dropped > 0, "each was done at once: nothing was tested");
}
