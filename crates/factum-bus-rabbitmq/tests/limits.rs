//! What the broker of our own will not take: the one envelope is refused, and its neighbours are not.

mod support;

use factum::Envelope;
use factum::integration::{Answer, EventBus};
use factum_launcher as launcher;

use support::{Answers, Namespace, PATIENCE, envelope, publish_one, subscribe, within};

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_over_which_the_broker_closes_the_channel_is_refused_and_no_other_one() {
    const NAME: &str = "an_envelope_over_which_the_broker_closes_the_channel_is_refused_and_no_other_one";
    let small = [("max_message_size", "10000")];
    let Some(server) = launcher::or_skip(NAME, launcher::RabbitMq::start_with(&small).await) else { return };
    let namespace = Namespace::on(server.url());
    let bus = namespace.options().channels(1).connect().await.unwrap();
    let _consumer = subscribe(&bus, "s").await.unwrap();
    let mut left: Vec<Envelope> =
        (0..50).map(|n| envelope(&format!("{n:02}"), &format!("key {n}"))).collect();
    left[20].data = vec![b' '; 20_000].into();
    let mut refused = Vec::new();
    let all = async {
        while !left.is_empty() {
            let answers = Answers::default();
            bus.publish(answers.batch(left.iter().cloned())).await.unwrap();
            let given = answers.all(left.len()).await;
            left.retain(|envelope| match &given[envelope.id.as_str()] {
                Answer::Unknown(_) => true,
                Answer::Confirmed => false,
                Answer::Refused(why) => {
                    refused.push((envelope.id.to_string(), why.clone()));
                    false
                }
                Answer::Unroutable => panic!("{} is unroutable", envelope.id),
            });
        }
    };
    within(PATIENCE, "the end of it", all).await;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].0 == "20" && refused[0].1.contains("20000"), "{refused:?}");
    assert_eq!(publish_one(&bus, envelope("after", "k")).await, Answer::Confirmed);
}
