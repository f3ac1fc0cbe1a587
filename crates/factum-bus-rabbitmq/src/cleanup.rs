//! Removing what a namespace has made, by its registry.

use std::collections::BTreeSet;

use lapin::Channel;
use lapin::options::{BasicGetOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};

use crate::connection::ask;
use crate::error::{Error, NOT_FOUND, reply_code};
use crate::options::Options;
use crate::topology::EXCHANGE;

pub(crate) async fn clean_up(options: Options) -> Result<usize, Error> {
    let deadline = options.deadline;
    let connection = options.recipe("clean-up")?.connect().await?;
    let channel = ask(deadline, "opening a channel", connection.create_channel()).await?;
    let registry = options.names()?.registry();
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let look = channel.queue_declare(registry, passive, FieldTable::default());
    let removed = match ask(deadline, "looking for the registry", look).await {
        Ok(_) => remove(&options, &channel).await?,
        Err(Error::Broker { source, .. }) if reply_code(&source) == Some(NOT_FOUND) => 0,
        Err(other) => return Err(other),
    };
    let _ = ask(deadline, "closing", connection.close(200, "done".into())).await;
    Ok(removed)
}

async fn remove(options: &Options, channel: &Channel) -> Result<usize, Error> {
    let names = options.names()?;
    let listed = list(options, channel, names.registry()).await?;
    let (exchanges, queues): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(kind, _)| kind == EXCHANGE);
    let mut removed = 0;
    for name in exchanges.into_iter().map(|(_, name)| name).chain([names.hub().to_string()]) {
        removed += delete_exchange(options, channel, &name).await?;
    }
    // The registry last, so that a run that was cut short can be repeated.
    let own = [names.partitions(), names.registry()].map(|name| name.to_string());
    for name in queues.into_iter().map(|(_, name)| name).chain(own) {
        removed += delete_queue(options, channel, &name).await?;
    }
    Ok(removed)
}

/// What the registry lists, kind and name. It is read and not emptied: what is not acknowledged stays.
async fn list(
    options: &Options,
    channel: &Channel,
    registry: ShortString,
) -> Result<BTreeSet<(String, String)>, Error> {
    let mut listed = BTreeSet::new();
    let next = || channel.basic_get(registry.clone(), BasicGetOptions::default());
    while let Some(entry) = ask(options.deadline, "reading the registry", next()).await? {
        let kind = entry.properties.kind().as_ref().map(ToString::to_string).unwrap_or_default();
        listed.extend(String::from_utf8(entry.delivery.data).ok().map(|name| (kind, name)));
    }
    Ok(listed)
}

async fn delete_exchange(options: &Options, channel: &Channel, name: &str) -> Result<usize, Error> {
    let Ok(name) = ShortString::try_new(name) else { return Ok(0) };
    let delete = channel.exchange_delete(name.clone(), ExchangeDeleteOptions::default());
    ask(options.deadline, format!("deleting exchange {name:?}"), delete).await?;
    Ok(1)
}

async fn delete_queue(options: &Options, channel: &Channel, name: &str) -> Result<usize, Error> {
    let Ok(name) = ShortString::try_new(name) else { return Ok(0) };
    let delete = channel.queue_delete(name.clone(), QueueDeleteOptions::default());
    ask(options.deadline, format!("deleting queue {name:?}"), delete).await?;
    Ok(1)
}
