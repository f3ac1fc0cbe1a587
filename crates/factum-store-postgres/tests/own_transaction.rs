//! Bring your own transaction: the outbox and the inbox work without a unit of work, and commit with what else is in it.

mod support;

use std::sync::Arc;

use factum::integration::{Inspect as _, OnDeadLetter};
use factum::port::{Claim, Claiming, GivenUp, OutboxStore as _, Settlement};
use sqlx::Connection as _;
use support::{Schema, all_above, envelope, ids, lease_all};

#[tokio::test]
async fn an_append_commits_with_the_transaction_and_wakes_by_hand() {
    let name = "an_append_commits_with_the_transaction_and_wakes_by_hand";
    let Some(schema) = Schema::new(name).await else { return };
    let store = schema.store().await;
    let mut db = schema.look().await;
    let mut second = envelope("second", "key");
    second.extensions.insert("tenant".into(), "ten\"ant".into());
    for commit in [false, true] {
        for envelopes in [&[envelope("first", "key"), second.clone()][..], &[envelope("third", "key")]] {
            let mut tx = db.begin().await.unwrap();
            store.append(&mut tx, envelopes).await.unwrap();
            if commit { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
        }
        assert_eq!(schema.counts().await.1, if commit { 3 } else { 0 });
    }
    let other = store.clone();
    let (found, ()) = tokio::join!(
        async {
            other.hint().await;
            other.read(all_above(0)).await.unwrap()
        },
        async { store.wake() }
    );
    assert_eq!(ids(&found), ["first", "second", "third"]);
    let row = &found.rows[1];
    second.sequence = Some(format!("{}-{:020}", store.incarnation().unwrap(), row.seq).into());
    assert_eq!((&*row.envelope, row.bucket), (&second, second.bucket()));
}

#[tokio::test]
async fn thousands_of_envelopes_are_appended_in_order_in_one_statement() {
    let name = "thousands_of_envelopes_are_appended_in_order_in_one_statement";
    let Some(schema) = Schema::new(name).await else { return };
    let store = schema.store().await;
    let envelopes: Vec<_> = (0..5_000).map(|n| envelope(&format!("{n}"), "key")).collect();
    store.append(&mut schema.look().await, &envelopes).await.unwrap();
    let found = store.read(all_above(0)).await.unwrap();
    assert_eq!(ids(&found), (0..5_000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_claim_is_first_once() {
    let Some(schema) = Schema::new("a_claim_is_first_once").await else { return };
    let store = schema.store().await;
    let mut db = schema.look().await;
    let envelopes: Vec<_> = (0..40).map(|n| Arc::new(envelope(&n.to_string(), "key"))).collect();
    let claiming = |envelopes| Claiming { subscription: "copies", envelopes, released: false };
    let mut tx = db.begin().await.unwrap();
    assert_eq!(store.claim(&mut tx, claiming(&envelopes[..20])).await.unwrap(), [Claim::First; 20]);
    tx.commit().await.unwrap();
    let claims = store.claim(&mut db, claiming(&envelopes)).await.unwrap();
    assert_eq!(claims, [[Claim::Duplicate; 20], [Claim::First; 20]].concat());
}

#[tokio::test]
async fn an_event_that_is_given_up_again_keeps_nothing_from_being_settled() {
    let name = "an_event_that_is_given_up_again_keeps_nothing_from_being_settled";
    let Some(schema) = Schema::new(name).await else { return };
    let store = schema.store().await;
    let leases = lease_all(&store, "relay").await.leases;
    for _ in 0..2 {
        let both = [envelope("first", "a"), envelope("second", "b")];
        store.append(&mut schema.look().await, &both).await.unwrap();
        let rows = store.read(all_above(0)).await.unwrap().rows;
        let given_up =
            GivenUp { seq: rows[0].seq, attempts: 25, reason: "no\0".into(), policy: OnDeadLetter::Skip };
        let settlement =
            Settlement { confirmed: vec![rows[1].seq], given_up: vec![given_up], ..Settlement::default() };
        assert_eq!(store.settle("relay", &leases, &settlement).await.unwrap(), 2);
    }
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.outbox, backlog.dead_letters), (0, 1));
}
