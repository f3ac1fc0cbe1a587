//! Processes that share a subscription: a key is one process's at a time, whoever comes, goes, dies or freezes.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use factum::EventBus as _;
use factum_conformance::service;
use factum_launcher::Process;
use support::{Arrivals, Namespace, by_key, interest, numbered, publish, within};
use tokio::runtime::{Builder, Runtime};

const LEASE: Duration = Duration::from_millis(600);

/// A connection with a runtime of its own, which may be gone from one moment to the next.
fn process(namespace: &Namespace, name: &str, arrivals: &Arrivals) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (options, name, arrivals) = (namespace.options().lease(LEASE), name.to_owned(), arrivals.clone());
    runtime.spawn(async move {
        let bus = options.connect().await.unwrap();
        let consumer = bus.subscribe(interest(10)).await.unwrap();
        arrivals.read(name, consumer).await;
    });
    runtime
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_the_work_of_a_subscription_in_the_order_of_each_key() {
    let Some(url) = service::NATS.url_or_skip("processes_share_the_work") else { return };
    let (namespace, arrivals) = (Namespace::on(&url), Arrivals::default());
    let bus = namespace.options().lease(LEASE).connect().await.unwrap();
    drop(bus.subscribe(interest(1)).await.unwrap());
    let processes = ["a", "b", "c"].map(|name| process(&namespace, name, &arrivals));
    let all_at_work =
        |all: &[(String, _)]| ["a", "b", "c"].iter().all(|name| all.iter().any(|(by, _)| by == name));
    let mut sent = Vec::new();
    // Until each of them has handled something, and then as much again.
    for round in 0.. {
        let part: Vec<_> = numbered((round + 1) * 400, 40).split_off(round * 400);
        sent.extend(part.iter().cloned());
        publish(&bus, part).await;
        arrivals.distinct(sent.len()).await;
        if all_at_work(&arrivals.all()) {
            break;
        }
        assert!(round < 100, "one of them gets nothing");
    }
    let part: Vec<_> = numbered(sent.len() * 2, 40).split_off(sent.len());
    sent.extend(part.iter().cloned());
    publish(&bus, part).await;
    arrivals.distinct(sent.len()).await;
    assert_eq!(arrivals.by_key(), by_key(&sent));
    processes.into_iter().for_each(Runtime::shutdown_background);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_keeps_its_order_while_processes_come_and_die() {
    let Some(url) = service::NATS.url_or_skip("each_key_keeps_its_order_while_processes_come_and_die") else {
        return;
    };
    let (namespace, arrivals) = (Namespace::on(&url), Arrivals::default());
    let bus = namespace.options().lease(LEASE).connect().await.unwrap();
    drop(bus.subscribe(interest(1)).await.unwrap());
    let sent = numbered(3_000, 24);
    let publishing = tokio::spawn({
        let (bus, sent) = (bus.clone(), sent.clone());
        async move { publish(&bus, sent).await }
    });
    let mut processes = vec![process(&namespace, "0", &arrivals)];
    for n in 1..=6 {
        processes.push(process(&namespace, &n.to_string(), &arrivals));
        arrivals.distinct(sent.len() * n / 8).await;
        // Without a word, and with deliveries in its hands.
        processes.remove(0).shutdown_background();
    }
    arrivals.distinct(sent.len()).await;
    within("the confirmation of all", publishing).await.unwrap();
    assert_eq!(arrivals.by_key(), by_key(&sent));
    processes.into_iter().for_each(Runtime::shutdown_background);
}

/// What the program does when a test below starts it again as another process: it tells each event that it handles.
const CONSUME: &str = "FACTUM_TEST_CONSUME";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consume_where_a_test_asks_for_it() {
    let Ok(namespace) = std::env::var(CONSUME) else { return };
    let (url, name) = namespace.split_once(' ').unwrap();
    let bus = factum_bus_nats::Nats::options(url).namespace(name).lease(LEASE).connect().await.unwrap();
    let mut consumer = bus.subscribe(interest(10)).await.unwrap();
    loop {
        for delivery in consumer.next(10).await.unwrap() {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
            println!("handled {} {time} {}", delivery.envelope.id, delivery.envelope.ordering_key());
            let _ = delivery.settle.ack().await;
        }
    }
}

fn start(namespace: &Namespace) -> Process {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "consume_where_a_test_asks_for_it", "--nocapture"]);
    command.env(CONSUME, format!("{} {}", namespace.url, namespace.name));
    Process::start(command).unwrap()
}

/// Frozen beyond its lease, it loses what it held; thawed, it acknowledges nothing of it and takes part again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_is_replaced_and_comes_back_in_order() {
    let test = "a_frozen_process_is_replaced_and_comes_back_in_order";
    let Some(url) = service::NATS.url_or_skip(test) else { return };
    let (namespace, arrivals) = (Namespace::on(&url), Arrivals::default());
    let bus = namespace.options().lease(LEASE).connect().await.unwrap();
    drop(bus.subscribe(interest(1)).await.unwrap());
    let mut other = start(&namespace);
    let sent = numbered(900, 24);
    publish(&bus, sent[..300].to_vec()).await;
    within("its work", other.line_with("handled")).await.unwrap();
    other.freeze().unwrap();
    let here = process(&namespace, "here", &arrivals);
    publish(&bus, sent[300..600].to_vec()).await;
    arrivals
        .until("all of the second part", |all| {
            sent[300..600].iter().all(|sent| all.iter().any(|(_, it)| it.id == sent.id))
        })
        .await;
    other.thaw().unwrap();
    publish(&bus, sent[600..].to_vec()).await;
    // What comes from there after the freeze is noted from its lines.
    let lines = async {
        while let Some(line) = other.line_with("handled").await {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let time = UNIX_EPOCH + Duration::from_nanos(words[2].parse().unwrap());
            arrivals.note_at(time, "there", &std::sync::Arc::new(support::envelope(words[1], words[3])));
        }
    };
    let done = arrivals.until("all of the third part", |all| {
        sent[600..].iter().all(|sent| all.iter().any(|(_, it)| it.id == sent.id))
    });
    tokio::select! {
        () = done => {}
        () = lines => panic!("the other process ended"),
    }
    // Of each key, the third part was handled in order, and after the second.
    let mut last: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let mut seen = std::collections::HashSet::new();
    for (by, envelope) in arrivals.in_time().into_iter().filter(|(_, it)| it.id.as_str() >= "000300") {
        if seen.insert(envelope.id.clone()) {
            let before = last.insert(envelope.ordering_key().to_owned(), envelope.id.to_string());
            assert!(
                before.as_deref() < Some(envelope.id.as_str()),
                "{before:?} before {} by {by}",
                envelope.id
            );
        }
    }
    other.kill().unwrap();
    here.shutdown_background();
}

/// A new version of a program takes one type more, while the old one still reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_that_is_added_is_taken_from_then_on_whoever_reads() {
    let Some(url) = service::NATS.url_or_skip("a_type_that_is_added_is_taken") else { return };
    let (namespace, arrivals) = (Namespace::on(&url), Arrivals::default());
    let bus = namespace.bus().await;
    let old = bus.subscribe(interest(10)).await.unwrap();
    let reading = tokio::spawn(arrivals.clone().read("old".into(), old));
    publish(&bus, numbered(40, 40)).await;
    arrivals.distinct(40).await;
    let new = namespace.bus().await;
    for round in 0..5 {
        let added = format!("org.example.added.v{round}");
        let types = vec![support::TYPE.into(), added.clone()];
        let consumer = new.subscribe(factum::integration::Interest { types, ..interest(10) }).await.unwrap();
        let reading = tokio::spawn(arrivals.clone().read("new".into(), consumer));
        let envelope = |n: usize| factum::Envelope {
            r#type: added.clone().into(),
            ..support::envelope(&format!("{round}-{n}"), &n.to_string())
        };
        publish(&bus, (0..40).map(envelope).collect()).await;
        arrivals.distinct(40 + 40 * (round + 1)).await;
        reading.abort();
    }
    reading.abort();
}

/// How often each process has beaten, as the record of the subscription says.
async fn beats(registry: &async_nats::jetstream::kv::Store) -> Vec<u64> {
    let record = registry.get("s").await.unwrap().expect("the record of the subscription");
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    record["members"].as_object().unwrap().values().map(|member| member["beat"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_to_be_given_away_goes_on_where_it_is_when_nobody_takes_it() {
    let test = "what_was_to_be_given_away_goes_on_where_it_is_when_nobody_takes_it";
    let Some(url) = service::NATS.url_or_skip(test) else { return };
    let namespace = Namespace::on(&url);
    let bus = namespace.options().lease(LEASE).connect().await.unwrap();
    let mut consumer = bus.subscribe(interest(100)).await.unwrap();
    publish(&bus, numbered(40, 40)).await;
    let mut out = Vec::new();
    while out.len() < 40 {
        out.extend(within("the first of each key", consumer.next(100)).await.unwrap());
    }
    let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    let registry = jetstream.get_key_value(format!("{}_bus", namespace.name)).await.unwrap();
    let other = namespace.options().lease(LEASE).connect().await.unwrap();
    let theirs = other.subscribe(interest(100)).await.unwrap();
    let shared = async {
        // Two of each since there are two: what the first has told is known here.
        while beats(&registry).await.len() < 2 {}
        let before: u64 = beats(&registry).await.iter().sum();
        while beats(&registry).await.iter().sum::<u64>() < before + 6 {}
    };
    within("beats of both", shared).await;
    drop(theirs);
    other.close(LEASE).await;
    within("its leaving", async { while beats(&registry).await.len() > 1 {} }).await;
    let before = beats(&registry).await[0];
    within("two beats", async { while beats(&registry).await[0] < before + 2 {} }).await;
    for delivery in out {
        delivery.settle.ack().await.unwrap();
    }
    publish(&bus, numbered(80, 40).split_off(40)).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 40 {
        for delivery in within("the second of each key", consumer.next(100)).await.unwrap() {
            seen.insert(delivery.envelope.ordering_key().to_owned());
            delivery.settle.ack().await.unwrap();
        }
    }
}
