//! The durable consumers on the server, one for each stream and partition of a subscription: declared or verified.

use std::time::Duration;

use serde_json::{Value, json};

use super::roster::Record;
use crate::Error;
use crate::names::{self, Names};
use crate::server::{CONSUMER_NOT_FOUND, Failure, Server};

/// Messages that the server hands out unacknowledged at most. More than a process takes: it must not be what holds up a
/// partition.
const ACK_PENDING_MAX: u64 = 20_000;

/// A stream of the bus, as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    /// What is in front of its subjects.
    pub(crate) subjects: String,
    /// Tells streams of one name apart.
    pub(crate) created: String,
    pub(crate) last: u64,
}

/// A consumer, as it was found.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// How many deliveries the server waits for.
    pub(crate) pending: u64,
    /// All before, and this one, are acknowledged.
    pub(crate) floor: u64,
    /// The last that was delivered: its place in the stream, and in the deliveries of the consumer.
    pub(crate) delivered: (u64, u64),
    pub(crate) ack_wait: Duration,
}

impl State {
    fn of(info: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        Self {
            pending: number(&info["num_ack_pending"]),
            floor: number(&info["ack_floor"]["stream_seq"]),
            delivered: (number(&info["delivered"]["stream_seq"]), number(&info["delivered"]["consumer_seq"])),
            ack_wait: Duration::from_nanos(number(&info["config"]["ack_wait"])),
        }
    }
}

pub(crate) fn name(token: &str, partition: u8) -> String {
    format!("{token}-{partition}")
}

/// All streams of the bus.
pub(crate) async fn streams(server: &Server, names: &Names) -> Result<Vec<Stream>, Failure> {
    let mut streams = Vec::new();
    for name in server.streams(&names.everything()).await? {
        let prefix = format!("{}_", names.namespace());
        let Some(destination) = name.strip_prefix(&prefix) else { continue };
        let subjects = names.subjects(destination);
        match server.ask(format!("STREAM.INFO.{name}"), &json!({})).await {
            Ok(info) => streams.push(Stream {
                created: info["created"].as_str().unwrap_or_default().to_owned(),
                last: info["state"]["last_seq"].as_u64().unwrap_or_default(),
                name,
                subjects,
            }),
            // Deleted between the two questions.
            Err(failure) if failure.is(crate::server::STREAM_NOT_FOUND) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(streams)
}

/// Makes sure that a consumer is there, takes all types of the subscription, and begins where it has to.
pub(crate) async fn declare(
    server: &Server,
    record: &Record,
    (token, partition): (&str, u8),
    stream: &Stream,
    (begin, ack_wait): (u64, Duration),
) -> Result<State, Error> {
    let name = name(token, partition);
    let types: Vec<String> = record.types.iter().cloned().collect();
    let filter = names::filter(&stream.subjects, partition, &types);
    let what = format!("declaring consumer {name} of stream {}", stream.name);
    let found = match info(server, &stream.name, &name).await {
        Ok(found) => Some(found),
        Err(failure) if failure.is(CONSUMER_NOT_FOUND) => None,
        Err(failure) => return Err(failure.over(&what)),
    };
    let begin = match found {
        Some(found) => {
            verify(&name, &found["config"])?;
            if found["config"]["filter_subject"] == json!(filter) {
                return Ok(State::of(&found));
            }
            // Servers before 2.10 take another filter, and then pass over what it is for until they are restarted. What
            // was acknowledged beyond the floor comes again, and is recognised.
            let removed = server.ask(format!("CONSUMER.DELETE.{}.{name}", stream.name), &json!({})).await;
            match removed {
                Err(failure) if !failure.is(CONSUMER_NOT_FOUND) => return Err(failure.over(&what)),
                _ => begin.max(State::of(&found).floor + 1),
            }
        }
        None => begin,
    };
    let config = json!({
        "durable_name": name,
        "description": format!("factum: subscription {}, partition {partition}", record.subscription),
        "ack_policy": "explicit",
        "ack_wait": u64::try_from(ack_wait.as_nanos()).unwrap_or(u64::MAX),
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": begin.max(1),
        "filter_subject": filter,
        "max_ack_pending": ACK_PENDING_MAX,
        "max_deliver": -1,
        "replay_policy": "instant",
    });
    let question = json!({ "stream_name": stream.name, "config": config });
    let created = server.ask(format!("CONSUMER.DURABLE.CREATE.{}.{name}", stream.name), &question).await;
    Ok(State::of(&created.map_err(|failure| failure.over(&what))?))
}

/// How a consumer is at the moment.
pub(crate) async fn look(server: &Server, stream: &str, name: &str) -> Result<State, Failure> {
    Ok(State::of(&info(server, stream, name).await?))
}

async fn info(server: &Server, stream: &str, name: &str) -> Result<Value, Failure> {
    server.ask(format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await
}

fn verify(name: &str, found: &Value) -> Result<(), Error> {
    let wanted = json!({ "ack_policy": "explicit", "max_deliver": -1 });
    let differs = |setting: &str| Error::Differs {
        what: format!("consumer {name}"),
        found: format!("{setting} {}", found[setting]),
        needed: format!("{setting} {}", wanted[setting]),
    };
    if found["ack_policy"] != wanted["ack_policy"] {
        return Err(differs("ack_policy"));
    }
    match found["max_deliver"].as_i64().unwrap_or(-1) {
        -1 => Ok(()),
        _ => Err(differs("max_deliver")),
    }
}
