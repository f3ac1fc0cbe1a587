//! The inbox: an event takes effect once in each subscription, whatever comes again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use factum::integration::Inspect as _;
use factum::port::{Claim, InboxStore as _};
use factum::{Documents, Error, EventId, Outcome, Received, Subscriber, Subscription, UnitOfWork};

use super::StoreFixture;
use super::model::{Count, ItemGrownV1, Project};
use super::support::{THERE, arriving, assert_no_trace, note, outbox, subscription, texts, value, work};

/// Once, and then never again, alone or among others.
pub async fn an_event_is_first_once_and_a_duplicate_ever_after<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let count = Count::default();
    let named = subscription("counting", &count);
    let (one, two) = (arriving("1", "a", "one"), arriving("2", "a", "two"));
    let received = work(&store).receive(&named, &[Arc::clone(&one)], false).await.unwrap();
    assert_eq!(received.claims, [Claim::First]);
    let received = work(&store).receive(&named, &[Arc::clone(&one)], false).await.unwrap();
    assert_eq!(received.claims, [Claim::Duplicate]);
    let received = work(&store).receive(&named, &[one, two], false).await.unwrap();
    assert_eq!(received.claims, [Claim::Duplicate, Claim::First]);
    assert_eq!((value(&store, "a").await, note(&store, "a").await.as_str()), (Some(2), "one two"));
    assert_eq!(texts(&store).await, ["because of one", "because of two"]);
    assert_eq!(store.backlog().await.unwrap().inbox, 2);
}

/// The inbox has no window behind which it forgets.
pub async fn f_74_an_event_is_a_duplicate_however_much_came_after_it<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let named = subscription("counting", &Count::default());
    let first = [arriving("first", "a", "x")];
    work(&store).receive(&named, &first, false).await.unwrap();
    for batch in 0..10 {
        let events: Vec<_> = (0..100).map(|n| arriving(&format!("{batch}-{n}"), "b", "x")).collect();
        work(&store).receive(&named, &events, false).await.unwrap();
    }
    let received = work(&store).receive(&named, &first, false).await.unwrap();
    assert_eq!((received.claims.as_slice(), value(&store, "a").await), (&[Claim::Duplicate][..], Some(1)));
    assert_eq!((value(&store, "b").await, store.backlog().await.unwrap().inbox), (Some(1000), 1001));
}

/// The subscription's name is part of the key, and so is the source (F-75).
pub async fn f_75_every_subscription_has_an_inbox_of_its_own<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let count = Count::default();
    let event = arriving("1", "a", "one");
    for name in ["first", "second"] {
        let named = subscription(name, &count);
        let received = work(&store).receive(&named, &[Arc::clone(&event)], false).await.unwrap();
        assert_eq!(received.claims, [Claim::First], "{name}");
    }
    let mut of_another = (*event).clone();
    of_another.source = "https://conformance.example/elsewhere".into();
    let named = subscription("first", &count);
    let received = work(&store).receive(&named, &[Arc::new(of_another), event], false).await.unwrap();
    assert_eq!(received.claims, [Claim::First, Claim::Duplicate]);
    assert_eq!((value(&store, "a").await, store.backlog().await.unwrap().inbox), (Some(3), 3));
}

/// What failed has not been handled.
pub async fn f_73_a_claim_that_was_rolled_back_can_be_made_again<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let count = Count::default();
    let named = subscription("counting", &count);
    let event = [arriving("1", "a", "one")];
    count.fails_on.lock().unwrap().push("one".into());
    for _ in 0..3 {
        work(&store).receive(&named, &event, false).await.unwrap_err();
        assert_no_trace(&store).await;
    }
    count.fails_on.lock().unwrap().clear();
    let received = work(&store).receive(&named, &event, false).await.unwrap();
    assert_eq!((received.claims.as_slice(), count.calls.load(Ordering::SeqCst)), (&[Claim::First][..], 4));
    assert_eq!((value(&store, "a").await, texts(&store).await.len()), (Some(1), 1));
}

/// One transaction for all of them.
pub async fn several_deliveries_commit_or_fail_as_one<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let count = Count::default();
    let named = subscription("counting", &count);
    let events: Vec<_> = [("1", "a", "one"), ("2", "b", "two"), ("3", "a", "three")]
        .map(|(id, item, text)| arriving(id, item, text))
        .into();
    count.fails_on.lock().unwrap().push("three".into());
    let error = work(&store).receive(&named, &events, false).await.unwrap_err();
    assert!(matches!(&error, Error::Subscriber { id, .. } if id == "3"), "{error}");
    assert_no_trace(&store).await;
    let received = work(&store).receive(&named, &events[..2], false).await.unwrap();
    assert_eq!(received.claims, [Claim::First, Claim::First]);
    count.fails_on.lock().unwrap().clear();
    let received = work(&store).receive(&named, &events, false).await.unwrap();
    assert_eq!(received.claims, [Claim::Duplicate, Claim::Duplicate, Claim::First]);
    assert_eq!((note(&store, "a").await.as_str(), note(&store, "b").await.as_str()), ("one three", "two"));
    assert_eq!(texts(&store).await, ["because of one", "because of two", "because of three"]);
}

/// Announces twice, and keeps the ids that it was given.
#[derive(Clone, Default)]
struct Keep {
    fails: Arc<Mutex<bool>>,
    ids: Arc<Mutex<Vec<EventId>>>,
}

impl<S: Documents> Subscriber<ItemGrownV1, S> for Keep {
    async fn receive(&self, received: &Received<ItemGrownV1>, uow: &mut UnitOfWork<S>) -> Outcome {
        let given = [
            uow.announce(&ItemGrownV1::of(&received.item, "x"))?,
            uow.announce(&ItemGrownV1::of(&received.item, "y"))?,
            uow.announce(&ItemGrownV1::of("another", "x"))?,
        ];
        self.ids.lock().map_err(|_| "a test has panicked")?.extend(given);
        let fails = self.fails.lock().is_ok_and(|fails| *fails);
        if fails { Err("told to fail".into()) } else { Ok(()) }
    }
}

/// A repeat on a database that has lost what it knew tells nothing new.
pub async fn a_repeated_reception_announces_under_the_same_ids<F: StoreFixture>(fixture: &F) {
    let event = [arriving("1", "a", "one")];
    let keep = Keep::default();
    let named = |name| Subscription::named(name).on::<ItemGrownV1>(keep.clone());
    let store = fixture.fresh().await;
    *keep.fails.lock().unwrap() = true;
    work(&store).receive(&named("keeping"), &event, false).await.unwrap_err();
    *keep.fails.lock().unwrap() = false;
    work(&store).receive(&named("keeping"), &event, false).await.unwrap();
    let restored = fixture.fresh().await;
    work(&restored).receive(&named("keeping"), &event, false).await.unwrap();
    let ids = keep.ids.lock().unwrap().clone();
    assert_eq!((ids.len(), &ids[0..3], &ids[0..3]), (9, &ids[3..6], &ids[6..9]));
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    let rows = |rows: Vec<factum::port::OutboxRow>| {
        rows.iter().map(|row| row.envelope.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(rows(outbox(&store).await), rows(outbox(&restored).await));

    work(&store).receive(&named("another"), &event, false).await.unwrap();
    let ids = keep.ids.lock().unwrap().clone();
    assert_ne!(ids[0], ids[9], "another subscription tells something else");
}

/// Before each try, whatever becomes of it.
pub async fn attempts_are_counted_by_subscription_and_event<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let (one, two) = (arriving("1", "a", "one"), arriving("2", "a", "two"));
    let both = [Arc::clone(&one), Arc::clone(&two)];
    assert_eq!(store.count_attempts("first", &both).await.unwrap(), [1, 1]);
    assert_eq!(store.count_attempts("first", &both[1..]).await.unwrap(), [2]);
    assert_eq!(store.count_attempts("second", &both).await.unwrap(), [1, 1]);
    assert_eq!(store.count_attempts("first", &both).await.unwrap(), [2, 3]);
    assert_eq!(store.count_attempts("first", &[]).await.unwrap(), [0; 0]);
    let backwards = [two, one];
    assert_eq!(store.count_attempts("first", &backwards).await.unwrap(), [4, 3]);
    // What failed for no reason of its own was no try; and none can owe any.
    store.excuse_attempts("first", &backwards[..1]).await.unwrap();
    store.excuse_attempts("third", &backwards).await.unwrap();
    for _ in 0..2 {
        store.excuse_attempts("second", &backwards).await.unwrap();
    }
    assert_eq!(store.count_attempts("first", &backwards).await.unwrap(), [4, 4]);
    assert_eq!(store.count_attempts("second", &backwards).await.unwrap(), [1, 1]);
    assert_eq!(store.count_attempts("third", &backwards).await.unwrap(), [1, 1]);
}

/// Forward with what was folded in, and not without.
pub async fn f_81_a_checkpoint_moves_with_the_rows_of_its_projection<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let named = Subscription::named("insight").projecting::<ItemGrownV1>(Project);
    let events: Vec<_> = (1..=3).map(|n| arriving(&n.to_string(), "a", "one")).collect();
    let checkpoint = async || fixture.checkpoint(&store, "insight", THERE).await;
    assert_eq!(checkpoint().await, None);
    work(&store).receive(&named, &events[..2], false).await.unwrap();
    let mark = checkpoint().await.unwrap();
    assert_eq!((mark.events, mark.last.as_str(), value(&store, "a").await), (2, "2", Some(2)));

    let bad = [Arc::clone(&events[2]), arriving("4", "a", "unreadable")];
    work(&store).receive(&named, &bad, false).await.unwrap_err();
    assert_eq!((checkpoint().await.unwrap().events, value(&store, "a").await), (2, Some(2)));

    work(&store).receive(&named, &events, false).await.unwrap();
    let mark = checkpoint().await.unwrap();
    assert_eq!((mark.events, mark.last.as_str(), value(&store, "a").await), (3, "3", Some(3)));
    work(&store).receive(&named, &events, false).await.unwrap();
    assert_eq!(checkpoint().await.unwrap(), mark);
    assert_eq!(fixture.checkpoint(&store, "insight", "https://conformance.example/elsewhere").await, None);
    assert_eq!(fixture.checkpoint(&store, "another", THERE).await, None);
}
