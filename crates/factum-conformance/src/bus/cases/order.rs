//! The order of a key is kept, and one key's trouble is not another's.

use std::collections::BTreeMap;
use std::time::Duration;

use factum::Envelope;

use crate::bus::BusFixture;
use crate::bus::readers::Readers;
use crate::bus::stage::{Seeded, Stage};

/// While the first of a key is out, the second does not come, to nobody; another key's does.
pub async fn the_next_of_a_key_waits_for_the_acknowledgement_and_other_keys_do_not<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("order", |it| it.ordered).await else { return };
    let (mut one, mut two) = (stage.consumer("s", 10).await, stage.consumer("s", 10).await);
    let sent = [("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c"), ("d1", "d")];
    let publishing = stage.publish(sent.map(|(id, key)| stage.envelope(id, key)).into());
    let mut out = BTreeMap::new();
    while out.len() < 4 {
        let delivery = tokio::select! {
            delivery = stage.one(&mut *one) => delivery,
            delivery = stage.one(&mut *two) => delivery,
        };
        out.insert(delivery.envelope.id.to_string(), delivery);
    }
    assert_eq!(out.keys().collect::<Vec<_>>(), ["a1", "b1", "c1", "d1"]);
    for (_, delivery) in out {
        delivery.settle.ack().await.unwrap();
    }
    let delivery = tokio::select! {
        delivery = stage.one(&mut *one) => delivery,
        delivery = stage.one(&mut *two) => delivery,
    };
    assert_eq!(delivery.envelope.id.as_str(), "a2");
    delivery.settle.ack().await.unwrap();
    publishing.confirmed().await;
}

fn in_order(sent: &[Envelope]) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for envelope in sent {
        by_key.entry(envelope.ordering_key().into()).or_default().push(envelope.id.to_string());
    }
    by_key
}

/// Ten consumers compete; what is handled first of each key is what was published first.
pub async fn each_key_keeps_its_order_across_competing_consumers<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("order", |it| it.ordered).await else { return };
    let mut readers = Readers::default();
    for _ in 0..10 {
        readers.add(stage.consumer("s", 5).await);
    }
    let sent = stage.numbered(stage.size.pick(300, 1_000), 16);
    let publishing = stage.publish(sent.clone());
    stage.within("the arrival of all", readers.arrivals.distinct(sent.len())).await;
    assert_eq!(readers.arrivals.by_key(), in_order(&sent));
    publishing.confirmed().await;
}

/// The same while deliveries are nacked, delayed and dropped at random, and consumers are replaced.
pub async fn each_key_keeps_its_order_when_consumers_hand_back_and_die<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("order", |it| it.ordered && it.persistent).await else { return };
    let mut random = Seeded::new();
    let sent = stage.numbered(stage.size.pick(200, 1_000), 8);
    drop(stage.consumer("s", 5).await);
    let publishing = stage.publish(sent.clone());
    let mut readers = Readers::default();
    for round in 1..=4 {
        for _ in 0..4 {
            readers.add_fickle(stage.consumer("s", 5).await, random.fork());
        }
        let part = sent.len() * round / 4;
        stage.within("the arrival of a part", readers.arrivals.distinct(part)).await;
        readers.die();
    }
    assert_eq!(readers.arrivals.by_key(), in_order(&sent));
    readers.add(stage.consumer("s", 5).await);
    publishing.confirmed().await;
}

/// Order holds per subscription, source and key: a `shipped` does not overtake its `placed`.
pub async fn a_key_keeps_its_order_across_the_types_of_a_subscription<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("order", |it| it.ordered).await else { return };
    let types = ["placed", "paid", "shipped"];
    let mut consumer = stage.consumer_of("s", &types, 10).await;
    let sent: Vec<_> =
        (0..30).map(|n| stage.typed(types[n % 3], &format!("{n:02}"), &format!("order {}", n % 2))).collect();
    let publishing = stage.publish(sent.clone());
    let mut read: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in &sent {
        let delivery = stage.one(&mut *consumer).await;
        let ids = read.entry(delivery.envelope.ordering_key().into()).or_default();
        if !ids.contains(&delivery.envelope.id.to_string()) {
            ids.push(delivery.envelope.id.to_string());
        }
        delivery.settle.ack().await.unwrap();
    }
    assert_eq!(read, in_order(&sent));
    publishing.confirmed().await;
}

/// A key in backoff waits as a whole, and everything else is handled meanwhile.
pub async fn what_is_handed_back_for_later_holds_up_its_key_and_no_other<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("order", |it| it.ordered).await else { return };
    let mut consumer = stage.consumer("s", 10).await;
    let troubled = ["t1", "t2", "t3"].map(|id| stage.envelope(id, "troubled"));
    let troubled = stage.publish(troubled.into());
    let first = stage.one(&mut *consumer).await;
    assert_eq!(first.envelope.id.as_str(), "t1");
    first.settle.nack(Duration::from_millis(500)).await.unwrap();
    let others = stage.numbered(20, 4);
    let publishing = stage.publish(others);
    let mut order = Vec::new();
    while order.len() < 23 {
        let delivery = stage.one(&mut *consumer).await;
        order.push(delivery.envelope.id.to_string());
        delivery.settle.ack().await.unwrap();
    }
    assert_eq!(order[20..], ["t1", "t2", "t3"], "of {order:?}");
    troubled.confirmed().await;
    publishing.confirmed().await;
}
