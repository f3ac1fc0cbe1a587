//! What a publisher is told, and when.

use factum::Envelope;
use factum::integration::{Answer, Durability};

use crate::bus::answers::Answers;
use crate::bus::stage::{DropAfter, Stage};
use crate::bus::{BusFixture, say_skipped};

/// Neither forgotten nor answered twice.
pub async fn each_publication_is_answered_once<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 100).await;
    let answers = Answers::default();
    let sent = stage.numbered(50, 50);
    let batch = answers.batch(sent.iter().cloned());
    let publish = stage.within("publishing", stage.bus.publish(batch));
    let (published, read) = tokio::join!(publish, stage.read(&mut *consumer, sent.len()));
    published.unwrap();
    assert_eq!(read.len(), 50);
    stage.within("the answers", answers.all(50)).await;
    // A second answer would have come with the first of this batch, or before.
    let publishing = stage.publish(vec![stage.envelope("marker", "marker")]);
    stage.read(&mut *consumer, 1).await;
    publishing.confirmed().await;
    let expected: Vec<_> = (0..50).map(|ticket| (ticket, Answer::Confirmed)).collect();
    assert_eq!(answers.so_far(), expected);
}

/// For a bus that keeps nothing itself: the outbox keeps it until the last one has handled it.
pub async fn it_is_confirmed_when_every_subscription_has_handled_it_and_not_before<F: BusFixture>() {
    let handled = |it: factum::integration::Capabilities| it.durability == Durability::Handled;
    let Some(stage) = Stage::<F>::open_with("confirmation after handling", handled).await else { return };
    let mut consumers = [stage.consumer("one", 10).await, stage.consumer("two", 10).await];
    // A third one that nobody reads at the moment counts as well.
    drop(stage.consumer("three", 10).await);
    let answers = Answers::default();
    stage.bus.publish(answers.batch([stage.envelope("e", "k")])).await.unwrap();
    for consumer in &mut consumers {
        let delivery = stage.one(&mut **consumer).await;
        assert_eq!(answers.so_far(), []);
        delivery.settle.ack().await.unwrap();
    }
    let mut third = stage.consumer("three", 10).await;
    let delivery = stage.one(&mut *third).await;
    assert_eq!(answers.so_far(), []);
    delivery.settle.nack(std::time::Duration::ZERO).await.unwrap();
    let delivery = stage.one(&mut *third).await;
    assert_eq!(answers.so_far(), []);
    delivery.settle.reject("poison".into()).await.unwrap();
    assert_eq!(stage.within("the answer", answers.all(1)).await, [(0, Answer::Confirmed)]);
}

/// It is never taken for refused, and never lost in a bus without a taker.
pub async fn what_nobody_takes_is_unroutable_until_somebody_subscribes<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    if !F::TELLS_UNROUTABLE {
        return say_skipped("answer to what nobody takes", stage.bus.capabilities());
    }
    let _other = stage.consumer_of("other", &["other"], 10).await;
    let answers = Answers::default();
    stage.within("publishing", stage.bus.publish(answers.batch([stage.envelope("e", "k")]))).await.unwrap();
    assert_eq!(stage.within("the answer", answers.all(1)).await, [(0, Answer::Unroutable)]);
    let mut consumer = stage.consumer("s", 10).await;
    let publishing = stage.publish(vec![stage.envelope("e", "k")]);
    assert_eq!(stage.read(&mut *consumer, 1).await.len(), 1);
    publishing.confirmed().await;
}

/// A relay may hand over several of a key only because of this.
pub async fn what_comes_behind_a_refused_one_of_its_key_does_not_get_ahead_of_it<F: BusFixture>() {
    let Some(stage) = Stage::<F>::open_with("stop at the first failure", |it| it.fail_stop).await else {
        return;
    };
    let mut consumer = stage.consumer("s", 10).await;
    let too_large = vec![b' '; stage.bus.capabilities().data_bytes_max + 1];
    let sent = [
        stage.envelope("a1", "a"),
        Envelope { data: too_large.into(), ..stage.envelope("a2", "a") },
        stage.envelope("a3", "a"),
        stage.envelope("b1", "b"),
    ];
    let answers = Answers::default();
    stage.within("publishing", stage.bus.publish(answers.batch(sent))).await.unwrap();
    let read = stage.read(&mut *consumer, 2).await;
    assert_eq!(read.into_iter().collect::<Vec<_>>(), ["a1", "b1"]);
    let given = stage.within("the answers", answers.all(4)).await;
    assert_eq!((&given[0].1, &given[3].1), (&Answer::Confirmed, &Answer::Confirmed));
    assert!(matches!(given[1].1, Answer::Refused(_)), "{given:?}");
    assert!(!matches!(given[2].1, Answer::Confirmed | Answer::Refused(_)), "{given:?}");
    let publishing = stage.publish(vec![stage.envelope("marker", "a")]);
    assert_eq!(stage.one(&mut *consumer).await.envelope.id.as_str(), "marker", "a3 got ahead of a2");
    stage.read(&mut *consumer, 1).await;
    publishing.confirmed().await;
}

/// A relay that died before it could delete publishes again, while the first copy is still on its way.
pub async fn an_event_published_twice_is_confirmed_twice<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let first = stage.publish(vec![stage.envelope("e", "k")]);
    let held = stage.one(&mut *consumer).await;
    let answers = Answers::default();
    stage.within("publishing", stage.bus.publish(answers.batch([stage.envelope("e", "k")]))).await.unwrap();
    if stage.bus.capabilities().durability == Durability::Handled {
        assert_eq!(answers.so_far(), [], "the copy that it stands for is not handled yet");
    }
    held.settle.ack().await.unwrap();
    first.confirmed().await;
    // The repeat may come or have been recognised; the marker comes in any case.
    let marker = stage.publish(vec![stage.envelope("marker", "k")]);
    let mut last = String::new();
    while last != "marker" {
        let delivery = stage.one(&mut *consumer).await;
        last = delivery.envelope.id.to_string();
        delivery.settle.ack().await.unwrap();
    }
    marker.confirmed().await;
    assert_eq!(stage.within("the answer", answers.all(1)).await, [(0, Answer::Confirmed)]);
}

/// Back-pressure: memory does not grow without end, and nothing is thrown away.
pub async fn publishing_waits_when_nobody_consumes_and_goes_on_when_somebody_does<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let Some(bound) = stage.fixture.queue_bound() else {
        return say_skipped("bound of its queues", stage.bus.capabilities());
    };
    drop(stage.consumer("s", 100).await);
    let sent = stage.numbered(bound + 10, bound + 10);
    let answers = Answers::default();
    let (fits, more) = sent.split_at(bound);
    stage.within("publishing", stage.bus.publish(answers.batch(fits.iter().cloned()))).await.unwrap();
    let refused = Answers::default();
    let polled = DropAfter::new(3, stage.bus.publish(refused.batch(more.iter().cloned()))).await;
    assert!(polled.is_none(), "there is no room, and it was taken");
    assert!(refused.so_far().iter().all(|(_, answer)| matches!(answer, Answer::Unknown(_))));
    assert_eq!(refused.so_far().len(), more.len());
    let publishing = stage.publish(more.to_vec());
    let mut consumer = stage.consumer("s", 100).await;
    assert_eq!(stage.read(&mut *consumer, sent.len()).await.len(), sent.len());
    publishing.confirmed().await;
    let given = stage.within("the answers", answers.all(bound)).await;
    assert!(given.iter().all(|(_, answer)| *answer == Answer::Confirmed));
}
