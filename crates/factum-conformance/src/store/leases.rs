//! Who may settle: leases by bucket, fenced by epoch.

use factum::port::{Asked, BucketSet, FailedTry, Lease, OutboxStore as _, Settlement};

use super::StoreFixture;
use super::support::{EVERYTHING, LONG, announce, lease, outbox, texts};

fn confirmed(seqs: &[i64]) -> Settlement {
    Settlement { confirmed: seqs.to_vec(), ..Settlement::default() }
}

/// Taken, renewed under the same epoch, given back, taken by another under a higher one.
pub async fn one_relay_holds_a_bucket_until_it_lets_go<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mine = lease(&store, "one").await;
    assert_eq!(mine.iter().map(|lease| lease.bucket).collect::<Vec<_>>(), (0..64).collect::<Vec<_>>());
    assert_eq!(lease(&store, "two").await, []);
    assert_eq!(lease(&store, "one").await, mine);
    store.release("two").await.unwrap();
    assert_eq!(lease(&store, "two").await, []);
    store.release("one").await.unwrap();
    let theirs = lease(&store, "two").await;
    assert_eq!(theirs.len(), 64);
    assert!(mine.iter().zip(&theirs).all(|(mine, theirs)| mine.epoch < theirs.epoch));
    assert_eq!(lease(&store, "one").await, []);
}

/// What nobody renews is free for others, and they are told apart from who held it.
pub async fn an_expired_lease_changes_hands_under_a_higher_epoch<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mine = lease(&store, "one").await;
    fixture.age_leases(&store, LONG / 2).await;
    assert_eq!(lease(&store, "two").await, []);
    assert_eq!(lease(&store, "one").await, mine);
    fixture.age_leases(&store, LONG * 3 / 4).await;
    assert_eq!(lease(&store, "two").await, []);
    fixture.age_leases(&store, LONG / 2).await;
    let theirs = lease(&store, "two").await;
    assert_eq!(theirs.len(), 64);
    assert!(mine.iter().zip(&theirs).all(|(mine, theirs)| mine.epoch < theirs.epoch));
    assert_eq!(lease(&store, "one").await, []);
}

/// By `seq`, never by range.
pub async fn settling_deletes_what_is_listed_and_nothing_else<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    announce(&store, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await;
    let leases = lease(&store, "one").await;
    let rows = outbox(&store).await;
    let listed = [rows[0].seq, rows[2].seq];
    assert_eq!(store.settle("one", &leases, &confirmed(&listed)).await.unwrap(), 2);
    assert_eq!(texts(&store).await, ["2", "4"]);
    assert_eq!(store.settle("one", &leases, &confirmed(&listed)).await.unwrap(), 0);
    assert_eq!(store.settle("one", &leases, &Settlement::default()).await.unwrap(), 0);
    let others: Vec<_> = leases.iter().copied().filter(|lease| lease.bucket != rows[1].bucket).collect();
    let rest = confirmed(&[rows[1].seq]);
    assert_eq!(store.settle("one", &others, &rest).await.unwrap(), 0, "a bucket that it does not hold");
    assert_eq!(texts(&store).await, ["2", "4"]);
}

/// Fencing: a wrong owner, or an epoch that has passed, changes no row.
pub async fn a_late_relay_settles_nothing<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    announce(&store, &[("a", "1")]).await;
    let seq = outbox(&store).await[0].seq;
    let mine = lease(&store, "one").await;
    assert_eq!(store.settle("two", &mine, &confirmed(&[seq])).await.unwrap(), 0);
    fixture.age_leases(&store, LONG * 2).await;
    let theirs = lease(&store, "two").await;
    assert_eq!(store.settle("one", &mine, &confirmed(&[seq])).await.unwrap(), 0);
    assert_eq!(store.settle("one", &theirs, &confirmed(&[seq])).await.unwrap(), 0);
    assert_eq!(store.settle("two", &mine, &confirmed(&[seq])).await.unwrap(), 0);
    let failed = vec![FailedTry { seq, attempts: 7, again_after: LONG, reason: "late".into() }];
    let late = Settlement { failed, ..Settlement::default() };
    assert_eq!(store.settle("one", &mine, &late).await.unwrap(), 0);
    let row = &outbox(&store).await[0];
    assert_eq!((row.seq, row.attempts), (seq, 0));
    let future: Vec<_> = theirs.iter().map(|lease| Lease { epoch: lease.epoch + 1, ..*lease }).collect();
    assert_eq!(store.settle("two", &future, &confirmed(&[seq])).await.unwrap(), 0);
    assert_eq!(store.settle("two", &theirs, &confirmed(&[seq])).await.unwrap(), 1);
    assert!(outbox(&store).await.is_empty());
}

/// What the bus refused stays where it is, and says how often.
pub async fn refused_tries_are_counted<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    announce(&store, &[("a", "1"), ("a", "2")]).await;
    let leases = lease(&store, "one").await;
    let seq = outbox(&store).await[0].seq;
    for attempts in 1..4 {
        let failed = vec![FailedTry { seq, attempts, again_after: LONG, reason: "no".into() }];
        let settlement = Settlement { failed, ..Settlement::default() };
        assert_eq!(store.settle("one", &leases, &settlement).await.unwrap(), 1);
        let rows = outbox(&store).await;
        assert_eq!(rows.iter().map(|row| row.attempts).collect::<Vec<_>>(), [attempts, 0]);
    }
    assert_eq!(texts(&store).await, ["1", "2"]);
}

/// Two share what one had: nothing is taken from who holds it, and what is given back comes under a higher epoch.
pub async fn relays_that_come_and_go_share_the_buckets<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let asked = |most| Asked { most, ..EVERYTHING };
    let alone = store.lease("one", EVERYTHING).await.unwrap();
    assert_eq!((alone.leases.len(), alone.relays), (64, 1));
    let late = store.lease("two", asked(32)).await.unwrap();
    assert_eq!((late.leases.len(), late.relays), (0, 2));
    let give_back: BucketSet = (30..64).collect();
    let fewer = store.lease("one", Asked { most: 32, give_back, ..EVERYTHING }).await.unwrap();
    assert_eq!((fewer.relays, &fewer.leases[..30]), (2, &alone.leases[..30]));
    let retaken: Vec<u8> = fewer.leases[30..].iter().map(|lease| lease.bucket).collect();
    assert_eq!(retaken.len(), 2, "it may hold 32, and takes what is free, also what it has just given back");
    assert!(fewer.leases[30..].iter().all(|lease| lease.epoch > alone.leases[0].epoch));
    let shared = store.lease("two", asked(32)).await.unwrap();
    assert_eq!(shared.leases.len(), 32);
    assert!(shared.leases.iter().all(|lease| lease.epoch > alone.leases[0].epoch));
    assert!(shared.leases.iter().all(|lease| !retaken.contains(&lease.bucket) && lease.bucket >= 30));
    store.release("one").await.unwrap();
    let left = store.lease("two", asked(32)).await.unwrap();
    assert_eq!((left.leases.len(), left.relays), (32, 1));
    assert_eq!(store.lease("two", EVERYTHING).await.unwrap().leases.len(), 64);
}

/// Who does not renew is counted no longer than his leases last.
pub async fn a_relay_that_has_died_is_no_longer_counted<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let most = |most| Asked { most, ..EVERYTHING };
    store.lease("one", most(1)).await.unwrap();
    assert_eq!(store.lease("two", most(1)).await.unwrap().relays, 2);
    fixture.age_leases(&store, LONG / 2).await;
    assert_eq!(store.lease("two", most(1)).await.unwrap().relays, 2);
    fixture.age_leases(&store, LONG * 3 / 4).await;
    assert_eq!(store.lease("two", most(1)).await.unwrap().relays, 1);
}

/// A clock that was set back by hours must not keep a dead relay's buckets for hours.
pub async fn f_45_a_lease_that_ends_too_far_ahead_has_expired<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mine = lease(&store, "one").await;
    if !fixture.postpone_leases(&store, LONG).await {
        eprintln!("does not apply: the store's clock cannot be set back");
        return;
    }
    let theirs = store.lease("two", EVERYTHING).await.unwrap();
    assert_eq!((theirs.leases.len(), theirs.relays), (64, 1));
    assert!(mine.iter().zip(&theirs.leases).all(|(mine, theirs)| mine.epoch < theirs.epoch));
}
