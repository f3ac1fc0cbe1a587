//! Dead letters of the relay: what holds a key, and what sets it free.

use factum::EventId;
use factum::integration::{Inspect as _, OnDeadLetter, Side};
use factum::port::{GivenUp, OutboxStore as _, Settlement};

use super::outbox::assert_same;
use super::support::{ALL, HERE, announce, lease, outbox, texts};
use super::{StoreFixture, WholeStore};

/// Announces `a 1`, `b 1`, `a 2`, `b 2`, and gives `a 1` up; answers its id.
async fn give_up_the_first<S: WholeStore>(store: &S, policy: OnDeadLetter) -> EventId {
    announce(store, &[("a", "a 1"), ("b", "b 1"), ("a", "a 2"), ("b", "b 2")]).await;
    let leases = lease(store, "one").await;
    let first = outbox(store).await.remove(0);
    let given_up = vec![GivenUp { seq: first.seq, attempts: 12, reason: "too large".into(), policy }];
    let settlement = Settlement { given_up, ..Settlement::default() };
    assert_eq!(store.settle("one", &leases, &settlement).await.unwrap(), 1);
    assert_eq!(store.settle("one", &leases, &settlement).await.unwrap(), 0);
    let dead = store.dead_letters(10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].side, &*dead[0].reason, dead[0].attempts), (&Side::Relay, "too large", 12));
    assert_eq!(store.backlog().await.unwrap().dead_letters, 1);
    first.envelope.id.clone()
}

/// Later ones of its key are not read; what was announced later neither.
pub async fn a_parked_key_waits_and_others_go_on<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    give_up_the_first(&store, OnDeadLetter::Park).await;
    assert_eq!(texts(&store).await, ["b 1", "b 2"]);
    announce(&store, &[("a", "a 3"), ("b", "b 3")]).await;
    assert_eq!(texts(&store).await, ["b 1", "b 2", "b 3"]);
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.outbox, backlog.parked), (5, 2));
}

/// The gap is kept as a dead letter, and nothing waits for it.
pub async fn a_skipped_envelope_lets_its_key_go_on<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    give_up_the_first(&store, OnDeadLetter::Skip).await;
    assert_eq!(texts(&store).await, ["b 1", "a 2", "b 2"]);
    assert_eq!(store.backlog().await.unwrap().parked, 0);
}

/// Halt stops the whole route.
pub async fn a_halted_outbox_gives_nothing_until_a_person_acts<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let id = give_up_the_first(&store, OnDeadLetter::Halt).await;
    assert_eq!(texts(&store).await, [""; 0]);
    assert!(store.discard(&Side::Relay, HERE, &id).await.unwrap());
    assert_eq!(texts(&store).await, ["b 1", "a 2", "b 2"]);
}

/// It goes back under its own `seq`, so that the order of its key is what it was.
pub async fn a_requeued_envelope_goes_before_what_waited_behind_it<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let id = give_up_the_first(&store, OnDeadLetter::Park).await;
    assert!(!store.requeue(&Side::Relay, "https://conformance.example/other", &id).await.unwrap());
    assert!(!store.requeue(&Side::Subscription("one".into()), HERE, &id).await.unwrap());
    assert!(store.requeue(&Side::Relay, HERE, &id).await.unwrap());
    assert_eq!(texts(&store).await, ["a 1", "b 1", "a 2", "b 2"]);
    assert!(!store.requeue(&Side::Relay, HERE, &id).await.unwrap());
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.outbox, backlog.dead_letters, backlog.parked), (4, 0, 0));
}

/// It is gone for good, and its key goes on without it.
pub async fn a_discarded_envelope_frees_its_key<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let id = give_up_the_first(&store, OnDeadLetter::Park).await;
    assert!(store.discard(&Side::Relay, HERE, &id).await.unwrap());
    assert!(!store.discard(&Side::Relay, HERE, &id).await.unwrap());
    assert_eq!(texts(&store).await, ["b 1", "a 2", "b 2"]);
    assert!(store.dead_letters(10).await.unwrap().is_empty());
}

/// A person who looks at it sees what was announced.
pub async fn a_dead_letter_keeps_every_attribute<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    announce(&store, &[("o'key \u{1F4BF}", "te\"xt \u{202e}")]).await;
    let row = outbox(&store).await.remove(0);
    let leases = lease(&store, "one").await;
    let reason = "o'reason \u{1F4BF}".to_owned();
    let given_up =
        vec![GivenUp { seq: row.seq, attempts: 1, reason: reason.clone(), policy: OnDeadLetter::Park }];
    store.settle("one", &leases, &Settlement { given_up, ..Settlement::default() }).await.unwrap();
    let dead = store.dead_letters(10).await.unwrap();
    assert_same(&dead[0].envelope, &row.envelope);
    assert_eq!(dead[0].reason, reason);
    assert!(store.dead_letters(0).await.unwrap().is_empty());
    assert!(store.requeue(&Side::Relay, HERE, &row.envelope.id).await.unwrap());
    let again = outbox(&store).await.remove(0);
    assert_eq!(again.seq, row.seq);
    assert_same(&again.envelope, &row.envelope);
}

/// A relay that has read on begins again: what appears below may be older than what it would take next of a key.
pub async fn a_read_tells_that_something_was_put_back_or_discarded<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let generation = async || store.read(ALL).await.unwrap().generation;
    let before = generation().await;
    let id = give_up_the_first(&store, OnDeadLetter::Park).await;
    assert_eq!(generation().await, before);
    assert!(store.requeue(&Side::Relay, HERE, &id).await.unwrap());
    let requeued = generation().await;
    assert!(requeued > before);
    announce(&store, &[("a", "a 3")]).await;
    assert!(!store.requeue(&Side::Relay, HERE, &id).await.unwrap(), "it is no dead letter any more");
    assert!(!store.discard(&Side::Relay, HERE, &id).await.unwrap());
    assert_eq!(generation().await, requeued);
    let leases = lease(&store, "one").await;
    let first = outbox(&store).await.remove(0);
    let given_up =
        vec![GivenUp { seq: first.seq, attempts: 12, reason: "again".into(), policy: OnDeadLetter::Halt }];
    store.settle("one", &leases, &Settlement { given_up, ..Settlement::default() }).await.unwrap();
    assert!(store.discard(&Side::Relay, HERE, &id).await.unwrap());
    assert!(generation().await > requeued);
}
