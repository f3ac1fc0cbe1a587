//! What a subscription gave up, what waits behind it, and how it goes on.

use std::sync::Arc;

use factum::integration::{Inspect as _, OnDeadLetter, Side};
use factum::port::{Claim, InboxStore as _};
use factum::{Envelope, EventId, Subscription};

use super::model::Count;
use super::support::{THERE, arriving, dead, note, subscription, work};
use super::{StoreFixture, WholeStore};

const NAME: &str = "counting";

/// A subscription on a store, and what it counts.
struct Scene<S: WholeStore> {
    store: S,
    count: Count,
    subscription: Subscription<S>,
}

impl<S: WholeStore> Scene<S> {
    fn of(store: S) -> Self {
        let count = Count::default();
        let subscription = subscription(NAME, &count);
        Self { store, count, subscription }
    }

    /// With `a 1` given up.
    async fn given_up(store: S, policy: OnDeadLetter) -> Self {
        let scene = Self::of(store);
        scene.store.give_up(dead(NAME, &event("a 1")), policy).await.unwrap();
        scene
    }

    async fn receive(&self, events: &[&str]) -> Vec<Claim> {
        let envelopes: Vec<_> = events.iter().map(|text| event(text)).collect();
        work(&self.store).receive(&self.subscription, &envelopes, false).await.unwrap().claims
    }

    /// Handles what is released, as the driver does, until nothing is; answers in which order.
    async fn release(&self) -> Vec<String> {
        let mut order = Vec::new();
        loop {
            let released = self.store.released(NAME, 10).await.unwrap();
            let Some(first) = released.first() else { return order };
            let envelope = [Arc::clone(&first.envelope)];
            let received = work(&self.store).receive(&self.subscription, &envelope, true).await.unwrap();
            assert_eq!(received.claims, [Claim::First]);
            self.finished(&envelope[0]).await;
            order.push(envelope[0].id.to_string());
        }
    }

    async fn finished(&self, envelope: &Envelope) {
        self.store.finished(NAME, &envelope.source, &envelope.id).await.unwrap();
    }

    async fn requeue(&self, id: &str) -> bool {
        let side = Side::Subscription(NAME.into());
        self.store.requeue(&side, THERE, &EventId::from(id)).await.unwrap()
    }

    async fn discard(&self, id: &str) -> bool {
        let side = Side::Subscription(NAME.into());
        self.store.discard(&side, THERE, &EventId::from(id)).await.unwrap()
    }

    /// Dead letters, and what waits behind them.
    async fn backlog(&self) -> (u64, u64) {
        let backlog = self.store.backlog().await.unwrap();
        (backlog.dead_letters, backlog.parked)
    }

    async fn released(&self) -> Vec<String> {
        let released = self.store.released(NAME, 10).await.unwrap();
        released.iter().map(|waiting| waiting.envelope.id.to_string()).collect()
    }
}

/// `a 1` is an event of key `a`; its id is its text.
fn event(text: &str) -> Arc<Envelope> {
    let key = text.split(' ').next().unwrap_or_default();
    arriving(text, key, text)
}

use Claim::{Duplicate, First, Parked};

/// Its key waits, in this store; other keys, other sources and other subscriptions go on.
pub async fn what_follows_a_dead_letter_waits_and_other_keys_do_not<F: StoreFixture>(fixture: &F) {
    let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Park).await;
    assert_eq!(scene.receive(&["a 2", "b 1", "a 3"]).await, [Parked, First, Parked]);
    assert_eq!(scene.backlog().await, (1, 2));
    assert_eq!((note(&scene.store, "a").await.as_str(), note(&scene.store, "b").await.as_str()), ("", "b 1"));
    let mut of_another = (*event("a 9")).clone();
    of_another.source = "https://conformance.example/elsewhere".into();
    let elsewhere =
        work(&scene.store).receive(&scene.subscription, &[Arc::new(of_another)], false).await.unwrap();
    assert_eq!(elsewhere.claims, [First]);
    let another = subscription("another", &scene.count);
    let received = work(&scene.store).receive(&another, &[event("a 2")], false).await.unwrap();
    assert_eq!(received.claims, [First]);
    assert_eq!(scene.store.backlog().await.unwrap().inbox, 3);
    assert!(!scene.store.halted(NAME).await.unwrap());
    let letters = scene.store.dead_letters(10).await.unwrap();
    assert_eq!((letters.len(), &letters[0]), (1, &dead(NAME, &event("a 1"))));
}

/// The bus may bring again what waits, and what is dead.
pub async fn a_repeated_delivery_does_not_wait_twice<F: StoreFixture>(fixture: &F) {
    let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Park).await;
    assert_eq!(scene.receive(&["b 1"]).await, [First]);
    for _ in 0..3 {
        assert_eq!(scene.receive(&["a 1", "a 2", "b 1"]).await, [Parked, Parked, Duplicate]);
        assert_eq!(scene.backlog().await, (1, 1));
    }
    assert!(scene.requeue("a 1").await);
    assert_eq!(scene.release().await, ["a 1", "a 2"]);
    assert_eq!(scene.receive(&["a 1", "a 2"]).await, [Duplicate, Duplicate]);
    assert_eq!(note(&scene.store, "a").await, "a 1 a 2");
}

/// A driver that died after it gave up gives up again.
pub async fn giving_up_twice_is_giving_up_once<F: StoreFixture>(fixture: &F) {
    let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Park).await;
    scene.store.give_up(dead(NAME, &event("a 1")), OnDeadLetter::Park).await.unwrap();
    assert_eq!(scene.backlog().await, (1, 0));
    assert!(scene.requeue("a 1").await);
    assert!(!scene.requeue("a 1").await);
    assert_eq!(scene.release().await, ["a 1"]);
    assert_eq!(scene.backlog().await, (0, 0));
}

/// First the dead letter, then what waited, one after the other.
pub async fn a_requeued_delivery_releases_the_others_in_order<F: StoreFixture>(fixture: &F) {
    let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Park).await;
    scene.store.give_up(dead(NAME, &event("b 1")), OnDeadLetter::Park).await.unwrap();
    scene.receive(&["a 2", "b 2", "a 3"]).await;
    assert!(scene.released().await.is_empty());
    assert!(scene.requeue("b 1").await && scene.requeue("a 1").await);
    let mut released = scene.store.released(NAME, 10).await.unwrap();
    released.sort_by_key(|waiting| waiting.envelope.id.clone());
    assert_eq!(scene.store.released(NAME, 1).await.unwrap().len(), 1);
    assert_eq!(
        released.iter().map(|one| (one.envelope.id.as_str(), one.attempts)).collect::<Vec<_>>(),
        [("a 1", 3), ("b 1", 3)]
    );
    assert_eq!(*released[0].envelope, *event("a 1"));
    assert_eq!(scene.receive(&["a 4"]).await, [Parked], "what comes meanwhile waits, too");
    let order = scene.release().await;
    let of = |key: &str| order.iter().filter(|id| id.starts_with(key)).cloned().collect::<Vec<_>>();
    assert_eq!(
        (of("a"), of("b")),
        (vec!["a 1".into(), "a 2".into(), "a 3".into(), "a 4".into()], vec!["b 1".into(), "b 2".into()])
    );
    assert_eq!(note(&scene.store, "a").await, "a 1 a 2 a 3 a 4");
    assert_eq!(scene.backlog().await, (0, 0));
    assert_eq!(scene.receive(&["a 5"]).await, [First], "the key is free");
}

/// It is dead again, and what waits goes on waiting.
pub async fn a_released_delivery_that_fails_again_holds_its_key<F: StoreFixture>(fixture: &F) {
    let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Park).await;
    scene.receive(&["a 2"]).await;
    assert!(scene.requeue("a 1").await);
    scene.count.fails_on.lock().unwrap().push("a 1".into());
    work(&scene.store).receive(&scene.subscription, &[event("a 1")], true).await.unwrap_err();
    assert_eq!(scene.released().await, ["a 1"]);
    scene.store.give_up(dead(NAME, &event("a 1")), OnDeadLetter::Park).await.unwrap();
    assert!(scene.released().await.is_empty());
    assert_eq!((scene.backlog().await, scene.receive(&["a 3"]).await), ((1, 1), vec![Parked]));
    scene.count.fails_on.lock().unwrap().clear();
    assert!(scene.requeue("a 1").await);
    assert_eq!(scene.release().await, ["a 1", "a 2", "a 3"]);
}

/// What waited goes on without it.
pub async fn a_discarded_delivery_frees_its_key<F: StoreFixture>(fixture: &F) {
    let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Park).await;
    scene.receive(&["a 2", "a 3"]).await;
    assert!(scene.discard("a 1").await && !scene.discard("a 1").await && !scene.requeue("a 1").await);
    assert_eq!(scene.release().await, ["a 2", "a 3"]);
    assert_eq!((scene.backlog().await, scene.receive(&["a 4"]).await), ((0, 0), vec![First]));

    let alone = Scene::given_up(fixture.fresh().await, OnDeadLetter::Park).await;
    assert!(alone.discard("a 1").await);
    assert_eq!((alone.released().await, alone.receive(&["a 2"]).await), (Vec::new(), vec![First]));
}

/// The gap is kept, and the key goes on.
pub async fn a_skipped_delivery_holds_nothing<F: StoreFixture>(fixture: &F) {
    let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Skip).await;
    assert_eq!((scene.backlog().await, scene.receive(&["a 2"]).await), ((1, 0), vec![First]));
    assert!(scene.requeue("a 1").await);
    assert_eq!(scene.receive(&["a 3"]).await, [First]);
    assert_eq!(scene.release().await, ["a 1"]);
    assert_eq!((note(&scene.store, "a").await.as_str(), scene.backlog().await), ("a 2 a 3 a 1", (0, 0)));
}

/// The whole subscription stands still, and no other does.
pub async fn a_halt_lasts_until_a_person_acts<F: StoreFixture>(fixture: &F) {
    for requeues in [true, false] {
        let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Halt).await;
        assert!(scene.store.halted(NAME).await.unwrap() && !scene.store.halted("another").await.unwrap());
        assert_eq!(scene.receive(&["a 2"]).await, [Parked]);
        assert!(if requeues { scene.requeue("a 1").await } else { scene.discard("a 1").await });
        assert!(!scene.store.halted(NAME).await.unwrap());
        let expected: &[&str] = if requeues { &["a 1", "a 2"] } else { &["a 2"] };
        assert_eq!(scene.release().await, expected);
    }
}

/// A place in the queue is an effect like any other.
pub async fn waiting_is_rolled_back_with_its_transaction<F: StoreFixture>(fixture: &F) {
    let scene = Scene::given_up(fixture.fresh().await, OnDeadLetter::Park).await;
    scene.count.fails_on.lock().unwrap().push("b 1".into());
    let events = [event("a 2"), event("b 1")];
    work(&scene.store).receive(&scene.subscription, &events, false).await.unwrap_err();
    assert_eq!(scene.backlog().await, (1, 0));
    assert!(scene.requeue("a 1").await);
    assert_eq!(scene.release().await, ["a 1"]);
    assert_eq!(scene.receive(&["a 2"]).await, [First]);
}
