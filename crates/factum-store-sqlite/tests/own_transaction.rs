//! Bring your own transaction: the outbox and the inbox work without a unit of work, and commit with what else is in it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use factum::Envelope;
use factum::integration::{Inspect as _, OnDeadLetter};
use factum::port::{Asked, BucketSet, Claim, Claiming, GivenUp, OutboxStore as _, Read, Settlement};
use sqlx::Connection as _;
use support::File;

fn envelope(n: usize) -> Envelope {
    let mut envelope =
        Envelope::new(format!("event {n}"), support::SOURCE, "com.example.notes.a.v1", vec![n as u8]);
    envelope.partitionkey = Some(format!("key {n}").into());
    envelope.extensions.insert("tenant".into(), "ten\"ant".into());
    envelope
}

const ASKED: Asked = Asked { duration: Duration::from_secs(10), most: 64, give_back: BucketSet::NONE };

fn everything() -> Read {
    Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 10_000, bytes_max: 1 << 30 }
}

#[tokio::test]
async fn an_append_commits_with_the_transaction_and_wakes_by_hand() {
    let file = File::new();
    let store = file.store().await;
    let mut db = file.look().await;
    for commit in [false, true] {
        let mut tx = db.begin().await.unwrap();
        support::insert(&mut tx, "note", "well").await.unwrap();
        store.append(&mut tx, &[envelope(1), envelope(2)]).await.unwrap();
        if commit {
            tx.commit().await.unwrap()
        } else {
            tx.rollback().await.unwrap()
        }
        assert_eq!(file.counts().await, if commit { (1, 2) } else { (0, 0) });
    }
    let other = store.clone();
    let (read, _) = tokio::join!(
        async {
            other.hint().await;
            other.read(everything()).await.unwrap().rows
        },
        async { store.wake() }
    );
    let mut expected = envelope(2);
    expected.sequence = Some(format!("{}-{:020}", store.incarnation(), read[1].seq).into());
    assert_eq!(*read[1].envelope, expected);
    assert_eq!(read[1].bucket, expected.bucket());
}

#[tokio::test]
async fn more_envelopes_than_sqlite_has_parameters_are_appended_in_order() {
    let file = File::new();
    let store = file.store().await;
    let envelopes: Vec<_> = (0..2_500).map(envelope).collect();
    store.append(&mut file.look().await, &envelopes).await.unwrap();
    let rows = store.read(everything()).await.unwrap().rows;
    let ids: Vec<_> = rows.iter().map(|row| row.envelope.id.clone()).collect();
    assert_eq!(ids, envelopes.iter().map(|envelope| envelope.id.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_claim_is_first_once() {
    let file = File::new();
    let store = file.store().await;
    let mut db = file.look().await;
    let envelopes: Vec<_> = (0..40).map(|n| Arc::new(envelope(n))).collect();
    let claiming = |envelopes| Claiming { subscription: "copies", envelopes, released: false };
    let mut tx = db.begin().await.unwrap();
    assert_eq!(store.claim(&mut tx, claiming(&envelopes[..20])).await.unwrap(), [Claim::First; 20]);
    tx.commit().await.unwrap();
    let claims = store.claim(&mut db, claiming(&envelopes)).await.unwrap();
    assert_eq!(claims, [[Claim::Duplicate; 20], [Claim::First; 20]].concat());
}

#[tokio::test]
async fn an_event_that_is_given_up_again_keeps_nothing_from_being_settled() {
    let file = File::new();
    let store = file.store().await;
    let leases = store.lease("relay", ASKED).await.unwrap().leases;
    for _ in 0..2 {
        store.append(&mut file.look().await, &[envelope(1), envelope(2)]).await.unwrap();
        let rows = store.read(everything()).await.unwrap().rows;
        let given_up =
            GivenUp { seq: rows[0].seq, attempts: 25, reason: "no".into(), policy: OnDeadLetter::Skip };
        let settlement =
            Settlement { confirmed: vec![rows[1].seq], given_up: vec![given_up], ..Settlement::default() };
        assert_eq!(store.settle("relay", &leases, &settlement).await.unwrap(), 2);
    }
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.outbox, backlog.dead_letters), (0, 1));
}
