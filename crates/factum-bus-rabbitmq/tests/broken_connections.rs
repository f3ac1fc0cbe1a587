//! The network between us and the broker breaks at every byte: what was not confirmed is said to be unknown.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use factum::Envelope;
use factum::integration::{Answer, EventBus, Interest};
use factum_bus_rabbitmq::RabbitMq;
use factum_conformance::service;
use factum_launcher::{End, Proxy, Way};

use support::{
    Answers, Namespace, PATIENCE, SOURCE, TYPE, envelope, publish_one, publish_until_confirmed, read,
    subscribe, within,
};

/// A proxy in front of the server that all tests share.
async fn proxied(test: &str) -> Option<(Namespace, Proxy, String)> {
    let url = service::RABBITMQ.url_or_skip(test)?;
    let address = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).unwrap();
    let address = tokio::net::lookup_host(address).await.unwrap().next().unwrap();
    let proxy = Proxy::to(address).await.unwrap();
    let url = proxy.instead_of(&url);
    Some((Namespace::new(), proxy, url))
}

async fn connect(namespace: &Namespace, url: &str, deadline: Duration) -> RabbitMq {
    namespace
        .options_at(url)
        .deadline(deadline)
        .connect_deadline(Duration::from_secs(5))
        .connect()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f_52_what_the_broker_has_not_confirmed_is_not_confirmed() {
    const NAME: &str = "f_52_what_the_broker_has_not_confirmed_is_not_confirmed";
    let Some((namespace, proxy, url)) = proxied(NAME).await else { return };
    let deadline = Duration::from_secs(2);
    let bus = connect(&namespace, &url, deadline).await;
    let mut consumer = subscribe(&bus, "s").await.unwrap();
    assert_eq!(publish_one(&bus, envelope("before", "k")).await, Answer::Confirmed);
    proxy.swallow(Way::ToClient, true);
    let answers = Answers::default();
    let batch = answers.batch((0..100).map(|n| envelope(&format!("{n:03}"), &format!("key {n}"))));
    bus.publish(batch).await.unwrap();
    let given = within(deadline * 2, "the answers", answers.all(100)).await;
    assert!(given.values().all(|answer| matches!(answer, Answer::Unknown(_))), "{given:?}");
    proxy.heal();
    proxy.end_all(End::Reset);
    for n in 0..100 {
        let again = publish_until_confirmed(&bus, envelope(&format!("{n:03}"), &format!("key {n}")));
        within(PATIENCE, "the confirmation", again).await;
    }
    read(&mut *consumer, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_53_an_envelope_whose_confirm_was_lost_comes_once_or_twice_and_in_order() {
    const NAME: &str = "f_53_an_envelope_whose_confirm_was_lost_comes_once_or_twice_and_in_order";
    let Some((namespace, proxy, url)) = proxied(NAME).await else { return };
    let bus = connect(&namespace, &url, Duration::from_secs(5)).await;
    let reader = namespace.options().connect().await.unwrap();
    let mut consumer = subscribe(&reader, "s").await.unwrap();
    publish_until_confirmed(&bus, envelope("warm", "k")).await;
    // An acknowledgement has 21 bytes; a publication of this size some hundred.
    let cuts = (0..=21).map(|byte| (Way::ToClient, byte));
    let cuts: Vec<_> = cuts.chain((0..=700).step_by(35).map(|byte| (Way::ToServer, byte))).collect();
    let mut tries = 0;
    for (n, (way, byte)) in cuts.iter().enumerate() {
        proxy.cut_after(*way, *byte, End::Reset);
        let again = publish_until_confirmed(&bus, envelope(&format!("{n:03}"), "k"));
        tries += within(PATIENCE, "the confirmation", again).await;
        proxy.heal();
    }
    let ids = read(&mut *consumer, cuts.len() + 1).await;
    let mut first = ids.clone();
    first.dedup();
    first.retain(|id| id != "warm");
    let mut sorted = first.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(first, sorted, "each comes before the next, and repeats follow at once");
    assert!(proxy.counts().cut >= 20, "{:?}", proxy.counts());
    assert!(ids.len() <= tries + 1, "{} deliveries of {tries} tries", ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn f_55_what_no_queue_took_is_unroutable_however_its_acknowledgement_is_mixed_with_others() {
    const NAME: &str = "f_55_what_no_queue_took_is_unroutable";
    if service::RABBITMQ.url_or_skip(NAME).is_none() {
        return;
    }
    let namespace = Namespace::new();
    // One channel, so that all of them are answered together.
    let bus = namespace.options().channels(1).connect().await.unwrap();
    let mut consumer = subscribe(&bus, "s").await.unwrap();
    let answers = Answers::default();
    let sent = (0..3_000).map(|n| {
        let envelope = envelope(&format!("{n:04}"), &format!("key {n}"));
        let r#type = if n % 3 == 0 { "com.example.shop.nobody-takes-it.v1" } else { TYPE };
        factum::Envelope { r#type: r#type.into(), ..envelope }
    });
    bus.publish(answers.batch(sent)).await.unwrap();
    let given = within(PATIENCE, "the answers", answers.all(3_000)).await;
    for (n, answer) in given.values().enumerate() {
        let expected = if n % 3 == 0 { Answer::Unroutable } else { Answer::Confirmed };
        assert_eq!(*answer, expected, "of {n}");
    }
    assert_eq!(read(&mut *consumer, 2_000).await.len(), 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn f_55_a_queue_that_was_deleted_makes_its_events_unroutable_until_it_is_subscribed_again() {
    const NAME: &str = "f_55_a_queue_that_was_deleted_makes_its_events_unroutable";
    let Some(url) = service::RABBITMQ.url_or_skip(NAME) else { return };
    let namespace = Namespace::new();
    let bus = namespace.options().connect().await.unwrap();
    drop(subscribe(&bus, "s").await.unwrap());
    assert_eq!(publish_one(&bus, envelope("1", "k")).await, Answer::Confirmed);
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    for partition in 0..4 {
        let queue = format!("{}.s.{partition}", namespace.name);
        channel.queue_delete(queue.into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    }
    assert_eq!(publish_one(&bus, envelope("2", "k")).await, Answer::Unroutable);
    let mut consumer = subscribe(&bus, "s").await.unwrap();
    let goes_on = async { while publish_one(&bus, envelope("3", "k")).await == Answer::Unroutable {} };
    within(PATIENCE, "the confirmation", goes_on).await;
    assert_eq!(read(&mut *consumer, 1).await[0], "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_57_each_of_a_hundred_lost_connections_ends_what_was_under_way_and_all_goes_on() {
    const NAME: &str = "f_57_each_of_a_hundred_lost_connections_ends_what_was_under_way_and_all_goes_on";
    let Some((namespace, proxy, url)) = proxied(NAME).await else { return };
    // Far away, so that only the loss of the connection can answer what was under way.
    let bus = connect(&namespace, &url, Duration::from_secs(50)).await;
    let mut consumer = subscribe(&bus, "s").await.unwrap();
    let mut sent = 0;
    publish_until_confirmed(&bus, envelope("999-99", "warm")).await;
    read(&mut *consumer, 1).await;
    for round in 0..100 {
        proxy.swallow(Way::ToClient, true);
        let answers = Answers::default();
        let batch: Vec<_> =
            (0..20).map(|n| envelope(&format!("{round:03}-{n:02}"), &format!("key {n}"))).collect();
        bus.publish(answers.batch(batch.clone())).await.unwrap();
        proxy.heal();
        proxy.end_all(if round % 2 == 0 { End::Reset } else { End::Close });
        let given = within(Duration::from_secs(5), "the answers", answers.all(20)).await;
        assert!(given.values().all(|answer| matches!(answer, Answer::Unknown(_))), "{given:?}");
        let drain = async {
            for envelope in batch {
                publish_until_confirmed(&bus, envelope).await;
            }
        };
        within(Duration::from_secs(10), "the drain", drain).await;
        sent += 20;
    }
    let ids = read(&mut *consumer, sent).await;
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in ids {
        let (round, key) = id.split_once('-').unwrap();
        let rounds = by_key.entry(key.into()).or_default();
        if !rounds.iter().any(|it| it == round) {
            rounds.push(round.into());
        }
    }
    assert!(by_key.values().all(|rounds| rounds.is_sorted()), "{by_key:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_58_a_key_keeps_its_order_when_the_process_that_reads_it_is_cut_off() {
    const NAME: &str = "f_58_a_key_keeps_its_order_when_the_process_that_reads_it_is_cut_off";
    let Some((namespace, proxy, url)) = proxied(NAME).await else { return };
    let dying = connect(&namespace, &url, Duration::from_secs(5)).await;
    let mut first = subscribe(&dying, "s").await.unwrap();
    let other = namespace.options().connect().await.unwrap();
    let mut second = subscribe(&other, "s").await.unwrap();
    for n in 0..200 {
        publish_until_confirmed(&other, envelope(&format!("{n:03}"), &format!("key {}", n % 8))).await;
    }
    // The first of each key are in its hands, unacknowledged, when it is cut off.
    let mut held = Vec::new();
    while held.len() < 8 {
        held.extend(within(PATIENCE, "a delivery", first.next(8)).await.unwrap());
    }
    proxy.refuse().await.unwrap();
    proxy.end_all(End::Reset);
    let ids = read(&mut *second, 200).await;
    let mut by_key: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for id in ids {
        by_key.entry(id.parse::<usize>().unwrap() % 8).or_default().push(id);
    }
    assert!(by_key.values().all(|ids| ids.is_sorted()), "{by_key:?}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_set_aside_and_holds_nothing_up() {
    const NAME: &str = "what_is_no_event_is_set_aside_and_holds_nothing_up";
    let Some(url) = service::RABBITMQ.url_or_skip(NAME) else { return };
    let namespace = Namespace::new();
    let bus = namespace.options().connect().await.unwrap();
    let mut consumer = subscribe(&bus, "s").await.unwrap();
    assert_eq!(publish_one(&bus, envelope("1", "k")).await, Answer::Confirmed);
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let (exchange, key) = (format!("{}.{SOURCE}", namespace.name), format!("{TYPE}.1"));
    let (options, none) = (lapin::options::BasicPublishOptions::default(), lapin::BasicProperties::default());
    channel
        .basic_publish(exchange.as_str().into(), key.as_str().into(), options, b"garbage", none)
        .await
        .unwrap();
    let structured = envelope("structured", "k").to_json();
    let properties =
        lapin::BasicProperties::default().with_content_type("application/cloudevents+json".into());
    let sent = channel.basic_publish(exchange.into(), key.into(), options, &structured, properties);
    sent.await.unwrap();
    read(&mut *consumer, 2).await;
    let unreadable = format!("{}.s.unreadable", namespace.name);
    let found = async {
        loop {
            // Who looks for a queue that is not there loses the channel.
            let channel = connection.create_channel().await.unwrap();
            let options = lapin::options::BasicGetOptions { no_ack: true };
            if let Ok(Some(message)) = channel.basic_get(unreadable.as_str().into(), options).await {
                return message;
            }
            tokio::task::yield_now().await;
        }
    };
    let message = within(PATIENCE, "the message in its own queue", found).await;
    assert_eq!(message.data, b"garbage");
    let headers = message.properties.headers().as_ref().unwrap();
    let reason = format!("{:?}", headers.inner().get("x-factum-reason"));
    assert!(!reason.is_empty() && reason != "None");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_takes_the_types_it_wants_of_one_service_by_a_topic_exchange_of_its_own() {
    const NAME: &str =
        "another_program_takes_the_types_it_wants_of_one_service_by_a_topic_exchange_of_its_own";
    let Some(url) = service::RABBITMQ.url_or_skip(NAME) else { return };
    let namespace = Namespace::new();
    let bus = namespace.options().connect().await.unwrap();
    let _consumer = subscribe(&bus, "s").await.unwrap();
    assert_eq!(publish_one(&bus, envelope("before", "k")).await, Answer::Confirmed);
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let name = |what: &str| lapin::types::ShortString::from(format!("{}-{what}", namespace.name));
    let passing = lapin::options::ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
    let kind = lapin::ExchangeKind::Topic;
    channel.exchange_declare(name("some"), kind, passing, Default::default()).await.unwrap();
    let service = format!("{}.{SOURCE}", namespace.name).into();
    let (bind, none) = (lapin::options::ExchangeBindOptions::default(), lapin::types::FieldTable::default());
    channel.exchange_bind(name("some"), service, "".into(), bind, none.clone()).await.unwrap();
    let own = lapin::options::QueueDeclareOptions { exclusive: true, ..Default::default() };
    channel.queue_declare(name("own"), own, none.clone()).await.unwrap();
    let pattern = "com.example.shop.order-cancelled.v1.*".into();
    channel.queue_bind(name("own"), name("some"), pattern, Default::default(), none).await.unwrap();
    let cancelled =
        |id: &str| Envelope { r#type: "com.example.shop.order-cancelled.v1".into(), ..envelope(id, "k") };
    let elsewhere = Envelope { source: "https://shop.example/returns".into(), ..cancelled("elsewhere") };
    assert_eq!(publish_one(&bus, elsewhere).await, Answer::Unroutable);
    assert_eq!(publish_one(&bus, envelope("placed", "k")).await, Answer::Confirmed);
    assert_eq!(publish_one(&bus, cancelled("cancelled")).await, Answer::Confirmed);
    let get = || channel.basic_get(name("own"), lapin::options::BasicGetOptions { no_ack: true });
    let message = get().await.unwrap().unwrap();
    let id = message.properties.headers().as_ref().unwrap().inner().get("ce-id").cloned();
    assert_eq!(id, Some(lapin::types::AMQPValue::LongString("cancelled".into())));
    assert!(get().await.unwrap().is_none());
    connection.close(200, "done".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_with_other_settings_is_told_and_left_as_it_is() {
    const NAME: &str = "what_exists_with_other_settings_is_told_and_left_as_it_is";
    if service::RABBITMQ.url_or_skip(NAME).is_none() {
        return;
    }
    let namespace = Namespace::new();
    let bus = namespace.options().connect().await.unwrap();
    let error = namespace.options().partitions(5).connect().await.unwrap_err().to_string();
    assert!(error.contains("another number of partitions than 5"), "{error}");
    let classic = namespace.options().queue_kind(factum_bus_rabbitmq::QueueKind::Classic);
    let error = classic.connect().await.unwrap_err().to_string();
    assert!(error.contains("another number of partitions") || error.contains("other settings"), "{error}");
    // An exchange of another kind under the name that a source was given.
    let mapped = namespace.options().exchange(SOURCE, "amq-like").connect().await.unwrap();
    drop(subscribe(&mapped, "s").await.unwrap());
    let url = service::RABBITMQ.url();
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let name = format!("{}-topic", namespace.name);
    let durable = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
    let kind = lapin::ExchangeKind::Topic;
    channel.exchange_declare(name.as_str().into(), kind, durable, Default::default()).await.unwrap();
    let mapped = namespace.options().exchange(SOURCE, &*name).connect().await.unwrap();
    let answers = Answers::default();
    let error = mapped.publish(answers.batch([envelope("1", "k")])).await.unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("left as it is"), "{error}");
    channel.exchange_delete(name.into(), Default::default()).await.unwrap();
    let none = Interest { subscription: "s".into(), types: Vec::new(), prefetch: 1 };
    let Err(error) = bus.subscribe(none).await else { panic!("a consumer of nothing") };
    assert!(error.to_string().contains("without a type"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_can_be_removed_and_says_how_much_that_was() {
    const NAME: &str = "a_namespace_can_be_removed_and_says_how_much_that_was";
    if service::RABBITMQ.url_or_skip(NAME).is_none() {
        return;
    }
    let namespace = Namespace::new();
    let bus = namespace.options().connect().await.unwrap();
    drop(subscribe(&bus, "s").await.unwrap());
    assert_eq!(publish_one(&bus, envelope("1", "k")).await, Answer::Confirmed);
    bus.close(PATIENCE).await;
    // Four queues and one to count readers, the source's exchanges, the hub, the registry and the marker.
    let removed = namespace.options().clean_up().await.unwrap();
    assert!((9..=10).contains(&removed), "{removed}");
    assert_eq!(namespace.options().clean_up().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_subscription_and_each_key_keeps_its_order() {
    const NAME: &str = "two_processes_share_a_subscription_and_each_key_keeps_its_order";
    if service::RABBITMQ.url_or_skip(NAME).is_none() {
        return;
    }
    let namespace = Namespace::new();
    let options = || namespace.options().share_every(Duration::from_millis(200));
    let (one, two) = (options().connect().await.unwrap(), options().connect().await.unwrap());
    let mut first = subscribe(&one, "s").await.unwrap();
    let mut second = subscribe(&two, "s").await.unwrap();
    let publishing = tokio::spawn({
        let one = one.clone();
        async move {
            for n in 0.. {
                publish_until_confirmed(&one, envelope(&format!("{n:06}"), &format!("key {}", n % 16))).await;
            }
        }
    });
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut of_first, mut of_second) = (0, 0);
    while of_first == 0 || of_second < 200 || of_first + of_second < 600 {
        let deliveries = tokio::select! {
            deliveries = first.next(10) => { of_first += 1; deliveries }
            deliveries = second.next(10) => { of_second += 1; deliveries }
            // tidy: allow(sleep): a watchdog
            () = tokio::time::sleep(PATIENCE) => panic!("{of_first} and {of_second}, and nothing more"),
        };
        for delivery in deliveries.unwrap() {
            let ids = by_key.entry(delivery.envelope.ordering_key().into()).or_default();
            ids.push(delivery.envelope.id.to_string());
            delivery.settle.ack().await.unwrap();
        }
    }
    publishing.abort();
    for ids in by_key.values() {
        assert!(ids.is_sorted_by(|one, next| one < next), "out of order, or twice: {ids:?}");
    }
}
