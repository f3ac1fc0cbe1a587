//! What publishers and subscribers are told when the server or the way to it breaks. Each test has a server of its own.

mod support;

use std::time::{Duration, Instant};

use factum::integration::Answer;
use factum::{Envelope, EventBus as _};
use factum_bus_nats::Nats;
use factum_launcher::{End, Proxy, Way, or_skip};
use support::{Arrivals, SOURCE, TYPE, answers, by_key, envelope, interest, numbered, publish, within};

const DEADLINE: Duration = Duration::from_millis(500);
/// What a deadline may be late by: timers, and a machine with other work.
const SLACK: Duration = Duration::from_secs(1);

async fn server(test: &str) -> Option<factum_launcher::Nats> {
    or_skip(test, factum_launcher::Nats::start().await)
}

fn options(url: &str) -> factum_bus_nats::Options {
    Nats::options(url).publish_deadline(DEADLINE).request_deadline(DEADLINE).lease(Duration::from_secs(1))
}

fn is_unknown(answers: &[Answer]) -> bool {
    answers.iter().all(|answer| matches!(answer, Answer::Unknown(_)))
}

/// How many messages a stream has.
async fn stored(url: &str) -> u64 {
    let client = async_nats::connect(url).await.unwrap();
    let mut stream =
        async_nats::jetstream::new(client).get_stream("factum_shop-example_ordering").await.unwrap();
    stream.info().await.unwrap().state.messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_52_what_the_server_did_not_acknowledge_is_not_confirmed() {
    let Some(mut server) = server("f_52").await else { return };
    let proxy = Proxy::to(server.address()).await.unwrap();
    let bus = options(&proxy.instead_of(server.url())).connect().await.unwrap();
    publish(&bus, vec![envelope("before", "k")]).await;
    // It arrives, and no answer comes back.
    proxy.stall(Way::ToClient, true);
    let given = within("the answers", answers(&bus, numbered(50, 50))).await;
    assert!(is_unknown(&given), "{given:?}");
    proxy.heal();
    publish(&bus, vec![envelope("between", "k")]).await;
    assert_eq!(stored(server.url()).await, 52, "all had arrived");
    // The server dies with what it was sent.
    proxy.stall(Way::ToServer, true);
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { answers(&bus, numbered(10, 10)).await }
    });
    let begun = Instant::now();
    server.kill().unwrap();
    let given = within("the answers", waiting).await.unwrap();
    assert!(is_unknown(&given), "{given:?}");
    assert!(begun.elapsed() < DEADLINE + SLACK, "they came after {:?}", begun.elapsed());
}

/// The same event again, under the same id: one is stored while the server remembers, and one effect is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_53_a_connection_cut_at_any_byte_loses_nothing_and_keeps_the_order() {
    let Some(server) = server("f_53").await else { return };
    let proxy = Proxy::to(server.address()).await.unwrap();
    let bus = options(&proxy.instead_of(server.url())).connect().await.unwrap();
    // The consumer has a way of its own: only publishing is cut.
    let far = options(server.url()).connect().await.unwrap();
    let arrivals = Arrivals::default();
    let reading =
        tokio::spawn(arrivals.clone().read("far".into(), far.subscribe(interest(10)).await.unwrap()));
    publish(&bus, vec![envelope("0000", "key 0")]).await;
    let mut sent = vec![envelope("0000", "key 0")];
    for way in Way::BOTH {
        for bytes in (0..400).step_by(9) {
            let cuts = proxy.counts().cut;
            proxy.cut_after(way, bytes, End::Reset);
            let part: Vec<_> = (0..2).map(|n| envelope(&format!("{:04}", sent.len() + n), "key 0")).collect();
            sent.extend(part.iter().cloned());
            within("the confirmation of all", publish(&bus, part)).await;
            proxy.heal();
            let is_cut = proxy.counts().cut > cuts;
            assert!(is_cut || bytes > 20, "{way:?} was not cut at {bytes}");
        }
    }
    arrivals.distinct(sent.len()).await;
    assert_eq!(arrivals.by_key(), by_key(&sent));
    assert_eq!(arrivals.all().len(), sent.len(), "the server remembers repeats for 30 s");
    reading.abort();
}

/// Frozen, not gone: its connections stay open, and nothing comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_54_a_frozen_server_holds_up_nobody() {
    let Some(server) = server("f_54").await else { return };
    let bus = options(server.url()).connect().await.unwrap();
    let mut consumer = bus.subscribe(interest(10)).await.unwrap();
    publish(&bus, vec![envelope("1", "k")]).await;
    let held = within("a delivery", consumer.next(1)).await.unwrap().remove(0);
    server.freeze().unwrap();

    let begun = Instant::now();
    let given = within("the answers", answers(&bus, numbered(20_000, 20_000))).await;
    assert!(is_unknown(&given));
    // They wait for room, a window after the other.
    assert!(begun.elapsed() < DEADLINE * 4 + SLACK, "publishing took {:?}", begun.elapsed());

    let begun = Instant::now();
    let other = factum::integration::Interest { subscription: "other".into(), ..interest(1) };
    assert!(within("subscribing", bus.subscribe(other)).await.is_err());
    assert!(begun.elapsed() < DEADLINE + SLACK, "subscribing took {:?}", begun.elapsed());

    let begun = Instant::now();
    assert!(within("connecting", options(server.url()).connect()).await.is_err());
    assert!(begun.elapsed() < DEADLINE * 2 + SLACK, "connecting took {:?}", begun.elapsed());

    let begun = Instant::now();
    let _ = within("an ack", held.settle.ack()).await;
    assert!(begun.elapsed() < DEADLINE + SLACK, "an ack took {:?}", begun.elapsed());

    let closing = options(server.url());
    server.thaw().unwrap();
    publish(&bus, vec![envelope("2", "k")]).await;
    let closing = within("connecting", closing.connect()).await.unwrap();
    drop(within("subscribing", closing.subscribe(interest(1))).await.unwrap());
    server.freeze().unwrap();
    let begun = Instant::now();
    within("closing", closing.close(Duration::from_millis(300))).await;
    assert!(begun.elapsed() < Duration::from_millis(300) + SLACK, "closing took {:?}", begun.elapsed());
    server.thaw().unwrap();
    publish(&bus, vec![envelope("3", "k")]).await;
}

/// A connection is lost over and over while much is in flight; each time all of it leaves with the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_57_after_a_lost_connection_everything_that_waits_leaves() {
    let Some(mut server) = server("f_57").await else { return };
    let proxy = Proxy::to(server.address()).await.unwrap();
    // A deadline that cannot be what helps.
    let options = options(&proxy.instead_of(server.url())).publish_deadline(Duration::from_secs(20));
    let bus = options.request_deadline(Duration::from_secs(5)).connect().await.unwrap();
    publish(&bus, vec![envelope("first", "k")]).await;
    let rounds = if std::env::var("FACTUM_SUITE").as_deref() == Ok("full") { 200 } else { 20 };
    for round in 0..rounds {
        proxy.stall(Way::ToClient, true);
        let waiting = tokio::spawn({
            let bus = bus.clone();
            async move { answers(&bus, numbered(200, 200)).await }
        });
        let before = proxy.counts().to_server;
        within("sending", proxy.until(|counts| counts.to_server > before)).await;
        if round % 10 == 9 {
            server.kill().unwrap();
            server.start_again().await.unwrap();
        }
        let open = proxy.counts().accepted;
        proxy.end_all(End::Reset);
        // What is held back must not come through after all.
        within("the loss", proxy.until(|counts| counts.ended >= open)).await;
        proxy.heal();
        let begun = Instant::now();
        // Some may not have been sent yet: they left with the next connection.
        let given = within("the answers", waiting).await.unwrap();
        let lost = given.iter().filter(|answer| **answer != Answer::Confirmed).cloned().collect::<Vec<_>>();
        assert!(!lost.is_empty() && is_unknown(&lost), "{:?}", lost.first());
        let batch = (0..200).map(|n| envelope(&format!("{round}-{n}"), &n.to_string())).collect();
        within("the confirmation of all", publish(&bus, batch)).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "round {round} took {:?}", begun.elapsed());
    }
}

/// The server forgets ids after a while; then there are two, and whoever receives recognises them by source and id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_60_a_repeat_is_confirmed_whether_or_not_the_server_remembers() {
    let Some(mut server) = server("f_60").await else { return };
    let window = Duration::from_millis(300);
    let bus = options(server.url()).duplicate_window(window).connect().await.unwrap();
    let mut consumer = bus.subscribe(interest(10)).await.unwrap();
    let confirmed = [Answer::Confirmed];
    let first = Instant::now();
    assert_eq!(answers(&bus, vec![envelope("e", "k")]).await, confirmed);
    let again = answers(&bus, vec![envelope("e", "k")]).await;
    let is_within = first.elapsed() < window;
    assert_eq!(again, confirmed);
    let remembered = stored(server.url()).await;
    assert!(remembered == 1 || !is_within, "a repeat after {:?} was stored", first.elapsed());
    // Nothing tells when the server has forgotten, but that it stores it again.
    let forgotten = async {
        while stored(server.url()).await == remembered {
            assert_eq!(answers(&bus, vec![envelope("e", "k")]).await, confirmed);
        }
    };
    within("the second copy", forgotten).await;
    server.kill().unwrap();
    server.start_again().await.unwrap();
    publish(&bus, vec![envelope("e", "k"), envelope("last", "k")]).await;
    let mut ids = std::collections::HashSet::new();
    while !ids.contains("last") {
        for delivery in within("a delivery", consumer.next(10)).await.unwrap() {
            assert_eq!(&*delivery.envelope.source, SOURCE);
            ids.insert(delivery.envelope.id.to_string());
            delivery.settle.ack().await.unwrap();
        }
    }
    assert_eq!(ids.len(), 2, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_64_what_is_too_large_is_refused_and_its_neighbours_leave() {
    let started = factum_launcher::Nats::start_with(&[("max_payload", "128KB")]).await;
    let Some(server) = or_skip("f_64", started) else { return };
    let bus = options(server.url()).connect().await.unwrap();
    let most = bus.capabilities().data_bytes_max;
    assert_eq!(most, (128 << 10) - (32 << 10));
    let sized = |n: usize, bytes: usize| Envelope {
        data: vec![b' '; bytes].into(),
        ..envelope(&n.to_string(), &n.to_string())
    };
    let batch: Vec<_> = (most - 2..=most + 2).enumerate().map(|(n, bytes)| sized(n, bytes)).collect();
    let given = within("the answers", answers(&bus, batch)).await;
    for (n, answer) in given.iter().enumerate() {
        match n {
            0..=2 => assert_eq!(*answer, Answer::Confirmed, "{n}"),
            _ => assert!(matches!(answer, Answer::Refused(why) if why.contains(&(most - 2 + n).to_string()))),
        }
    }
    // Attributes that no header has room for.
    let extensions = (0..64).map(|n| (format!("x{n}").into(), "ä".repeat(100).into())).collect();
    let wide = Envelope { extensions, ..envelope("wide", "k") };
    let given = within("the answers", answers(&bus, vec![wide, envelope("next", "k2")])).await;
    assert!(matches!(&given[0], Answer::Refused(why) if why.contains("32768")), "{given:?}");
    assert_eq!(given[1], Answer::Confirmed);
}

/// Longer than the server waits for an acknowledgement: it is told that the handler is at work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_76_a_slow_handler_gets_its_delivery_once() {
    let Some(server) = server("f_76").await else { return };
    let lease = Duration::from_millis(300);
    let bus = options(server.url()).lease(lease).connect().await.unwrap();
    let mut consumer = bus.subscribe(interest(10)).await.unwrap();
    publish(&bus, vec![envelope("slow", "a")]).await;
    let slow = within("a delivery", consumer.next(1)).await.unwrap().remove(0);
    let until = Instant::now() + lease * 5;
    // Meanwhile others of other keys come and go, and this one does not come again.
    for n in 0.. {
        publish(&bus, vec![envelope(&n.to_string(), "b")]).await;
        let other = within("a delivery", consumer.next(10)).await.unwrap();
        assert_eq!(other.iter().map(|it| it.envelope.id.to_string()).collect::<Vec<_>>(), [n.to_string()]);
        for delivery in other {
            delivery.settle.ack().await.unwrap();
        }
        if Instant::now() > until {
            break;
        }
    }
    slow.settle.ack().await.unwrap();
    publish(&bus, vec![envelope("next", "a")]).await;
    let next = within("a delivery", consumer.next(10)).await.unwrap().remove(0);
    assert_eq!((next.envelope.id.as_str(), next.attempt), ("next", 1));
}

/// Others may write into the stream by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_78_what_is_no_event_is_left_out_between_two_that_are() {
    let Some(server) = server("f_78").await else { return };
    let bus = options(server.url()).connect().await.unwrap();
    let mut consumer = bus.subscribe(interest(10)).await.unwrap();
    publish(&bus, vec![envelope("before", "k")]).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    for partition in 0..8 {
        let subject = format!("factum.shop-example_ordering.{partition}.{TYPE}");
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", "%FF");
        for headers in [headers, async_nats::HeaderMap::new()] {
            let sent = jetstream.publish_with_headers(subject.clone(), headers, "\0not json".into()).await;
            sent.unwrap().await.unwrap();
        }
    }
    // Written by hand as well, and an event: structured mode.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("content-type", "application/cloudevents+json");
    let by_hand = envelope("by hand", "k");
    let subject = format!("factum.shop-example_ordering.{}.{TYPE}", by_hand.bucket() % 8);
    let sent = jetstream.publish_with_headers(subject, headers, by_hand.to_json().into()).await;
    sent.unwrap().await.unwrap();
    publish(&bus, vec![envelope("after", "k")]).await;
    for id in ["before", "by hand", "after"] {
        let delivery = within("a delivery", consumer.next(1)).await.unwrap().remove(0);
        assert_eq!(delivery.envelope.id.as_str(), id);
        delivery.settle.ack().await.unwrap();
    }
    let stream = jetstream.get_stream("factum_shop-example_ordering").await.unwrap();
    let settled = async {
        for partition in 0..8 {
            while stream.consumer_info(format!("s-{partition}")).await.unwrap().num_ack_pending > 0 {}
        }
    };
    within("the end of what is no event", settled).await;
}

/// Somebody deletes the consumers on the server while they are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_79_a_consumer_that_was_deleted_is_made_again() {
    let Some(server) = server("f_79").await else { return };
    let bus = options(server.url()).connect().await.unwrap();
    let arrivals = Arrivals::default();
    let reading =
        tokio::spawn(arrivals.clone().read("here".into(), bus.subscribe(interest(10)).await.unwrap()));
    publish(&bus, numbered(40, 20)).await;
    arrivals.distinct(40).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("factum_shop-example_ordering").await.unwrap();
    for partition in 0..8 {
        stream.delete_consumer(&format!("s-{partition}")).await.unwrap();
    }
    let begun = Instant::now();
    publish(&bus, numbered(80, 20).split_off(40)).await;
    arrivals.distinct(80).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    assert_eq!(arrivals.by_key(), by_key(&numbered(80, 20)));
    reading.abort();
}

/// Made by somebody else, with settings under which events would get lost: told, and left as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_other_settings_is_refused_and_not_changed() {
    let Some(server) = server("a_stream_with_other_settings").await else { return };
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config {
        name: "factum_shop-example_ordering".into(),
        subjects: vec!["factum.shop-example_ordering.>".into()],
        retention: async_nats::jetstream::stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    jetstream.create_stream(config.clone()).await.unwrap();
    let bus = options(server.url()).connect().await.unwrap();
    let error = bus.publish(Vec::new()).await;
    assert!(error.is_ok(), "nothing was published yet");
    let error = factum::integration::EventBusExt::publish_now(
        &bus,
        factum::port::read_back(envelope("1", "k"), SOURCE.into()),
    );
    let Answer::Unknown(why) = within("the answer", error).await else { panic!("it was taken") };
    assert!(why.contains("retention \"workqueue\", needed is"), "{why}");
    let mut found = jetstream.get_stream("factum_shop-example_ordering").await.unwrap();
    assert_eq!(found.info().await.unwrap().config.retention, config.retention);
}

/// Somebody deletes the stream; the next event makes it again, and its places begin at one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_deleted_is_made_and_read_again() {
    let Some(server) = server("a_stream_that_was_deleted").await else { return };
    let bus = options(server.url()).connect().await.unwrap();
    let arrivals = Arrivals::default();
    let consumer = bus.subscribe(interest(10)).await.unwrap();
    let reading = tokio::spawn(arrivals.clone().read("here".into(), consumer));
    publish(&bus, numbered(100, 20)).await;
    arrivals.distinct(100).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    async_nats::jetstream::new(client).delete_stream("factum_shop-example_ordering").await.unwrap();
    within("the confirmation of all", publish(&bus, numbered(150, 20).split_off(100))).await;
    arrivals.distinct(150).await;
    assert_eq!(arrivals.by_key(), by_key(&numbered(150, 20)));
    reading.abort();
}
