//! An outbox in a ring of partitions: it passes the suite that every store must pass, and a partition is emptied when
//! all in it has left, and never before nobody may still add to what it held.

#[path = "support/divided.rs"]
mod divided;
#[path = "support/fixture.rs"]
mod fixture;
mod support;

use std::time::{Duration, Instant};

use divided::{Divided, ROWS, fill};
use factum::integration::{Inspect as _, OnDeadLetter, Side};
use factum::port::{FailedTry, GivenUp, OutboxStore as _, Settlement};
use factum_store_postgres::Error;
use fixture::Schemas;
use support::{Schema, all_above, envelope, ids, lease_all, plain_insert, run, scalar};

factum_conformance::store_suite!(Schemas::partitioned(ROWS));

#[tokio::test]
async fn partitions_are_emptied_round_after_round_and_nothing_of_them_stays() {
    let name = "partitions_are_emptied_round_after_round_and_nothing_of_them_stays";
    let Some(all) = Divided::new(name).await else { return };
    let mut db = all.schema.look().await;
    for round in 0..6 {
        fill(&mut db, &format!("{round}"), 3000).await;
        assert_eq!(all.publish().await.len(), 3000);
        assert_eq!(all.store.backlog().await.unwrap().outbox, 0);
        all.clean_up().await;
        let last = scalar(&mut db, "SELECT last_value FROM factum_outbox_seq_seq").await;
        // The one that is written is left alone, and the next one in time for it.
        let left_alone = [last, last + 256].map(|seq| seq / 1024 % 4);
        for (slot, is_empty) in (0..).zip(all.empty().await) {
            assert!(is_empty || left_alone.contains(&slot), "partition {slot} after {last}");
        }
        assert!(!all.empty().await[usize::try_from(left_alone[0]).unwrap()]);
    }
    // What is left are tables without rows, indexes without entries, and the bits of the last chunks.
    for n in 0..4 {
        let total = scalar(&mut db, &format!("SELECT pg_total_relation_size('factum_outbox_{n}')")).await;
        assert!(total <= 3 * 8192 || !all.empty().await[n], "{total} bytes");
    }
    assert!(scalar(&mut db, "SELECT count(*) FROM factum_outbox_settled").await < 30);
}

#[tokio::test]
async fn f_20_a_row_that_commits_late_keeps_its_partition_and_is_shown() {
    let name = "f_20_a_row_that_commits_late_keeps_its_partition_and_is_shown";
    let Some(all) = Divided::new(name).await else { return };
    let mut db = all.schema.look().await;
    fill(&mut db, "early", 900).await;
    let mut slow = all.begin().await;
    plain_insert(&mut slow, "slow", "a").await;
    fill(&mut db, "late", 2000).await;
    assert_eq!(all.publish().await.len(), 2900);
    all.clean_up().await;
    assert_eq!(all.empty().await, [false, true, false, true], "its neighbour is emptied all the same");
    run(&mut slow, "COMMIT").await;
    all.clean_up().await;
    assert_eq!(ids(&all.store.read(all_above(0)).await.unwrap()), ["slow"]);
    assert_eq!(all.publish().await, ["slow"]);
    all.clean_up().await;
    assert_eq!(all.empty().await, [true, true, false, true]);
}

/// It holds the lock that an `INSERT` takes first, and has come no further than to its number.
#[tokio::test]
async fn a_number_that_was_drawn_is_not_closed_while_its_row_may_still_come() {
    let name = "a_number_that_was_drawn_is_not_closed_while_its_row_may_still_come";
    let Some(all) = Divided::new(name).await else { return };
    let mut db = all.schema.look().await;
    fill(&mut db, "early", 900).await;
    let mut slow = all.begin().await;
    run(&mut slow, "LOCK TABLE factum_outbox IN ROW EXCLUSIVE MODE").await;
    let seq = scalar(&mut slow, "SELECT nextval('factum_outbox_seq_seq')").await;
    fill(&mut db, "late", 2000).await;
    all.publish().await;
    all.clean_up().await;
    assert!(!all.empty().await[0]);
    let sql = format!(
        "INSERT INTO factum_outbox (seq, source, id, type, data) OVERRIDING SYSTEM VALUE
         VALUES ({seq}, 'https://other.example', 'slow', 'com.example.other.v1', '')"
    );
    run(&mut slow, &sql).await;
    run(&mut slow, "COMMIT").await;
    all.clean_up().await;
    assert_eq!(all.publish().await, ["slow"]);
    all.clean_up().await;
    assert!(all.empty().await[0]);
}

#[tokio::test]
async fn f_21_numbers_that_were_rolled_back_keep_no_partition() {
    let Some(all) = Divided::new("f_21_numbers_that_were_rolled_back_keep_no_partition").await else {
        return;
    };
    let mut db = all.schema.look().await;
    let mut open = all.begin().await;
    for n in 0..4 {
        run(&mut db, "BEGIN").await;
        fill(&mut db, &format!("lost {n}"), 300).await;
        run(&mut db, "ROLLBACK").await;
        fill(&mut db, &format!("kept {n}"), 300).await;
    }
    plain_insert(&mut open, "open", "a").await;
    assert_eq!(all.publish().await.len(), 1200);
    all.clean_up().await;
    assert_eq!(
        all.empty().await,
        [false, false, false, true],
        "somebody is at it who may have drawn any of these"
    );
    run(&mut open, "ROLLBACK").await;
    all.clean_up().await;
    assert_eq!(all.empty().await, [true, true, false, true]);
}

#[tokio::test]
async fn a_prepared_transaction_keeps_its_partition_and_its_row_is_shown() {
    let name = "a_prepared_transaction_keeps_its_partition_and_its_row_is_shown";
    let started = factum_launcher::Postgres::start_with(&[("max_prepared_transactions", "5")]).await;
    let Some(server) = factum_launcher::or_skip(name, started) else { return };
    let all = Divided::of(Schema::at(server.url()).await, ROWS).await;
    let mut db = all.schema.look().await;
    let mut slow = all.begin().await;
    plain_insert(&mut slow, "slow", "a").await;
    fill(&mut db, "others", 2000).await;
    all.publish().await;
    all.store.clean_up().await.unwrap();
    run(&mut slow, "PREPARE TRANSACTION 'late'").await;
    all.clean_up().await;
    assert!(!all.empty().await[0]);
    run(&mut db, "COMMIT PREPARED 'late'").await;
    all.clean_up().await;
    assert_eq!(all.publish().await, ["slow"]);
    all.clean_up().await;
    assert!(all.empty().await[0]);
}

#[tokio::test]
async fn a_row_that_no_bus_has_confirmed_keeps_its_partition() {
    let Some(all) = Divided::new("a_row_that_no_bus_has_confirmed_keeps_its_partition").await else { return };
    let mut db = all.schema.look().await;
    fill(&mut db, "", 3000).await;
    assert_eq!(all.publish_but(&[" 77"]).await.len(), 2999);
    all.clean_up().await;
    assert_eq!(all.empty().await, [false, true, false, true]);
    let failed = FailedTry { seq: 77, attempts: 3, again_after: Duration::ZERO, reason: "no".into() };
    let settlement = Settlement { failed: vec![failed], ..Settlement::default() };
    assert_eq!(all.store.settle("relay", &all.leases, &settlement).await.unwrap(), 1);
    all.clean_up().await;
    let found = all.store.read(all_above(0)).await.unwrap();
    assert_eq!((found.rows.len(), found.rows[0].seq, found.rows[0].attempts), (1, 77, 3));
    assert_eq!(all.publish().await, [" 77"]);
    // What has left is neither tried nor given up nor confirmed again.
    assert_eq!(all.store.settle("relay", &all.leases, &settlement).await.unwrap(), 0);
    let given_up = GivenUp { seq: 78, attempts: 9, reason: "no".into(), policy: OnDeadLetter::Park };
    let settlement =
        Settlement { confirmed: vec![77, 79], given_up: vec![given_up], ..Settlement::default() };
    assert_eq!(all.store.settle("relay", &all.leases, &settlement).await.unwrap(), 0);
    assert_eq!(all.store.backlog().await.unwrap().dead_letters, 0);
    all.clean_up().await;
    assert!(all.empty().await[0]);
}

/// In both states of its partition.
#[tokio::test]
async fn a_dead_letter_comes_back_under_its_number_whatever_became_of_its_partition() {
    let name = "a_dead_letter_comes_back_under_its_number_whatever_became_of_its_partition";
    let Some(all) = Divided::new(name).await else { return };
    let mut db = all.schema.look().await;
    fill(&mut db, "", 1500).await;
    for is_emptied in [false, true] {
        let (seq, id) = (77, " 77");
        let failed = FailedTry { seq: 78, attempts: 3, again_after: Duration::ZERO, reason: "no".into() };
        let given_up = GivenUp { seq, attempts: 9, reason: "no".into(), policy: OnDeadLetter::Park };
        let settlement =
            Settlement { failed: vec![failed], given_up: vec![given_up], ..Settlement::default() };
        let settled = all.store.settle("relay", &all.leases, &settlement).await.unwrap();
        assert_eq!(settled, 2);
        let backlog = all.store.backlog().await.unwrap();
        assert_eq!(backlog.dead_letters, 1);
        if is_emptied {
            all.publish().await;
        } else {
            assert_eq!(
                (backlog.outbox, backlog.outbox_parked),
                (1499, 29),
                "behind it waits what is of its key"
            );
        }
        // All of its key waits: let it go, so that the partition can be emptied.
        run(&mut db, "UPDATE factum_dead_letter SET holds = 0").await;
        if is_emptied {
            all.publish().await;
            all.clean_up().await;
            assert!(all.empty().await[0]);
        }
        let source = support::SOURCE;
        assert!(all.store.requeue(&Side::Relay, source, &id.into()).await.unwrap());
        all.clean_up().await;
        let found = all.store.read(all_above(0)).await.unwrap();
        let back = found.rows.iter().find(|row| row.seq == seq).expect("it is shown again");
        assert_eq!((back.attempts, back.envelope.id.as_str()), (0, id));
        assert_eq!(found.rows.len(), if is_emptied { 1 } else { 1500 });
    }
    assert_eq!(all.publish().await, [" 77"]);
    all.clean_up().await;
    assert!(all.empty().await[0]);
    assert_eq!(all.store.backlog().await.unwrap().outbox, 0);
}

/// The clean-up has seen that the number has no row, and comes to its chunk when it has one.
#[tokio::test]
async fn a_number_is_not_closed_under_the_hands_of_who_puts_a_row_back() {
    let name = "a_number_is_not_closed_under_the_hands_of_who_puts_a_row_back";
    let Some(all) = Divided::new(name).await else { return };
    let mut db = all.schema.look().await;
    fill(&mut db, "", 1500).await;
    let given_up = GivenUp { seq: 77, attempts: 9, reason: "no".into(), policy: OnDeadLetter::Skip };
    let settlement = Settlement { given_up: vec![given_up], ..Settlement::default() };
    all.store.settle("relay", &all.leases, &settlement).await.unwrap();
    // Another number of the chunk has no row, so that there is something to close.
    run(&mut db, "DELETE FROM factum_outbox WHERE seq = 500").await;
    let mut person = all.begin().await;
    let sql = "INSERT INTO factum_outbox (seq, source, id, type, data) OVERRIDING SYSTEM VALUE
        SELECT seq, source, id, type, data FROM factum_dead_letter;
        UPDATE factum_outbox_settled SET bits = set_bit(bits, 77, 0) WHERE chunk = 0";
    run(&mut person, sql).await;
    all.clean_up().await;
    run(&mut person, "COMMIT").await;
    all.clean_up().await;
    let seqs: Vec<_> = all.store.read(all_above(0)).await.unwrap().rows.iter().map(|row| row.seq).collect();
    assert!(seqs.contains(&77) && !seqs.contains(&500) && seqs.len() == 1499);
    all.publish().await;
    all.clean_up().await;
    assert!(all.empty().await[0]);
}

#[tokio::test]
async fn f_43_a_late_completion_marks_nothing() {
    let Some(all) = Divided::new("f_43_a_late_completion_marks_nothing").await else { return };
    let (store, late) = (&all.store, &all.leases);
    let mut db = all.schema.look().await;
    fill(&mut db, "", 4).await;
    run(&mut db, "UPDATE factum_lease SET until = now() - interval '1 s'").await;
    lease_all(store, "early").await;
    let failed = FailedTry { seq: 2, attempts: 7, again_after: Duration::ZERO, reason: "late".into() };
    let given_up = GivenUp { seq: 3, attempts: 9, reason: "late".into(), policy: OnDeadLetter::Halt };
    let confirmed = Settlement { confirmed: vec![1], ..Settlement::default() };
    let all_kinds = Settlement { confirmed: vec![1], failed: vec![failed], given_up: vec![given_up] };
    for settlement in [&confirmed, &all_kinds] {
        assert_eq!(store.settle("relay", late, settlement).await.unwrap(), 0);
    }
    // It gets them back, under higher epochs.
    store.release("early").await.unwrap();
    let now = lease_all(store, "relay").await.leases;
    for settlement in [&confirmed, &all_kinds] {
        assert_eq!(store.settle("relay", late, settlement).await.unwrap(), 0);
    }
    let found = store.read(all_above(0)).await.unwrap();
    assert!(found.rows.iter().all(|row| row.attempts == 0) && found.rows.len() == 4);
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.dead_letters, backlog.outbox), (0, 4));
    assert_eq!(scalar(&mut db, "SELECT count(*) FROM factum_outbox_unsettled").await, 4);
    // Of a bucket that it does not say it holds it settles nothing either.
    let bucket = found.rows[0].bucket;
    let others: Vec<_> = now.iter().copied().filter(|lease| lease.bucket != bucket).collect();
    let of_others = found.rows.iter().filter(|row| row.bucket != bucket).count();
    let settlement =
        Settlement { confirmed: found.rows.iter().map(|row| row.seq).collect(), ..Settlement::default() };
    assert_eq!(store.settle("relay", &others, &settlement).await.unwrap(), of_others);
    assert_eq!(store.settle("relay", &now, &settlement).await.unwrap(), 4 - of_others);
    // Nor of one that it has given back, though nobody has taken it since.
    fill(&mut db, "", 1).await;
    store.release("relay").await.unwrap();
    let settlement = Settlement { confirmed: vec![5], ..Settlement::default() };
    assert_eq!(store.settle("relay", &now, &settlement).await.unwrap(), 0);
    assert_eq!(store.backlog().await.unwrap().outbox, 1);
}

/// A dump, or any long look at the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_a_partition_for_long_keeps_it_and_holds_up_no_writer() {
    let name = "who_reads_a_partition_for_long_keeps_it_and_holds_up_no_writer";
    let Some(all) = Divided::new(name).await else { return };
    let mut db = all.schema.look().await;
    fill(&mut db, "", 2000).await;
    all.publish().await;
    let mut dump = all.begin().await;
    run(&mut dump, "LOCK TABLE factum_outbox IN ACCESS SHARE MODE").await;
    let mut longest = Duration::ZERO;
    let began = Instant::now();
    let mut cleaning = std::pin::pin!(all.clean_up());
    let mut n = 0;
    let cleaned = loop {
        n += 1;
        let id = format!("beside {n}");
        let write = async {
            let began = Instant::now();
            plain_insert(&mut db, &id, "a").await;
            began.elapsed()
        };
        tokio::select! {
            () = &mut cleaning => break began.elapsed(),
            took = write => longest = longest.max(took),
        }
    };
    println!("four tries took {cleaned:?}, the longest of {n} writes beside them {longest:?}");
    assert!(cleaned < Duration::from_secs(10), "{cleaned:?}");
    assert!(!all.empty().await[0]);
    // Nobody waits for it who writes, in however many transactions.
    let mut writer = all.schema.look().await;
    run(&mut writer, "SET lock_timeout = '5s'").await;
    plain_insert(&mut writer, "another", "a").await;
    run(&mut dump, "COMMIT").await;
    all.publish().await;
    all.clean_up().await;
    assert!(all.empty().await[0]);
}

#[tokio::test]
async fn it_is_decided_when_the_tables_are_made() {
    let Some(schema) = Schema::new("it_is_decided_when_the_tables_are_made").await else { return };
    let divided = |rows| schema.options().partitioned(rows);
    divided(1000).migrate().await.unwrap();
    divided(1024).migrate().await.unwrap();
    schema.options().migrate().await.unwrap();
    let error = divided(1025).migrate().await.unwrap_err();
    assert!(matches!(error, Error::OtherPartitions { found: 1024, asked: 2048, .. }), "{error}");
    schema.options().prefix("plain_").migrate().await.unwrap();
    let error = divided(1024).prefix("plain_").migrate().await.unwrap_err();
    assert!(
        matches!(&error, Error::NotPartitioned { .. }) && error.to_string().contains("plain_"),
        "{error}"
    );
    // It is none the worse for it.
    let store = schema.options().prefix("plain_").connect().await.unwrap();
    store.append(&mut schema.look().await, &[envelope("one", "a")]).await.unwrap();
    assert_eq!(store.read(all_above(0)).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn numbers_that_were_set_back_are_told_of() {
    let Some(all) = Divided::new("numbers_that_were_set_back_are_told_of").await else { return };
    let mut db = all.schema.look().await;
    fill(&mut db, "", 100).await;
    all.publish().await;
    all.clean_up().await;
    run(&mut db, "ALTER SEQUENCE factum_outbox_seq_seq RESTART WITH 10").await;
    let error = all.store.clean_up().await.unwrap_err().to_string();
    assert!(error.contains("from 100 to 0"), "{error}");
}
