//! What a read shows is on the disk, although a commit may be visible before it is: a bus must never have an event whose
//! change a crash takes back.

mod support;

use factum::port::{OutboxStore as _, Settlement};
use factum_launcher::{Postgres, or_skip};
use support::{Schema, all_above, ids, lease_all, plain_insert, run, scalar};

/// Commits wait for no disk, and nobody writes the log behind them for ten seconds.
const LAZY: [(&str, &str); 2] = [("synchronous_commit", "off"), ("wal_writer_delay", "10s")];

async fn survives(test: &str, further: &[(&str, &str)]) {
    let settings: Vec<_> = LAZY.iter().chain(further).copied().collect();
    let Some(mut server) = or_skip(test, Postgres::start_with(&settings).await) else { return };
    let schema = Schema::at(server.url()).await;
    let store = schema.store().await;
    for round in 0..3 {
        let mut db = schema.look().await;
        // So that the tables, and what the rounds before have left, are not at stake.
        run(&mut db, "CHECKPOINT").await;
        let mut shown = Vec::new();
        // The second time some are known to be on the disk, and others are not.
        for batch in 0..2 {
            for n in 0..10 {
                plain_insert(&mut db, &format!("{round} {batch} {n}"), "a").await;
            }
            // The connections of the store were cut by the crash of the round before.
            shown = loop {
                match store.read(all_above(0)).await {
                    Ok(found) => break ids(&found),
                    Err(_) if round > 0 => {}
                    Err(error) => panic!("{error}"),
                }
            };
        }
        server.kill().unwrap();
        server.start_again().await.unwrap();
        let mut db = schema.look().await;
        let sql = format!("SELECT count(*) FROM factum_outbox WHERE id LIKE '{round} %'");
        assert_eq!((shown.len(), scalar(&mut db, &sql).await), (20, 20), "shown, and gone");
        run(&mut db, "DELETE FROM factum_outbox").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f_32_what_was_shown_is_there_after_a_crash() {
    survives("f_32_what_was_shown_is_there_after_a_crash", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_32_it_is_at_the_lowest_level_of_the_log_too() {
    let test = "f_32_it_is_at_the_lowest_level_of_the_log_too";
    survives(test, &[("wal_level", "minimal"), ("max_wal_senders", "0")]).await;
}

/// A commit that waits for the disk is visible when it is there: reading it waits for nothing, whatever others write.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_synchronously_is_shown_without_a_flush() {
    let test = "what_was_committed_synchronously_is_shown_without_a_flush";
    let Some(server) = or_skip(test, Postgres::start_with(&LAZY).await) else { return };
    let schema = Schema::at(server.url()).await;
    let store = schema.store().await;
    let mut db = schema.look().await;
    let flushed = "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint";
    for (how, waits) in [("on", false), ("local", false), ("off", true)] {
        run(&mut db, &format!("SET synchronous_commit = {how}")).await;
        plain_insert(&mut db, how, "a").await;
        // Somebody else has written to the log, and nobody has flushed it.
        run(&mut db, &format!("SET synchronous_commit = off; INSERT INTO notes VALUES ('{how}', 'x', 1)"))
            .await;
        let before = scalar(&mut db, flushed).await;
        let found = store.read(all_above(0)).await.unwrap();
        assert_eq!(found.rows.last().map(|row| row.envelope.id.to_string()), Some(how.to_owned()));
        assert_eq!(scalar(&mut db, flushed).await > before, waits, "{how}");
    }
}

/// A settlement of what was confirmed waits for no disk, and one that keeps a dead letter does.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_there_after_a_crash_whatever_the_server_does_by_default() {
    use factum::integration::{Inspect as _, OnDeadLetter};
    let test = "a_dead_letter_is_there_after_a_crash_whatever_the_server_does_by_default";
    let Some(mut server) = or_skip(test, Postgres::start_with(&LAZY).await) else { return };
    let schema = Schema::at(server.url()).await;
    let store = schema.store().await;
    plain_insert(&mut schema.look().await, "dead", "a").await;
    let leases = lease_all(&store, "relay").await.leases;
    let seq = store.read(all_above(0)).await.unwrap().rows[0].seq;
    run(&mut schema.look().await, "CHECKPOINT").await;
    let given_up =
        factum::port::GivenUp { seq, attempts: 3, reason: "no".into(), policy: OnDeadLetter::Park };
    let settlement = Settlement { given_up: vec![given_up], ..Settlement::default() };
    assert_eq!(store.settle("relay", &leases, &settlement).await.unwrap(), 1);
    server.kill().unwrap();
    server.start_again().await.unwrap();
    let store = schema.options().connect().await.unwrap();
    assert_eq!(store.dead_letters(10).await.unwrap().len(), 1);
}
