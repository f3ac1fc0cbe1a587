//! The streams of this bus, one for each source: declared when its first event comes, or verified. What exists is never
//! changed: somebody may have had a reason.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;
use crate::names::Names;
use crate::options::Options;
use crate::server::{Failure, STREAM_NOT_FOUND, Server};

/// What a stream is made with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    replicas: usize,
    max_age: Duration,
    max_bytes: Option<u64>,
    duplicate_window: Duration,
}

impl Settings {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            replicas: options.replicas.max(1),
            max_age: options.max_age,
            max_bytes: options.max_bytes,
            duplicate_window: options.duplicate_window,
        }
    }
}

/// Makes sure that the stream of a source is there as it has to be; `true`: it was not.
pub(crate) async fn declare(
    server: &Server,
    names: &Names,
    settings: &Settings,
    source: &str,
) -> Result<bool, Error> {
    let destination = names.destination(source);
    let stream = names.stream(&destination);
    let subjects = format!("{}>", names.subjects(&destination));
    let described = match names.is_given(source) {
        true => "factum: events under a given name".to_owned(),
        false => format!("factum: events of {source}"),
    };
    let wanted = wanted(settings, &stream, &subjects, &described);
    let what = format!("declaring stream {stream} for {source}");
    let mut is_new = false;
    let found = match server.ask(format!("STREAM.INFO.{stream}"), &json!({})).await {
        Ok(info) => info,
        Err(failure) if failure.is(STREAM_NOT_FOUND) => {
            match server.ask(format!("STREAM.CREATE.{stream}"), &wanted).await {
                Ok(info) => {
                    is_new = true;
                    info
                }
                // Somebody else was quicker, or its subjects are taken: what is there decides.
                Err(Failure::Refused { code, description }) => server
                    .ask(format!("STREAM.INFO.{stream}"), &json!({}))
                    .await
                    .map_err(|_| Failure::Refused { code, description }.over(&what))?,
                Err(failure) => return Err(failure.over(&what)),
            }
        }
        Err(failure) => return Err(failure.over(&what)),
    };
    verify(&stream, &found["config"], &wanted).map(|()| is_new)
}

fn wanted(settings: &Settings, stream: &str, subjects: &str, described: &str) -> Value {
    // At least what the server takes for a window; without ids in the messages it costs nothing.
    let window = settings.duplicate_window.max(Duration::from_millis(100));
    json!({
        "name": stream,
        "description": described,
        "subjects": [subjects],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "max_age": settings.max_age.as_nanos() as u64,
        "max_bytes": settings.max_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        "num_replicas": settings.replicas,
        "duplicate_window": window.as_nanos() as u64,
        "allow_direct": true,
    })
}

/// What has to be exactly so, or events would get lost or mixed up.
const EXACT: [&str; 7] =
    ["subjects", "retention", "discard", "storage", "max_msgs", "max_msgs_per_subject", "description"];

fn verify(stream: &str, found: &Value, wanted: &Value) -> Result<(), Error> {
    let differs = |setting: &str| {
        Err(Error::Differs {
            what: format!("stream {stream}"),
            found: format!("{setting} {}", found[setting]),
            needed: format!("{setting} {}", wanted[setting]),
        })
    };
    let exact = EXACT.iter().find(|setting| found[**setting] != wanted[**setting]);
    if let Some(setting) = exact {
        return differs(setting);
    }
    if ["no_ack", "sealed"].iter().any(|setting| found[*setting] == json!(true)) {
        return differs("no_ack");
    }
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let (age, least) = (number(&found["max_age"]), number(&wanted["max_age"]));
    if age != 0 && (least == 0 || age < least) {
        return differs("max_age");
    }
    if number(&found["num_replicas"]) < number(&wanted["num_replicas"]) {
        return differs("num_replicas");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let settings = Settings {
            replicas: 1,
            max_age: Duration::from_secs(60),
            max_bytes: None,
            duplicate_window: Duration::from_secs(1),
        };
        let wanted = wanted(&settings, "a_b", "a.b.>", "factum: events of urn:b");
        let mut found = wanted.clone();
        change(&mut found);
        verify("a_b", &found, &wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn what_an_operator_may_tune_passes() {
        assert_eq!(stream(|_| {}), Ok(()));
        assert_eq!(stream(|it| it["max_age"] = json!(0)), Ok(()));
        assert_eq!(stream(|it| it["num_replicas"] = json!(3)), Ok(()));
        assert_eq!(stream(|it| it["max_bytes"] = json!(1 << 30)), Ok(()));
        assert_eq!(stream(|it| it["duplicate_window"] = json!(1)), Ok(()));
    }

    #[test]
    fn what_would_lose_events_is_refused_by_name() {
        let refusal = |setting: &str, value: Value| stream(|it| it[setting] = value).unwrap_err();
        assert_eq!(
            refusal("retention", json!("workqueue")),
            "stream a_b exists with retention \"workqueue\", needed is retention \"limits\"; change it, or use another \
             namespace"
        );
        assert!(refusal("discard", json!("old")).contains("discard \"new\""));
        assert!(refusal("storage", json!("memory")).contains("storage \"file\""));
        assert!(refusal("subjects", json!(["a.>"])).contains("[\"a.b.>\"]"));
        assert!(refusal("max_age", json!(1)).contains("max_age 60000000000"));
        assert!(refusal("num_replicas", json!(0)).contains("num_replicas 1"));
        assert!(refusal("description", json!("factum: events of urn:c")).contains("urn:b"));
        assert!(refusal("no_ack", json!(true)).contains("no_ack"));
    }
}
