//! What was not acknowledged comes again; what was, or was rejected, does not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use factum::integration::Delivery;

use crate::bus::BusFixture;
use crate::bus::readers::Readers;
use crate::bus::stage::{Stage, ids};

/// The first deliveries are handed back, and all still arrives.
pub async fn what_is_handed_back_comes_again<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let sent = stage.numbered(stage.size.pick(50, 100), 10);
    let publishing = stage.publish(sent.clone());
    let mut handed_back = BTreeSet::new();
    for _ in 0..5 {
        let Delivery { envelope, settle, .. } = stage.one(&mut *consumer).await;
        handed_back.insert(envelope.id.to_string());
        settle.nack(Duration::ZERO).await.unwrap();
    }
    let read = stage.read(&mut *consumer, sent.len()).await;
    assert!(handed_back.is_subset(&read));
    assert_eq!(read, ids(&sent));
    publishing.confirmed().await;
}

/// Consumers that fail on everything leave all of it to one that does not.
pub async fn consumers_that_only_hand_back_use_nothing_up<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let sent = stage.numbered(stage.size.pick(20, 50), 10);
    let publishing = stage.publish(sent.clone());
    for _ in 0..stage.size.pick(1, 3) {
        for _ in 0..stage.size.pick(20, 100) {
            stage.one(&mut *consumer).await.settle.nack(Duration::ZERO).await.unwrap();
        }
        consumer = stage.consumer("s", 10).await;
    }
    assert_eq!(stage.read(&mut *consumer, sent.len()).await, ids(&sent));
    publishing.confirmed().await;
}

/// A handler that panics drops its delivery.
pub async fn a_delivery_that_is_dropped_comes_again<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let publishing = stage.publish(vec![stage.envelope("e", "k")]);
    for _ in 0..3 {
        let delivery = stage.one(&mut *consumer).await;
        assert_eq!(delivery.envelope.id.as_str(), "e");
        drop(delivery);
    }
    stage.read(&mut *consumer, 1).await;
    publishing.confirmed().await;
}

/// A consumer goes away with some in its hands: another one gets these, and the rest.
pub async fn a_consumer_that_dies_leaves_what_it_held_to_the_next<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("persistence", |it| it.persistent).await else { return };
    let mut dying = stage.consumer("s", 10).await;
    let sent = stage.numbered(20, 20);
    let publishing = stage.publish(sent.clone());
    let mut held = Vec::new();
    while held.len() < 10 {
        held.push(stage.one(&mut *dying).await);
    }
    drop(dying);
    let mut next = stage.consumer("s", 10).await;
    assert_eq!(stage.read(&mut *next, sent.len()).await, ids(&sent));
    drop(held);
    publishing.confirmed().await;
}

/// One consumer after the other, each for a part: nothing is lost in between.
pub async fn consumers_that_come_and_go_lose_nothing<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("persistence", |it| it.persistent).await else { return };
    let sessions = stage.size.pick(5, 20);
    let mut consumer = stage.consumer("s", 10).await;
    let sent = stage.numbered(stage.size.pick(50, 5_000), 13);
    let publishing = stage.publish(sent.clone());
    let mut read = BTreeSet::new();
    for _ in 1..sessions {
        let part = read.len() + sent.len() / sessions;
        while read.len() < part {
            let Delivery { envelope, settle, .. } = stage.one(&mut *consumer).await;
            read.insert(envelope.id.to_string());
            settle.ack().await.unwrap();
        }
        let held = stage.one(&mut *consumer).await;
        consumer = stage.consumer("s", 10).await;
        drop(held);
    }
    read.extend(stage.read(&mut *consumer, sent.len() - read.len()).await);
    assert_eq!(read, ids(&sent));
    publishing.confirmed().await;
}

/// Many consumers open, look and close at the same time.
pub async fn a_storm_of_consumers_leaves_the_subscription_usable<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("persistence", |it| it.persistent).await else { return };
    drop(stage.consumer("s", 10).await);
    let sent = stage.numbered(stage.size.pick(50, 500), 10);
    let publishing = stage.publish(sent.clone());
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (bus, interest) = (stage.fixture.bus(), stage.interest("s", &["placed"], 5));
        storm.spawn(async move {
            for polls in 0..10 {
                let mut consumer = bus.subscribe(interest.clone()).await.unwrap();
                // What it gets falls back at once.
                drop(crate::bus::stage::DropAfter::new(polls % 3, consumer.next(3)).await);
            }
        });
    }
    let all = async { while storm.join_next().await.transpose().unwrap().is_some() {} };
    stage.within("the end of the storm", all).await;
    let mut consumer = stage.consumer("s", 10).await;
    assert_eq!(stage.read(&mut *consumer, sent.len()).await, ids(&sent));
    publishing.confirmed().await;
}

/// Poison: it is kept by the subscriber, so the bus goes on without it.
pub async fn what_is_rejected_does_not_come_again_and_its_key_goes_on<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let sent = ["poison", "next"].map(|id| stage.envelope(id, "k"));
    let publishing = stage.publish(sent.into());
    let poison = stage.one(&mut *consumer).await;
    assert_eq!(poison.envelope.id.as_str(), "poison");
    poison.settle.reject(format!("no such product: {}", "é".repeat(300))).await.unwrap();
    let next = stage.one(&mut *consumer).await;
    assert_eq!(next.envelope.id.as_str(), "next");
    next.settle.ack().await.unwrap();
    publishing.confirmed().await;
    let publishing = stage.publish(vec![stage.envelope("marker", "k")]);
    assert_eq!(stage.one(&mut *consumer).await.envelope.id.as_str(), "marker", "poison came again");
    stage.read(&mut *consumer, 1).await;
    publishing.confirmed().await;
}

/// Counted for each event of its own, however it was handed back.
pub async fn each_delivery_tells_which_attempt_it_is<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("count of attempts", |it| it.counts_attempts).await else {
        return;
    };
    let mut consumer = stage.consumer("s", 10).await;
    let publishing = stage.publish(vec![stage.envelope("first", "k"), stage.envelope("second", "k")]);
    for attempt in 1..=6 {
        let delivery = stage.one(&mut *consumer).await;
        assert_eq!((delivery.envelope.id.as_str(), delivery.attempt), ("first", attempt));
        match attempt {
            1 => delivery.settle.nack(Duration::ZERO).await.unwrap(),
            2 => delivery.settle.nack(Duration::from_millis(1)).await.unwrap(),
            3 => drop(delivery),
            4 => consumer = stage.consumer("s", 10).await,
            5 => delivery.settle.nack(Duration::ZERO).await.unwrap(),
            _ => delivery.settle.ack().await.unwrap(),
        }
    }
    let second = stage.one(&mut *consumer).await;
    assert_eq!((second.envelope.id.as_str(), second.attempt), ("second", 1));
    second.settle.ack().await.unwrap();
    publishing.confirmed().await;
}

/// Backoff is the subscriber's to choose; the bus keeps to it.
pub async fn what_is_handed_back_for_later_does_not_come_before<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let publishing = stage.publish(vec![stage.envelope("e", "k")]);
    let after = Duration::from_millis(200);
    let delivery = stage.one(&mut *consumer).await;
    let handed_back = Instant::now();
    delivery.settle.nack(after).await.unwrap();
    let again = stage.one(&mut *consumer).await;
    assert!(handed_back.elapsed() >= after, "it came after {:?}", handed_back.elapsed());
    again.settle.ack().await.unwrap();
    publishing.confirmed().await;
}

/// Who says that it is still at work keeps its delivery, and acknowledges it in the end.
pub async fn a_delivery_in_progress_stays_with_its_consumer<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let (mut one, mut two) = (stage.consumer("s", 1).await, stage.consumer("s", 10).await);
    let publishing = stage.publish(vec![stage.envelope("e", "k")]);
    let mut delivery = tokio::select! {
        delivery = stage.one(&mut *one) => delivery,
        delivery = stage.one(&mut *two) => delivery,
    };
    for _ in 0..3 {
        delivery.settle.progress().await.unwrap();
    }
    let marker = stage.publish(vec![stage.envelope("marker", "another key")]);
    let mut other = tokio::select! {
        delivery = stage.one(&mut *one) => delivery,
        delivery = stage.one(&mut *two) => delivery,
    };
    assert_eq!(other.envelope.id.as_str(), "marker", "it was taken away from its consumer");
    other.settle.progress().await.unwrap();
    delivery.settle.ack().await.unwrap();
    other.settle.ack().await.unwrap();
    publishing.confirmed().await;
    marker.confirmed().await;
}

/// The broker goes down twice in the middle; publishers try again, consumers come back.
pub async fn nothing_is_lost_when_the_broker_restarts_twice<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let sent = stage.numbered(stage.size.pick(300, 10_000), 20);
    let third = sent.len() / 3;
    drop(stage.consumer("s", 10).await);
    for (n, part) in sent.chunks(third).enumerate() {
        let mut readers = Readers::default();
        readers.add(stage.consumer("s", 10).await);
        let publishing = stage.publish(part.to_vec());
        stage.within("half of it", readers.arrivals.distinct(part.len() / 2)).await;
        readers.die();
        if n < 2 && !stage.fixture.restart().await {
            println!("does not apply: there is no broker to restart");
            return;
        }
        readers.add(stage.consumer("s", 10).await);
        stage.within("the other half", readers.arrivals.distinct(part.len())).await;
        assert_eq!(readers.arrivals.ids(), ids(part));
        publishing.confirmed().await;
    }
}
