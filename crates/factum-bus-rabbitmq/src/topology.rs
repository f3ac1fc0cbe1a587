//! Exchanges, queues and bindings: made where they are missing, verified where they exist, never changed.
//!
//! A service publishes to its own fanout exchange. Each of those is bound to one direct exchange of the namespace, the
//! hub, and subscriptions bind their queues there: so a subscription gets its types from every source, also from one
//! that appears later. It is bound to a topic exchange of the service too, for whoever wants some of its types. AMQP cannot list anything, so what was made is noted in a queue beforehand, the registry, by
//! which it can be found and removed again.

use std::collections::{HashMap, HashSet};

use factum::integration::Source;
use futures_util::future::try_join_all;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ExchangeKind};
use tokio::sync::{Mutex, MutexGuard};

use crate::connection::Up;
use crate::error::{Error, NOT_FOUND, reply_code};
use crate::names::{Names, routing_key};
use crate::options::{Options, QueueKind};

/// RabbitMQ 4 throws a delivery away after 20 returns unless it is told a limit; earlier ones know no "unlimited".
const DELIVERY_LIMIT: i32 = i32::MAX;

/// What a name in the registry is the name of.
pub(crate) const EXCHANGE: &str = "exchange";
/// See [`EXCHANGE`].
pub(crate) const QUEUE: &str = "queue";

/// Makes and verifies.
pub(crate) struct Topology {
    pub(crate) names: Names,
    namespace: String,
    kind: QueueKind,
    partitions: u8,
    known: Mutex<Known>,
}

/// What was found to be there, by one generation of one connection.
#[derive(Default)]
struct Known {
    generation: u64,
    is_namespace_there: bool,
    exchanges: HashSet<Source>,
    types: HashMap<String, HashSet<String>>,
}

impl Topology {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            names: options.names()?,
            namespace: options.namespace_name().to_owned(),
            kind: options.queue_kind,
            partitions: options.partitions,
            known: Mutex::default(),
        })
    }

    /// Something turned out to be gone: look again at everything.
    pub(crate) async fn forget(&self) {
        *self.known.lock().await = Known::default();
    }

    /// What is known by this connection. Begins with what everybody of the namespace shares.
    async fn known(&self, up: &Up) -> Result<MutexGuard<'_, Known>, Error> {
        let mut known = self.known.lock().await;
        if known.generation != up.generation {
            *known = Known { generation: up.generation, ..Known::default() };
        }
        if !known.is_namespace_there {
            self.declare_namespace(up).await?;
            known.is_namespace_there = true;
        }
        Ok(known)
    }

    /// What everybody of the namespace shares.
    pub(crate) async fn namespace(&self, up: &Up) -> Result<(), Error> {
        self.known(up).await.map(drop)
    }

    async fn declare_namespace(&self, up: &Up) -> Result<(), Error> {
        let channel = self.channel(up).await?;
        let marker = self.names.partitions();
        let limit = ("x-max-length", AMQPValue::LongInt(i32::from(self.partitions)));
        let made = self.declare_queue(up, &channel, &marker, &[limit]).await;
        made.map_err(|error| match error {
            Error::Conflict { detail, .. } => {
                let (namespace, partitions) = (self.namespace.clone(), self.partitions);
                Error::Partitions { namespace, partitions, detail }
            }
            other => other,
        })?;
        self.declare_queue(up, &channel, &self.names.registry(), &[]).await?;
        self.declare_exchange(up, &channel, &self.names.hub(), ExchangeKind::Direct).await
    }

    /// The exchange of one source, through which its types reach all subscriptions.
    pub(crate) async fn source(&self, up: &Up, source: &Source) -> Result<(), Error> {
        let mut known = self.known(up).await?;
        if known.exchanges.contains(source) {
            return Ok(());
        }
        let (name, topic) = (self.names.exchange(source), self.names.topic(source));
        if !self.is_there(up, EXCHANGE, &topic).await? {
            self.note(up, EXCHANGE, &[name.clone(), topic.clone()]).await?;
        }
        let channel = self.channel(up).await?;
        self.declare_exchange(up, &channel, &name, ExchangeKind::Fanout).await?;
        self.declare_exchange(up, &channel, &topic, ExchangeKind::Topic).await?;
        for to in [self.names.hub(), topic] {
            let (options, arguments) = (ExchangeBindOptions::default(), FieldTable::default());
            let bind = channel.exchange_bind(to.clone(), name.clone(), "".into(), options, arguments);
            up.ask(format!("binding exchange {name:?} to {to:?}"), bind).await?;
        }
        known.exchanges.insert(source.clone());
        Ok(())
    }

    /// The queues of a subscription, bound to these types beside those that it has already.
    pub(crate) async fn subscription(&self, up: &Up, name: &str, types: &[String]) -> Result<(), Error> {
        let mut known = self.known(up).await?;
        let bound = known.types.get(name);
        let missing: Vec<&String> =
            types.iter().filter(|it| !bound.is_some_and(|bound| bound.contains(*it))).collect();
        if bound.is_some() && missing.is_empty() {
            return Ok(());
        }
        let queues: Vec<_> =
            (0..self.partitions).map(|partition| self.names.queue(name, partition)).collect();
        if bound.is_none() {
            self.queues(up, &queues).await?;
        }
        let channel = self.channel(up).await?;
        let hub = self.names.hub();
        let bind = |(queue, partition): (&ShortString, u8), r#type: &str| {
            channel.queue_bind(
                queue.clone(),
                hub.clone(),
                routing_key(r#type, partition),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
        };
        let each = || queues.iter().zip(0..);
        let binds = missing.iter().flat_map(|r#type| each().map(|it| bind(it, r#type)));
        up.ask(format!("binding the queues of {name:?}"), try_join_all(binds)).await?;
        known.types.entry(name.to_owned()).or_default().extend(types.iter().cloned());
        Ok(())
    }

    async fn queues(&self, up: &Up, queues: &[ShortString]) -> Result<(), Error> {
        if let Some(first) = queues.first()
            && !self.is_there(up, QUEUE, first).await?
        {
            self.note(up, QUEUE, queues).await?;
        }
        let channel = self.channel(up).await?;
        let one_reader = ("x-single-active-consumer", AMQPValue::Boolean(true));
        let limit = ("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT));
        let arguments = match self.kind {
            QueueKind::Quorum => vec![one_reader, limit],
            QueueKind::Classic => vec![one_reader],
        };
        let declare = queues.iter().map(|queue| self.declare_queue(up, &channel, queue, &arguments));
        try_join_all(declare).await.map(drop)
    }

    /// A queue without a special purpose.
    pub(crate) async fn plain_queue(&self, up: &Up, name: &ShortString) -> Result<(), Error> {
        if !self.is_there(up, QUEUE, name).await? {
            self.note(up, QUEUE, std::slice::from_ref(name)).await?;
        }
        self.declare_queue(up, &self.channel(up).await?, name, &[]).await
    }

    pub(crate) async fn channel(&self, up: &Up) -> Result<Channel, Error> {
        up.ask("opening a channel", up.connection.create_channel()).await
    }

    async fn declare_exchange(
        &self,
        up: &Up,
        channel: &Channel,
        name: &ShortString,
        kind: ExchangeKind,
    ) -> Result<(), Error> {
        let what = format!("exchange {name:?}, {kind:?} and durable");
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declare = channel.exchange_declare(name.clone(), kind, options, FieldTable::default());
        up.ask(what, declare).await
    }

    async fn declare_queue(
        &self,
        up: &Up,
        channel: &Channel,
        name: &ShortString,
        arguments: &[(&str, AMQPValue)],
    ) -> Result<(), Error> {
        let kind = match self.kind {
            QueueKind::Quorum => "quorum",
            QueueKind::Classic => "classic",
        };
        let mut table = FieldTable::default();
        table.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declare = channel.queue_declare(name.clone(), options, table);
        up.ask(format!("{kind} queue {name:?}"), declare).await.map(drop)
    }

    /// How many consumers a queue has.
    pub(crate) async fn consumers(
        &self,
        up: &Up,
        channel: &Channel,
        queue: &ShortString,
    ) -> Result<usize, Error> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let look = channel.queue_declare(queue.clone(), options, FieldTable::default());
        let found = up.ask(format!("looking at queue {queue:?}"), look).await?;
        Ok(usize::try_from(found.consumer_count()).unwrap_or_default())
    }

    /// Looks without making it. On a channel of its own, because the broker closes it where there is nothing.
    async fn is_there(&self, up: &Up, what: &str, name: &ShortString) -> Result<bool, Error> {
        let channel = self.channel(up).await?;
        let asked = format!("looking for {what} {name:?}");
        let answer = async {
            if what == EXCHANGE {
                let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let (name, none) = (name.clone(), FieldTable::default());
                channel.exchange_declare(name, ExchangeKind::Fanout, options, none).await
            } else {
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(name.clone(), options, FieldTable::default()).await.map(drop)
            }
        };
        match up.ask(asked, answer).await {
            Ok(()) => Ok(true),
            Err(Error::Broker { source, .. }) if reply_code(&source) == Some(NOT_FOUND) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Notes in the registry what is about to be made: first the name, then the thing, so that nothing is forgotten.
    async fn note(&self, up: &Up, what: &str, names: &[ShortString]) -> Result<(), Error> {
        let channel = self.channel(up).await?;
        up.ask("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let write = names.iter().map(|name| async {
            let properties = BasicProperties::default().with_delivery_mode(2).with_type(what.into());
            let (registry, options) = (self.names.registry(), BasicPublishOptions::default());
            let name = name.as_str().as_bytes();
            channel.basic_publish("".into(), registry, options, name, properties).await?.await
        });
        up.ask("writing to the registry", try_join_all(write)).await.map(drop)
    }
}
