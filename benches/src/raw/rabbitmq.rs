//! The raw limit's broker connection to RabbitMQ: persistent messages to durable quorum queues by the default exchange,
//! publisher confirms collected by the page.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use lapin::{Confirmation, PublisherConfirm};

use super::{Headers, RawBus, Row};
use crate::Outcome;

/// Quorum queues, named after `name`, as many as the load is spread over.
pub(crate) async fn create(url: &str, name: &str, queues: usize) -> Outcome<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    for queue in 0..queues {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(queue_name(name, queue), options, arguments).await?;
    }
    Ok(connection.close(200, "done".into()).await?)
}

/// Removes the queues, and says how many messages they had.
pub(crate) async fn remove(url: &str, name: &str, queues: usize) -> Outcome<u64> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    let mut stored = 0;
    for queue in 0..queues {
        let deleted = channel.queue_delete(queue_name(name, queue), QueueDeleteOptions::default()).await?;
        stored += u64::from(deleted);
    }
    connection.close(200, "done".into()).await?;
    Ok(stored)
}

pub(crate) async fn connect(url: &str) -> Outcome<Connection> {
    Ok(Connection::connect(url, ConnectionProperties::default()).await?)
}

pub(crate) fn queue_name(name: &str, queue: usize) -> ShortString {
    format!("{name}.{queue}").into()
}

/// A connection with one channel.
pub(crate) struct RabbitMq {
    channel: Channel,
    queues: Vec<ShortString>,
    headers: Headers,
    // Closed when it is dropped.
    _connection: Connection,
}

impl RabbitMq {
    pub(crate) async fn open(url: &str, name: &str, queues: usize, headers: Headers) -> Outcome<Self> {
        let connection = connect(url).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let queues = (0..queues).map(|queue| queue_name(name, queue)).collect();
        Ok(Self { channel, queues, headers, _connection: connection })
    }
}

impl RawBus for RabbitMq {
    type Sent = Vec<PublisherConfirm>;

    async fn send(&mut self, rows: &[Row]) -> Outcome<Self::Sent> {
        let mut sent = Vec::with_capacity(rows.len());
        for row in rows {
            let queue = self.queues[row.seq as usize % self.queues.len()].clone();
            let (options, properties) = (BasicPublishOptions::default(), properties(self.headers, row));
            sent.push(self.channel.basic_publish("".into(), queue, options, &row.payload, properties).await?);
        }
        Ok(sent)
    }

    async fn acknowledged(sent: Self::Sent) -> Outcome<()> {
        for confirm in sent {
            match confirm.await? {
                Confirmation::Ack(None) => {}
                other => return Err(format!("the broker answered {other:?}").into()),
            }
        }
        Ok(())
    }
}

fn properties(which: Headers, row: &Row) -> BasicProperties {
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let Some(id) = row.id.as_deref().filter(|_| which != Headers::None) else { return persistent };
    let with_id = persistent.with_message_id(id.into());
    if which == Headers::Id {
        return with_id;
    }
    let seq = format!("0000000000000000-{:020}", row.seq);
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-source", crate::fill::SOURCE),
        ("ce-type", crate::fill::TYPE),
        ("ce-time", "2026-01-01T00:00:00.000000Z"),
        ("ce-partitionkey", "key-1234"),
        ("ce-sequence", &seq),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    with_id.with_headers(headers).with_content_type("application/json".into())
}
