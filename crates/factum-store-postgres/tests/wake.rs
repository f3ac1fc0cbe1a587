//! Who is told of a commit: this process at once, others soon, and by no part of a business transaction.

mod support;

use std::time::{Duration, Instant};

use factum::Dispatcher;
use factum::port::OutboxStore as _;
use factum_launcher::{Proxy, Way};
use factum_store_postgres::Postgres;
use sqlx::postgres::PgListener;
use support::{LONG, Schema, run, scalar, work, write_note};

async fn hinted(store: &Postgres) {
    tokio::time::timeout(LONG, store.hint()).await.expect("a hint comes");
}

/// Waits until a session of ours listens, and answers its process id.
async fn listener(schema: &Schema, not: i64) -> i64 {
    let mut db = schema.look().await;
    let sql = format!(
        "SELECT coalesce(max(pid), 0)::bigint FROM pg_stat_activity
         WHERE query = 'LISTEN \"{}_factum_outbox\"' AND state = 'idle' AND pid <> {not}",
        schema.name
    );
    let watch = tokio::time::timeout(LONG, async {
        loop {
            let pid = scalar(&mut db, &sql).await;
            if pid != 0 {
                return pid;
            }
        }
    });
    watch.await.expect("somebody listens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_another_process_gives_a_hint() {
    let Some(schema) = Schema::new("a_commit_of_another_process_gives_a_hint").await else { return };
    let (here, there) = (schema.store().await, schema.options().connect().await.unwrap());
    // The first is given because whatever was said before was not heard.
    hinted(&here).await;
    listener(&schema, 0).await;
    let writing = work(&there, Dispatcher::new());
    for n in 0..5 {
        let hint = tokio::spawn({
            let here = here.clone();
            async move { hinted(&here).await }
        });
        write_note::<Schema>(&writing, &n.to_string()).await.unwrap();
        hint.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_34_a_listener_that_was_cut_off_listens_again_and_gives_a_hint() {
    let name = "f_34_a_listener_that_was_cut_off_listens_again_and_gives_a_hint";
    let Some(schema) = Schema::new(name).await else { return };
    let (here, there) = (schema.store().await, schema.options().connect().await.unwrap());
    hinted(&here).await;
    let mut pid = 0;
    for n in 0..3 {
        pid = listener(&schema, pid).await;
        run(&mut schema.look().await, &format!("SELECT pg_terminate_backend({pid})")).await;
        // Nobody hears of this one.
        write_note::<Schema>(&work(&there, Dispatcher::new()), &n.to_string()).await.unwrap();
        hinted(&here).await;
        listener(&schema, pid).await;
    }
}

/// Waits for it while seconds pass quickly, by the clock of this process alone.
async fn later<T>(awaited: impl Future<Output = T>) -> T {
    let mut awaited = std::pin::pin!(awaited);
    for _ in 0..60 {
        if let Ok(done) = tokio::time::timeout(Duration::from_millis(10), &mut awaited).await {
            return done;
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::time::resume();
    }
    panic!("not within a minute");
}

/// As behind a firewall that has forgotten the connection: nothing is heard on it, not even its end.
#[tokio::test]
async fn f_34_a_listener_that_is_swallowed_is_given_up() {
    let Some(schema) = Schema::new("f_34_a_listener_that_is_swallowed_is_given_up").await else { return };
    schema.options().migrate().await.unwrap();
    let proxy = Proxy::to(support::address(&schema.url)).await.unwrap();
    let here = schema.options_at(&proxy.instead_of(&schema.url)).connect().await.unwrap();
    hinted(&here).await;
    let pid = listener(&schema, 0).await;
    let passed = proxy.counts();
    proxy.swallow(Way::ToClient, true);
    run(&mut schema.look().await, &format!("NOTIFY \"{}_factum_outbox\"", schema.name)).await;
    tokio::time::timeout(LONG, proxy.until(|counts| counts.swallowed > passed.swallowed))
        .await
        .expect("it is lost");
    proxy.heal();
    // It hears nothing for so long, asks, and gets no answer for as long.
    later(here.hint()).await;
    listener(&schema, pid).await;
}

#[tokio::test]
async fn f_34_who_tells_others_and_gets_no_answer_tells_them_on_another_connection() {
    let name = "f_34_who_tells_others_and_gets_no_answer_tells_them_on_another_connection";
    let Some(schema) = Schema::new(name).await else { return };
    schema.options().migrate().await.unwrap();
    let proxy = Proxy::to(support::address(&schema.url)).await.unwrap();
    let store = schema.options_at(&proxy.instead_of(&schema.url)).connect().await.unwrap();
    let mut listening = PgListener::connect(&schema.url).await.unwrap();
    listening.listen(&format!("{}_factum_outbox", schema.name)).await.unwrap();
    store.wake();
    let told = tokio::time::timeout(LONG, listening.recv()).await.expect("others are told").unwrap();
    let passed = proxy.counts();
    proxy.swallow(Way::ToClient, true);
    store.wake();
    let lost = proxy.until(|counts| counts.swallowed > passed.swallowed);
    tokio::time::timeout(LONG, lost).await.expect("the answer is lost");
    proxy.heal();
    store.wake();
    later(async { while listening.recv().await.unwrap().process_id() == told.process_id() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_35_others_are_told_of_many_commits_by_few_words_without_content() {
    let name = "f_35_others_are_told_of_many_commits_by_few_words_without_content";
    let Some(schema) = Schema::new(name).await else { return };
    let store = schema.store().await;
    let mut listening = PgListener::connect(&schema.url).await.unwrap();
    listening.listen(&format!("{}_factum_outbox", schema.name)).await.unwrap();
    let began = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let work = work(&store, Dispatcher::new());
        writers.spawn(async move {
            for n in 0..50 {
                write_note::<Schema>(&work, &format!("{writer} {n}")).await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let took = began.elapsed();
    let mut told = 0;
    while let Ok(word) = tokio::time::timeout(Duration::from_millis(300), listening.recv()).await {
        assert_eq!(word.unwrap().payload(), "");
        told += 1;
    }
    let most = 3 + took.as_millis() / 25;
    assert!((1..=most).contains(&told), "400 commits in {took:?} were told of {told} times");
}

/// In it a word would make all commits of the database wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_35_no_session_that_writes_tells_others() {
    let Some(schema) = Schema::new("f_35_no_session_that_writes_tells_others").await else { return };
    let store = schema.store().await;
    let mut listening = PgListener::connect(&schema.url).await.unwrap();
    listening.listen(&format!("{}_factum_outbox", schema.name)).await.unwrap();
    let mut writing = Vec::new();
    for n in 0..10 {
        let mut uow = work(&store, Dispatcher::new()).begin().await.unwrap();
        writing.push(scalar(uow.connection().await.unwrap(), "SELECT pg_backend_pid()::bigint").await);
        uow.announce(&support::NoteWrittenV1 { id: n.to_string() }).unwrap();
        let _ = uow.save_changes().await.unwrap();
        let word = tokio::time::timeout(LONG, listening.recv()).await.expect("others are told").unwrap();
        assert!(!writing.contains(&i64::from(word.process_id())));
    }
}
