//! Bring your own transaction: the outbox and the inbox work without a unit of work, and commit with what else is in it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use factum::Envelope;
use factum::integration::{Inspect as _, OnDeadLetter};
use factum::port::{
    Asked, BucketSet, Claim, Claiming, GivenUp, InboxStore as _, OutboxStore as _, Read, Settlement,
};
use sqlx::Connection as _;
use support::Database;

const ALL: Read =
    Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 10_000, bytes_max: 1 << 30 };

fn envelope(n: usize) -> Envelope {
    let mut envelope =
        Envelope::new(format!("event {n}"), support::SOURCE, "com.example.notes.a.v1", vec![n as u8]);
    envelope.partitionkey = Some(format!("key {n}").into());
    envelope.extensions.insert("tenant".into(), "ten\"ant".into());
    envelope
}

#[tokio::test]
async fn an_append_commits_with_the_transaction_and_wakes_by_hand() {
    let Some(database) = Database::or_skip("an_append_commits_with_the_transaction_and_wakes_by_hand") else {
        return;
    };
    let store = database.store().await;
    let mut db = database.look().await;
    for commit in [false, true] {
        let mut tx = db.begin().await.unwrap();
        support::insert(&mut tx, "note", "well").await.unwrap();
        store.append(&mut tx, &[envelope(1), envelope(2)]).await.unwrap();
        if commit {
            tx.commit().await.unwrap()
        } else {
            tx.rollback().await.unwrap()
        }
        assert_eq!(database.counts().await, if commit { (1, 2) } else { (0, 0) });
    }
    let other = store.clone();
    let (read, _) = tokio::join!(
        async {
            other.hint().await;
            other.read(ALL).await.unwrap().rows
        },
        async { store.wake() }
    );
    let mut expected = envelope(2);
    expected.sequence = Some(format!("{}-{:020}", store.incarnation().unwrap(), read[1].seq).into());
    assert_eq!(*read[1].envelope, expected);
    assert_eq!(read[1].bucket, expected.bucket());
}

#[tokio::test]
async fn more_envelopes_than_a_statement_takes_are_appended_in_order() {
    let Some(database) = Database::or_skip("more_envelopes_than_a_statement_takes_are_appended_in_order")
    else {
        return;
    };
    let store = database.store().await;
    let envelopes: Vec<_> = (0..2_500).map(envelope).collect();
    store.append(&mut database.look().await, &envelopes).await.unwrap();
    let ids: Vec<_> = store.read(ALL).await.unwrap().rows.iter().map(|row| row.envelope.id.clone()).collect();
    assert_eq!(ids, envelopes.iter().map(|envelope| envelope.id.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_claim_is_first_once() {
    let Some(database) = Database::or_skip("a_claim_is_first_once") else { return };
    let store = database.store().await;
    let mut db = database.look().await;
    let envelopes: Vec<_> = (0..40).map(|n| Arc::new(envelope(n))).collect();
    let claiming = |envelopes| Claiming { subscription: "copies", envelopes, released: false };
    let mut tx = db.begin().await.unwrap();
    assert_eq!(store.claim(&mut tx, claiming(&envelopes[..20])).await.unwrap(), [Claim::First; 20]);
    tx.commit().await.unwrap();
    let claims = store.claim(&mut db, claiming(&envelopes)).await.unwrap();
    assert_eq!(claims, [[Claim::Duplicate; 20], [Claim::First; 20]].concat());
}

/// A claim leaves its tries where they are, and `clean_up` finds them.
#[tokio::test]
async fn tries_of_what_was_handled_are_forgotten_and_others_are_not() {
    let name = "tries_of_what_was_handled_are_forgotten_and_others_are_not";
    let Some(database) = Database::or_skip(name) else { return };
    let store = database.store().await;
    let envelopes: Vec<_> = (0..10).map(|n| Arc::new(envelope(n))).collect();
    assert_eq!(store.count_attempts("copies", &envelopes).await.unwrap(), [1; 10]);
    let claiming = Claiming { subscription: "copies", envelopes: &envelopes[..7], released: false };
    store.claim(&mut database.look().await, claiming).await.unwrap();
    assert!(!store.clean_up().await.unwrap());
    assert_eq!(database.number("SELECT count(*) FROM factum_attempt").await, 3);
    assert_eq!(store.count_attempts("copies", &envelopes[7..]).await.unwrap(), [2; 3]);
}

/// Ids are compared by their bytes: neither case nor trailing spaces nor accents make two of them one.
#[tokio::test]
async fn f_75_ids_that_only_look_alike_are_different_events() {
    let Some(database) = Database::or_skip("f_75_ids_that_only_look_alike_are_different_events") else {
        return;
    };
    let store = database.store().await;
    let mut db = database.look().await;
    let ids = ["a", "A", "a ", "á", "a\u{301}", "\u{1F4BF}", "\u{1F4C0}", "ß", "ss", "a\u{200b}"];
    let alike = |id: &&str| Arc::new(Envelope::new(*id, support::SOURCE, "com.example.a.v1", vec![]));
    let envelopes: Vec<_> = ids.iter().map(alike).collect();
    let claiming = Claiming { subscription: "copies", envelopes: &envelopes, released: false };
    assert_eq!(store.claim(&mut db, claiming).await.unwrap(), [Claim::First; 10]);
    assert_eq!(store.claim(&mut db, claiming).await.unwrap(), [Claim::Duplicate; 10]);
    for envelope in &envelopes {
        store.append(&mut db, &[Envelope::clone(envelope)]).await.unwrap();
        store.append(&mut db, &[Envelope::clone(envelope)]).await.unwrap_err();
    }
    assert_eq!(store.read(ALL).await.unwrap().rows.len(), 10);
    let buckets = "SELECT count(*) FROM factum_outbox WHERE bucket IS NULL";
    assert_eq!(database.number(buckets).await, 0);
    assert!(store.read(ALL).await.unwrap().rows.iter().all(|row| row.bucket == row.envelope.bucket()));
}

#[tokio::test]
async fn an_event_that_is_given_up_again_keeps_nothing_from_being_settled() {
    let name = "an_event_that_is_given_up_again_keeps_nothing_from_being_settled";
    let Some(database) = Database::or_skip(name) else { return };
    let store = database.store().await;
    let asked = Asked { duration: Duration::from_secs(60), most: 64, give_back: BucketSet::NONE };
    let leases = store.lease("relay", asked).await.unwrap().leases;
    for _ in 0..2 {
        store.append(&mut database.look().await, &[envelope(1), envelope(2)]).await.unwrap();
        let rows = store.read(ALL).await.unwrap().rows;
        let given_up =
            GivenUp { seq: rows[0].seq, attempts: 25, reason: "no".into(), policy: OnDeadLetter::Skip };
        let settlement =
            Settlement { confirmed: vec![rows[1].seq], given_up: vec![given_up], ..Settlement::default() };
        assert_eq!(store.settle("relay", &leases, &settlement).await.unwrap(), 2);
    }
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.outbox, backlog.dead_letters), (0, 1));
}
