//! What a program sees that knows AMQP, and not factum.

mod support;

use factum::Envelope;
use factum::integration::{Answer, EventBus as _};
use factum_conformance::service;
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};

use support::{Namespace, PATIENCE, SOURCE, TYPE, envelope, publish_one};

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_takes_some_types_of_a_service_from_its_topic_exchange() {
    const NAME: &str = "somebody_else_takes_some_types_of_a_service_from_its_topic_exchange";
    if service::RABBITMQ.url_or_skip(NAME).is_none() {
        return;
    }
    let namespace = Namespace::new();
    let bus = namespace.options().connect().await.unwrap();
    // The service makes its exchanges with its first event.
    assert_eq!(publish_one(&bus, envelope("1", "k")).await, Answer::Unroutable);

    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&namespace.url, properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), own, FieldTable::default()).await.unwrap().name().clone();
    let topic: ShortString = format!("{}.{SOURCE}.topic", namespace.name).into();
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.clone(), topic, format!("{TYPE}.*").into(), bind, none).await.unwrap();

    let other = Envelope { r#type: "com.example.shop.order-cancelled.v1".into(), ..envelope("2", "k") };
    assert_eq!(publish_one(&bus, other).await, Answer::Unroutable);
    assert_eq!(publish_one(&bus, envelope("3", "k")).await, Answer::Confirmed);
    let taken = channel.basic_get(queue.clone(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
    let headers = taken.delivery.properties.headers().clone().unwrap();
    assert_eq!(headers.inner().get("ce-id"), Some(&lapin::types::AMQPValue::LongString("3".into())));
    assert!(channel.basic_get(queue, BasicGetOptions { no_ack: true }).await.unwrap().is_none());
    bus.close(PATIENCE).await;
}
