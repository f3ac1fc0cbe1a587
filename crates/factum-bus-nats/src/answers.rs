//! What the server's answers to publishing mean. Only an acknowledgement confirms.

use std::sync::Arc;

use async_nats::{Message, StatusCode, Subscriber};
use factum::integration::Answer;
use futures_util::StreamExt as _;
use serde::Deserialize;

use crate::inflight::InFlight;

/// Answers that are taken in one go.
const AT_ONCE: usize = 256;

/// Reads answers until the connection is gone for good. `no_stream` is called when the server says that no stream took a
/// message.
pub(crate) async fn read(replies: Subscriber, in_flight: Arc<InFlight>, no_stream: impl Fn() + Send) {
    let mut replies = replies.ready_chunks(AT_ONCE);
    while let Some(chunk) = replies.next().await {
        if chunk.iter().any(|message| message.status == Some(StatusCode::NO_RESPONDERS)) {
            no_stream();
        }
        let answers =
            chunk.iter().filter_map(|message| Some((in_flight.place(&message.subject)?, answer(message))));
        in_flight.settle(answers);
    }
}

#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    seq: u64,
    error: Option<ServerError>,
}

#[derive(Deserialize)]
struct ServerError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// What is wrong with this message, rather than with the server at this time (`err_code`s of JetStream).
const REFUSALS: [u64; 3] = [
    10_054, // message size exceeds maximum allowed
    10_097, // header size exceeds maximum allowed
    10_130, // message is not valid for the stream's settings
];

fn answer(message: &Message) -> Answer {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Answer::Unknown(
            "no stream took it: JetStream is not ready, or the stream was deleted".into(),
        );
    }
    // The one that comes two hundred thousand times a second: an error always stands before the stream.
    if message.status.is_none() && message.payload.starts_with(b"{\"stream\":") {
        return Answer::Confirmed;
    }
    match serde_json::from_slice::<Acknowledgement>(&message.payload) {
        Ok(Acknowledgement { error: Some(error), .. }) => refusal(&error),
        Ok(Acknowledgement { seq: 1.., error: None }) => Answer::Confirmed,
        _ => Answer::Unknown(format!(
            "the server's answer is no acknowledgement: {}",
            String::from_utf8_lossy(&message.payload)
        )),
    }
}

/// A server or a stream that is full or not ready is an outage: it kills no event, however long it lasts.
fn refusal(error: &ServerError) -> Answer {
    let ServerError { err_code, description } = error;
    let why = format!("JetStream says: {description} ({err_code})");
    match REFUSALS.contains(err_code) {
        true => Answer::Refused(why),
        false => Answer::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static str, status: Option<StatusCode>) -> Message {
        Message {
            subject: "r".into(),
            reply: None,
            payload: payload.into(),
            headers: None,
            status,
            description: None,
            length: payload.len(),
        }
    }

    #[test]
    fn an_acknowledgement_confirms_and_so_does_one_of_a_repeat() {
        for payload in [
            r#"{"stream":"a_b","seq":7}"#,
            r#"{"stream":"a_b","seq":7,"duplicate": true}"#,
            r#"{"type":"x","stream":"a_b","seq":7}"#,
        ] {
            assert_eq!(answer(&message(payload, None)), Answer::Confirmed, "{payload}");
        }
    }

    #[test]
    fn f_52_nothing_but_an_acknowledgement_confirms() {
        for payload in ["", "+OK", "{}", r#"{"seq":0}"#, r#"{"error":null,"seq":0}"#, r#"["stream"]"#] {
            assert!(matches!(answer(&message(payload, None)), Answer::Unknown(_)), "{payload}");
        }
        let nobody = message("", Some(StatusCode::NO_RESPONDERS));
        assert!(matches!(answer(&nobody), Answer::Unknown(_)));
        let error = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"a","seq":0}"#;
        let Answer::Unknown(why) = answer(&message(error, None)) else { panic!("a full stream passes") };
        assert_eq!(why, "JetStream says: maximum bytes exceeded (10077)");
    }

    #[test]
    fn what_is_wrong_with_the_message_itself_is_refused() {
        let error = r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"stream":"a","seq":0}"#;
        assert!(matches!(answer(&message(error, None)), Answer::Refused(why) if why.contains("10054")));
    }
}
