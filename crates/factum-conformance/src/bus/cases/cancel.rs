//! A future may be dropped wherever it waits, and nothing is lost or half done.

use factum::integration::Answer;

use crate::bus::BusFixture;
use crate::bus::answers::Answers;
use crate::bus::stage::{DropAfter, Stage, ids};

/// The most polls before dropping; in memory most futures end at the first or second.
const POLLS: usize = 6;

/// What `next` was about to return comes with a later call.
pub async fn next_may_be_dropped_at_every_poll<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    for polls in 0..=POLLS {
        let sent: Vec<_> =
            (0..5).map(|n| stage.envelope(&format!("{polls}-{n}"), &format!("key {n}"))).collect();
        // Once while nothing is there, so that it is the arrival that wakes it.
        let mut deliveries =
            DropAfter::new(polls, consumer.next(2)).await.transpose().unwrap().unwrap_or_default();
        let publishing = stage.publish(sent.clone());
        let mut missing = ids(&sent);
        while !missing.is_empty() {
            for delivery in deliveries.drain(..) {
                missing.remove(delivery.envelope.id.as_str());
                delivery.settle.ack().await.unwrap();
            }
            if !missing.is_empty() {
                let dropped = DropAfter::new(polls, consumer.next(2)).await.transpose().unwrap();
                deliveries = match dropped {
                    Some(deliveries) => deliveries,
                    None => stage.within("a delivery", consumer.next(2)).await.unwrap(),
                };
            }
        }
        publishing.confirmed().await;
    }
}

/// Each publication is answered, and what was not confirmed can be published again, in order.
pub async fn publish_may_be_dropped_at_every_poll<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    // A bounded queue is filled first, so that publishing has to wait.
    let filling = stage.fixture.queue_bound().unwrap_or(0);
    for polls in 0..=POLLS {
        let subscription = format!("s{polls}");
        let r#type = format!("type{polls}");
        let mut consumer = stage.consumer_of(&subscription, &[&r#type], 100).await;
        let envelope =
            |n: usize| stage.typed(&r#type, &format!("{polls}-{n:06}"), &format!("key {}", n % 20));
        let filler: Vec<_> = (0..filling.saturating_sub(3)).map(envelope).collect();
        let filled = Answers::default();
        stage.within("filling", stage.bus.publish(filled.batch(filler.clone()))).await.unwrap();

        let sent: Vec<_> = (filler.len()..filler.len() + 10).map(envelope).collect();
        let answers = Answers::default();
        let published = DropAfter::new(polls, stage.bus.publish(answers.batch(sent.clone()))).await;
        if published.is_none() {
            let unknown = answers.so_far().into_iter().filter(|(_, it)| matches!(it, Answer::Unknown(_)));
            assert!(unknown.count() > 0, "it was dropped half-way, and nothing is unknown");
        }
        let all: Vec<_> = filler.iter().chain(&sent).cloned().collect();
        let again = tokio::spawn({
            let (bus, answers) = (stage.fixture.bus(), answers.clone());
            let sent = sent.clone();
            async move {
                // As the relay does: a key goes on when everything of it is answered.
                let given = answers.all(sent.len()).await;
                let left =
                    sent.into_iter().zip(given).filter(|(_, (_, answer))| *answer != Answer::Confirmed);
                (bus, left.map(|(envelope, _)| envelope).collect::<Vec<_>>())
            }
        });
        let mut read = stage.read(&mut *consumer, filler.len()).await;
        // What was taken before the drop is acknowledged too, or its answer would not come.
        let acknowledging = async {
            while !again.is_finished() {
                let some = DropAfter::new(2, consumer.next(10)).await.transpose().unwrap();
                for delivery in some.unwrap_or_default() {
                    read.insert(delivery.envelope.id.to_string());
                    delivery.settle.ack().await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        stage.within("the answers", acknowledging).await;
        let (bus, left) = again.await.unwrap();
        let publishing = stage.publish_on(bus, left);
        let missing = all.len() - read.len();
        read.extend(stage.read(&mut *consumer, missing).await);
        assert_eq!(read, ids(&all));
        publishing.confirmed().await;
    }
}
