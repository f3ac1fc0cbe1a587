//! Everything arrives, everywhere it should and nowhere else.

use std::sync::Arc;

use factum::Envelope;

use crate::bus::BusFixture;
use crate::bus::readers::Readers;
use crate::bus::stage::{Stage, deal, ids};

/// A batch arrives whole, each envelope with its data and its attributes.
pub async fn everything_published_arrives_as_it_was_sent<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 100).await;
    let mut sent = stage.numbered(stage.size.pick(100, 1_000), 7);
    for envelope in &mut sent {
        envelope.correlationid = Some(format!("conversation of {}", envelope.id).into());
    }
    let publishing = stage.publish(sent.clone());
    let mut missing = ids(&sent);
    while !missing.is_empty() {
        let delivery = stage.one(&mut *consumer).await;
        let envelope = sent.iter().find(|envelope| envelope.id == delivery.envelope.id);
        assert_eq!(Some(&*delivery.envelope), envelope);
        missing.remove(delivery.envelope.id.as_str());
        delivery.settle.ack().await.unwrap();
    }
    publishing.confirmed().await;
}

/// Many publishers, many consumers of one subscription: together they get all of it.
pub async fn competing_consumers_together_get_everything<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let lanes = stage.size.pick(10, 50);
    let mut readers = Readers::default();
    for _ in 0..lanes {
        readers.add(stage.consumer("s", 10).await);
    }
    // A key belongs to one publisher: two have no order between them.
    let sent: Vec<_> = stage.numbered(stage.size.pick(200, 5_000), lanes * 3);
    let publishing: Vec<_> = deal(sent.clone(), lanes).into_iter().map(|hand| stage.publish(hand)).collect();
    stage.within("the arrival of all", readers.arrivals.distinct(sent.len())).await;
    assert_eq!(readers.arrivals.ids(), ids(&sent));
    for publishing in publishing {
        publishing.confirmed().await;
    }
}

/// The same ids on many types at once: each subscription gets its type's set.
pub async fn many_types_at_once_each_reach_their_own_subscription<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let (types, count) = (stage.size.pick(10, 20), stage.size.pick(50, 100));
    let mut readings = Vec::new();
    for n in 0..types {
        let r#type = format!("type{n}");
        let consumer = stage.consumer_of(&r#type, &[&r#type], 20).await;
        let sent: Vec<_> = (0..count).map(|i| stage.typed(&r#type, &format!("{n}-{i}"), &r#type)).collect();
        readings.push((consumer, ids(&sent), stage.publish(sent)));
    }
    for (mut consumer, sent, publishing) in readings {
        assert_eq!(stage.read(&mut *consumer, sent.len()).await, sent);
        publishing.confirmed().await;
    }
}

/// Two types: each arrives where it is wanted, and only there.
pub async fn a_type_does_not_leak_into_the_subscription_of_another<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut one = stage.consumer_of("one", &["one"], 10).await;
    let mut two = stage.consumer_of("two", &["two"], 10).await;
    let sent = ["one", "two", "one", "two"].iter().zip(0..);
    let publishing =
        stage.publish(sent.map(|(r#type, n)| stage.typed(r#type, &format!("{type}-{n}"), "k")).collect());
    let (of_one, of_two) = tokio::join!(stage.read(&mut *one, 2), stage.read(&mut *two, 2));
    assert_eq!(of_one.into_iter().collect::<Vec<_>>(), ["one-0", "one-2"]);
    assert_eq!(of_two.into_iter().collect::<Vec<_>>(), ["two-1", "two-3"]);
    publishing.confirmed().await;
}

/// Publishers on handles of their own, each gone when it has published.
pub async fn publishers_that_go_away_lose_nothing<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut readers = Readers::default();
    readers.add(stage.consumer("s", 100).await);
    let publishers = stage.size.pick(5, 20);
    let sent = stage.numbered(stage.size.pick(100, 10_000), publishers);
    for hand in deal(sent.clone(), publishers) {
        match stage.fixture.elsewhere().await {
            Some(handle) => {
                stage.publish_on(Arc::clone(&handle), hand).confirmed().await;
                handle.close(F::PATIENCE).await;
            }
            None => stage.publish_on(stage.fixture.bus(), hand).confirmed().await,
        }
    }
    stage.within("the arrival of all", readers.arrivals.distinct(sent.len())).await;
    assert_eq!(readers.arrivals.ids(), ids(&sent));
}

/// No history for the newcomer, nothing twice for the others.
pub async fn a_subscription_gets_what_is_published_from_its_beginning_on<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumers = Vec::new();
    for n in 0..3 {
        consumers.push(stage.consumer(&format!("s{n}"), 10).await);
        let id = format!("event {n}");
        let publishing = stage.publish(vec![stage.envelope(&id, "k")]);
        for consumer in &mut consumers {
            let delivery = stage.one(&mut **consumer).await;
            assert_eq!(delivery.envelope.id.as_str(), id);
            delivery.settle.ack().await.unwrap();
        }
        publishing.confirmed().await;
    }
}

/// Subscriptions do not compete with each other.
pub async fn two_subscriptions_get_the_complete_set_each<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let (mut one, mut two) = (stage.consumer("one", 10).await, stage.consumer("two", 10).await);
    let sent = stage.numbered(stage.size.pick(50, 500), 5);
    let publishing = stage.publish(sent.clone());
    let (of_one, of_two) = tokio::join!(stage.read(&mut *one, sent.len()), stage.read(&mut *two, sent.len()));
    assert_eq!((of_one, of_two), (ids(&sent), ids(&sent)));
    publishing.confirmed().await;
}

/// What identifies an event is source and id together; keys of two sources have nothing to do with each other.
pub async fn the_same_id_of_another_source_is_another_event<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let here = stage.envelope("same id", "same key");
    let there = Envelope { source: stage.source("payment").into(), ..here.clone() };
    let publishing = [stage.publish(vec![here.clone()]), stage.publish(vec![there.clone()])];
    // Both are out at once: neither key holds up the other.
    let first = stage.one(&mut *consumer).await;
    let second = stage.one(&mut *consumer).await;
    let mut sources = [first.envelope.source.to_string(), second.envelope.source.to_string()];
    sources.sort();
    assert_eq!(sources, [here.source.to_string(), there.source.to_string()]);
    first.settle.ack().await.unwrap();
    second.settle.ack().await.unwrap();
    for publishing in publishing {
        publishing.confirmed().await;
    }
}

/// A subscription is durable: it gets its events although nobody is there to take them.
pub async fn what_is_published_while_no_consumer_is_there_waits_for_one<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("persistence", |it| it.persistent).await else { return };
    drop(stage.consumer("s", 10).await);
    let sent = stage.numbered(20, 3);
    let publishing = stage.publish(sent.clone());
    let mut consumer = stage.consumer("s", 10).await;
    assert_eq!(stage.read(&mut *consumer, sent.len()).await, ids(&sent));
    publishing.confirmed().await;
}
