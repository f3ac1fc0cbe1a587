//! Closing a bus: in order, and never for ever.

use std::time::Duration;

use factum::integration::Answer;

use crate::bus::BusFixture;
use crate::bus::answers::Answers;
use crate::bus::stage::Stage;

/// Publishing and subscribing fail, and say why.
pub async fn after_closing_it_takes_no_more<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let publishing = stage.publish(vec![stage.envelope("before", "k")]);
    stage.read(&mut *consumer, 1).await;
    publishing.confirmed().await;
    stage.within("closing", stage.bus.close(F::PATIENCE)).await;
    assert!(
        stage.within("the end", consumer.next(1)).await.unwrap().is_empty(),
        "it goes on after the close"
    );
    let answers = Answers::default();
    let published = stage.bus.publish(answers.batch([stage.envelope("after", "k")])).await;
    assert!(!published.unwrap_err().to_string().is_empty());
    assert!(matches!(answers.all(1).await[..], [(0, Answer::Unknown(_))]), "{:?}", answers.so_far());
    assert!(stage.bus.subscribe(stage.interest("late", &["placed"], 1)).await.is_err());
    stage.within("closing again", stage.bus.close(F::PATIENCE)).await;
}

/// What a consumer has in its hands may still be acknowledged.
pub async fn closing_waits_for_what_is_out<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let publishing = stage.publish(vec![stage.envelope("e", "k")]);
    let delivery = stage.one(&mut *consumer).await;
    let bus = stage.fixture.bus();
    let closing = tokio::spawn(async move { bus.close(F::PATIENCE).await });
    let refuses = async {
        let answers = Answers::default();
        while stage.bus.publish(answers.batch([])).await.is_ok() && !closes(&stage).await {
            tokio::task::yield_now().await;
        }
    };
    stage.within("the refusal of further publishing", refuses).await;
    assert!(!closing.is_finished(), "it did not wait for what is out");
    delivery.settle.ack().await.unwrap();
    stage.within("the end of closing", closing).await.unwrap();
    publishing.confirmed().await;
    assert!(stage.within("the end", consumer.next(1)).await.unwrap().is_empty());
}

/// Whether it refuses already.
async fn closes<F: BusFixture>(stage: &Stage<F>) -> bool {
    stage.bus.subscribe(stage.interest("another", &["other"], 1)).await.is_err()
}

/// With something out that nobody acknowledges, it ends all the same.
pub async fn closing_ends_at_its_deadline<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let answers = Answers::default();
    let batch = answers.batch([stage.envelope("e", "k")]);
    stage.within("publishing", stage.bus.publish(batch)).await.unwrap();
    let _held = stage.one(&mut *consumer).await;
    stage.within("closing", stage.bus.close(Duration::from_millis(50))).await;
    assert!(stage.within("the end", consumer.next(1)).await.unwrap().is_empty());
    let given = stage.within("the answer", answers.all(1)).await;
    assert!(matches!(given[0].1, Answer::Confirmed | Answer::Unknown(_)), "{given:?}");
}

/// A delivery that is still in somebody's hands when the bus is gone: settling it ends, one way or the other.
pub async fn a_delivery_does_not_outlive_its_bus<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    let answers = Answers::default();
    let batch = answers.batch((0..4).map(|n| stage.envelope(&n.to_string(), &n.to_string())));
    stage.within("publishing", stage.bus.publish(batch)).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 4 {
        held.push(stage.one(&mut *consumer).await.settle);
    }
    stage.within("closing", stage.bus.close(Duration::ZERO)).await;
    drop(held.remove(0));
    let settled = [
        stage.within("an ack", held.remove(0).ack()).await,
        stage.within("a nack", held.remove(0).nack(Duration::from_secs(1))).await,
        stage.within("a rejection", held.remove(0).reject("too late".into())).await,
    ];
    for error in settled.into_iter().filter_map(Result::err) {
        assert!(!error.to_string().is_empty(), "an error says what was wrong");
    }
    let given = stage.within("the answers", answers.all(4)).await;
    assert_eq!(given.len(), 4, "answered once each: {given:?}");
}
