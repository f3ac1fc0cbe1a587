//! An envelope arrives as it was sent, whatever is in it.

use factum::integration::Answer;
use factum::{Envelope, Timestamp};

use crate::bus::BusFixture;
use crate::bus::answers::Answers;
use crate::bus::stage::Stage;

/// What breaks headers: quotes, separators, escapes, other scripts, four-byte characters, spaces at the ends.
const AWKWARD: &str = " a\"b'c\\d,e;f=g%41&h/i?j#k+l{m}<n> Zoë 東京 ω 🦀 ";

async fn arrives_unchanged<F: BusFixture>(envelopes: Vec<Envelope>) {
    let stage = Stage::<F>::open().await;
    let mut consumer = stage.consumer("s", 10).await;
    for envelope in envelopes {
        let r#type = stage.r#type("placed").into();
        let source = stage.source("ordering").into();
        let sent = Envelope { r#type, source, ..envelope };
        let publishing = stage.publish(vec![sent.clone()]);
        let delivery = stage.one(&mut *consumer).await;
        assert_eq!(*delivery.envelope, sent);
        delivery.settle.ack().await.unwrap();
        publishing.confirmed().await;
    }
}

fn with_data(id: &str, data: impl Into<std::sync::Arc<[u8]>>) -> Envelope {
    Envelope::new(id, "", "", data)
}

/// Every attribute, with text that headers like to break.
pub async fn attributes_and_extensions_arrive_unchanged<F: BusFixture>() {
    let awkward = || Some(AWKWARD.into());
    let full = Envelope {
        subject: awkward(),
        time: Timestamp::from_micros(1_764_095_490_123_456),
        datacontenttype: "application/vnd.example+json; charset=utf-8".into(),
        dataschema: Some("https://example.com/schemas/placed%20v1.json#/here".into()),
        partitionkey: awkward(),
        sequence: Some("0000000001-00000000000000000042".into()),
        correlationid: awkward(),
        causationid: Some(AWKWARD.into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        tracestate: Some("vendor=a:b,other@vendor=c=d".into()),
        extensions: [("tenant", AWKWARD), ("x1", "1"), ("abcdefghij0123456789", "true")]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        ..with_data(AWKWARD, *b"{}")
    };
    let long = Envelope {
        partitionkey: Some("k".repeat(Envelope::KEY_BYTES_MAX).into()),
        ..with_data(&"i".repeat(Envelope::ID_BYTES_MAX), *b"{}")
    };
    arrives_unchanged::<F>(vec![full, long]).await;
}

/// Absent is not empty: nothing is made up on the way, not even a key.
pub async fn attributes_that_are_not_there_stay_away<F: BusFixture>() {
    arrives_unchanged::<F>(vec![with_data("bare", *b"{}")]).await;
}

/// JSON with everything in it, no bytes at all, and every byte there is.
pub async fn data_of_any_bytes_arrives_unchanged<F: BusFixture>() {
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(3 * 256).collect();
    let binary = |id: &str, data: Vec<u8>| Envelope {
        datacontenttype: "application/octet-stream".into(),
        ..with_data(id, data)
    };
    arrives_unchanged::<F>(vec![
        with_data("json", "{\"name\": \"Zoë \\u0000 🦀\",\r\n\"n\": 1e400}".as_bytes()),
        binary("none", Vec::new()),
        binary("every", every_byte),
        binary("zeros", vec![0; 10_000]),
    ])
    .await;
}

/// The declared limit is the real one.
pub async fn the_largest_data_is_taken_and_one_byte_more_is_refused<F: BusFixture>() {
    let stage = Stage::<F>::open().await;
    let most = stage.bus.capabilities().data_bytes_max;
    let mut consumer = stage.consumer("s", 10).await;
    let envelope =
        |id: &str, bytes: usize| Envelope { data: vec![b' '; bytes].into(), ..stage.envelope(id, id) };
    let publishing = stage.publish(vec![envelope("largest", most)]);
    let delivery = stage.one(&mut *consumer).await;
    assert_eq!((delivery.envelope.id.as_str(), delivery.envelope.data.len()), ("largest", most));
    delivery.settle.ack().await.unwrap();
    publishing.confirmed().await;

    let answers = Answers::default();
    stage
        .within("publishing", stage.bus.publish(answers.batch([envelope("too large", most + 1)])))
        .await
        .unwrap();
    let given = stage.within("the answer", answers.all(1)).await;
    let Answer::Refused(why) = &given[0].1 else { panic!("one byte too many was answered {given:?}") };
    assert!(why.contains(&(most + 1).to_string()), "a refusal names the size: {why}");
    // The marker comes and nothing else does.
    let publishing = stage.publish(vec![stage.envelope("marker", "marker")]);
    assert_eq!(stage.read(&mut *consumer, 1).await.into_iter().next().as_deref(), Some("marker"));
    publishing.confirmed().await;
}
