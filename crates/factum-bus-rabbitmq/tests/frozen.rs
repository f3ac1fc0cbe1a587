//! A broker of our own that is frozen, or that blocks publishers: nothing hangs, nothing is invented, and it goes on.

mod support;

use std::time::{Duration, Instant};

use factum::integration::{Answer, EventBus};
use factum_bus_rabbitmq::RabbitMq;
use factum_launcher as launcher;

use support::{Answers, Namespace, PATIENCE, TYPE, envelope, publish_one, read, subscribe, within};

const DEADLINE: Duration = Duration::from_secs(2);
/// What may come on top of a deadline on a busy machine.
const GRACE: Duration = Duration::from_secs(2);

async fn connect(namespace: &Namespace) -> Result<RabbitMq, factum_bus_rabbitmq::Error> {
    namespace.options().deadline(DEADLINE).connect_deadline(DEADLINE).in_flight(64).connect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn f_54_a_frozen_broker_hangs_neither_publishing_nor_subscribing_nor_closing() {
    const NAME: &str = "f_54_a_frozen_broker_hangs_neither_publishing_nor_subscribing_nor_closing";
    let Some(server) = launcher::or_skip(NAME, launcher::RabbitMq::start().await) else { return };
    let namespace = Namespace::on(server.url());
    let bus = connect(&namespace).await.unwrap();
    let mut consumer = subscribe(&bus, "s").await.unwrap();
    assert_eq!(publish_one(&bus, envelope("before", "k")).await, Answer::Confirmed);
    read(&mut *consumer, 1).await;

    server.freeze().unwrap();
    let publishing = within(DEADLINE + GRACE, "an answer", publish_one(&bus, envelope("frozen", "k")));
    assert!(matches!(publishing.await, Answer::Unknown(_)));
    // The connection is given up, and another one cannot be made.
    let publishing = within(DEADLINE + GRACE, "an answer", publish_one(&bus, envelope("later", "k")));
    assert!(matches!(publishing.await, Answer::Unknown(_)));
    let other = within(DEADLINE * 2 + GRACE, "the end of subscribing", subscribe(&bus, "other")).await;
    assert!(other.is_err_and(|error| error.to_string().contains("RabbitMQ")));
    let refused = within(DEADLINE + GRACE, "the end of connecting", connect(&namespace)).await;
    assert!(refused.unwrap_err().to_string().contains("did not answer within 2s"));

    server.thaw().unwrap();
    let goes_on = async { while publish_one(&bus, envelope("after", "k")).await != Answer::Confirmed {} };
    within(PATIENCE, "the confirmation after the thaw", goes_on).await;
    let late = connect(&namespace).await.unwrap();
    let mut ids = Vec::new();
    while ids.last().is_none_or(|id| id != "after") {
        ids.extend(read(&mut *consumer, 1).await);
    }

    server.freeze().unwrap();
    let begun = Instant::now();
    within(DEADLINE + GRACE, "closing", bus.close(Duration::from_millis(500))).await;
    within(DEADLINE + GRACE, "closing", late.close(Duration::from_millis(500))).await;
    assert!(begun.elapsed() >= Duration::from_millis(1), "it ended by itself");
    server.thaw().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f_56_a_broker_that_blocks_publishers_takes_no_memory_of_ours_and_gets_everything_in_the_end() {
    const NAME: &str = "f_56_a_broker_that_blocks_publishers";
    let Some(server) = launcher::or_skip(NAME, launcher::RabbitMq::start().await) else { return };
    let namespace = Namespace::on(server.url());
    let bus = connect(&namespace).await.unwrap();
    let mut consumer = subscribe(&bus, "s").await.unwrap();
    assert_eq!(publish_one(&bus, envelope("before", "k")).await, Answer::Confirmed);

    server.ctl(&["set_vm_memory_high_watermark", "0"]).await.unwrap();
    // The alarm reaches connections a little after the command ends; from then on nothing is confirmed.
    let blocked =
        async { while publish_one(&bus, envelope("while blocking", "k")).await == Answer::Confirmed {} };
    within(PATIENCE, "the blocking", blocked).await;
    let answers = Answers::default();
    let batch = answers.batch((0..1_000).map(|n| envelope(&format!("{n:04}"), &format!("key {n}"))));
    let published = within(DEADLINE * 3 + GRACE, "the end of publishing", bus.publish(batch)).await;
    assert!(published.unwrap_err().to_string().starts_with("RabbitMQ blocks publishers"));
    let given = within(DEADLINE + GRACE, "the answers", answers.all(1_000)).await;
    assert!(given.values().all(|answer| matches!(answer, Answer::Unknown(_))), "{given:?}");
    let other = connect(&namespace).await.unwrap();
    assert!(matches!(publish_one(&other, envelope("other", "k")).await, Answer::Unknown(_)));
    within(DEADLINE + GRACE, "closing", other.close(Duration::from_millis(500))).await;

    server.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    let answers = Answers::default();
    let goes_on = async { while publish_one(&bus, envelope("unblocked", "k")).await != Answer::Confirmed {} };
    within(PATIENCE, "the confirmation after the alarm", goes_on).await;
    let batch = answers.batch((0..1_000).map(|n| envelope(&format!("{n:04}"), &format!("key {n}"))));
    within(PATIENCE, "publishing", bus.publish(batch)).await.unwrap();
    let given = within(PATIENCE, "the answers", answers.all(1_000)).await;
    assert!(given.values().all(|answer| *answer == Answer::Confirmed), "{TYPE}");
    let ids = read(&mut *consumer, 1_000).await;
    assert!(ids.len() >= 1_000);
}
