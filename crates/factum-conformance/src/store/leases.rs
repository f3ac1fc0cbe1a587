//! Who may settle: leases by bucket, fenced by epoch.

use factum::port::{FailedTry, Lease, OutboxStore as _, Settlement};

use super::StoreFixture;
use super::support::{LONG, announce, outbox, texts};

fn confirmed(seqs: &[i64]) -> Settlement {
    Settlement { confirmed: seqs.to_vec(), ..Settlement::default() }
}

/// Taken, renewed under the same epoch, given back, taken by another under a higher one.
pub async fn one_relay_holds_a_bucket_until_it_lets_go<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mine = store.lease("one", LONG).await.unwrap();
    assert_eq!(mine.iter().map(|lease| lease.bucket).collect::<Vec<_>>(), (0..64).collect::<Vec<_>>());
    assert_eq!(store.lease("two", LONG).await.unwrap(), []);
    assert_eq!(store.lease("one", LONG).await.unwrap(), mine);
    store.release("two").await.unwrap();
    assert_eq!(store.lease("two", LONG).await.unwrap(), []);
    store.release("one").await.unwrap();
    let theirs = store.lease("two", LONG).await.unwrap();
    assert_eq!(theirs.len(), 64);
    assert!(mine.iter().zip(&theirs).all(|(mine, theirs)| mine.epoch < theirs.epoch));
    assert_eq!(store.lease("one", LONG).await.unwrap(), []);
}

/// What nobody renews is free for others, and they are told apart from who held it.
pub async fn an_expired_lease_changes_hands_under_a_higher_epoch<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mine = store.lease("one", LONG).await.unwrap();
    fixture.age_leases(&store, LONG / 2).await;
    assert_eq!(store.lease("two", LONG).await.unwrap(), []);
    assert_eq!(store.lease("one", LONG).await.unwrap(), mine);
    fixture.age_leases(&store, LONG * 3 / 4).await;
    assert_eq!(store.lease("two", LONG).await.unwrap(), []);
    fixture.age_leases(&store, LONG / 2).await;
    let theirs = store.lease("two", LONG).await.unwrap();
    assert_eq!(theirs.len(), 64);
    assert!(mine.iter().zip(&theirs).all(|(mine, theirs)| mine.epoch < theirs.epoch));
    assert_eq!(store.lease("one", LONG).await.unwrap(), []);
}

/// By `seq`, never by range.
pub async fn settling_deletes_what_is_listed_and_nothing_else<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    announce(&store, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await;
    let leases = store.lease("one", LONG).await.unwrap();
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
    let mine = store.lease("one", LONG).await.unwrap();
    assert_eq!(store.settle("two", &mine, &confirmed(&[seq])).await.unwrap(), 0);
    fixture.age_leases(&store, LONG * 2).await;
    let theirs = store.lease("two", LONG).await.unwrap();
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
    let leases = store.lease("one", LONG).await.unwrap();
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
