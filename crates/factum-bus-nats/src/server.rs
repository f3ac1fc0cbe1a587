//! Asking the server: every question has a deadline, and every refusal its number.
//!
//! What is asked for is written as the server's API has it. The client's own types would send fields that an older
//! server does not know, and hide which ones a newer one has.

use std::pin::pin;
use std::time::Duration;

use async_nats::{Client, Subject, jetstream};
use bytes::Bytes;
use factum::BoxError;
use futures_util::future::poll_immediate;
use serde_json::Value;
use tokio::time::timeout;

use crate::Error;

/// The numbers by which JetStream says what is wrong.
pub(crate) const STREAM_NOT_FOUND: u64 = 10_059;
pub(crate) const CONSUMER_NOT_FOUND: u64 = 10_014;
const NOT_ENABLED: [u64; 2] = [10_039, 10_076];

/// A connection, and what may be asked over it.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    deadline: Duration,
}

/// Why a question got no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server says no.
    #[error("{description} ({code})")]
    Refused {
        /// `err_code` of JetStream.
        code: u64,
        /// What it says.
        description: String,
    },
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The question could not be put, or the answer not be read.
    #[error(transparent)]
    Other(BoxError),
}

impl Failure {
    pub(crate) fn is(&self, number: u64) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == number)
    }

    pub(crate) fn over(self, what: &str) -> Error {
        match self {
            Self::Late(within) => Error::Late { what: what.to_owned(), within },
            Self::Refused { code, .. } if NOT_ENABLED.contains(&code) => {
                Error::server(what, "the server has no JetStream: start it with `-js`")
            }
            other => Error::server(what, other),
        }
    }
}

impl Server {
    pub(crate) fn new(client: Client, deadline: Duration) -> Self {
        let jetstream = jetstream::ContextBuilder::new().timeout(deadline).build(client.clone());
        Self { client, jetstream, deadline }
    }

    /// Asks JetStream's API; `subject` without its prefix.
    pub(crate) async fn ask(&self, subject: String, question: &Value) -> Result<Value, Failure> {
        let asked = self.jetstream.request::<_, _, Value>(subject, question);
        let mut answer = match timeout(self.deadline, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() == jetstream::context::RequestErrorKind::TimedOut => {
                return Err(Failure::Late(self.deadline));
            }
            Ok(Err(error)) => return Err(Failure::Other(error.into())),
            Err(_) => return Err(Failure::Late(self.deadline)),
        };
        match answer.get_mut("error").map(Value::take) {
            None | Some(Value::Null) => Ok(answer),
            Some(error) => Err(Failure::Refused {
                code: error["err_code"].as_u64().unwrap_or_default(),
                description: error["description"].as_str().unwrap_or("no reason given").to_owned(),
            }),
        }
    }

    /// Waits for anything else of the client's, but not for ever.
    pub(crate) async fn within<T, E: Into<BoxError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        match timeout(self.deadline, future).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::Other(error.into())),
            Err(_) => Err(Failure::Late(self.deadline)),
        }
    }

    /// Says something that has no answer. Mostly the client takes it at once.
    pub(crate) async fn say(&self, subject: Subject, words: Bytes) -> Result<(), Failure> {
        let mut said = pin!(self.client.publish(subject, words));
        match poll_immediate(&mut said).await {
            Some(said) => said.map_err(|error| Failure::Other(error.into())),
            None => self.within(said).await,
        }
    }

    /// Names of all streams whose subjects touch `subject`.
    pub(crate) async fn streams(&self, subject: &str) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        loop {
            let question = serde_json::json!({ "subject": subject, "offset": names.len() });
            let answer = self.ask("STREAM.NAMES".into(), &question).await?;
            let page = answer["streams"].as_array().map_or(&[][..], Vec::as_slice);
            names.extend(page.iter().filter_map(Value::as_str).map(str::to_owned));
            if page.is_empty() || names.len() as u64 >= answer["total"].as_u64().unwrap_or_default() {
                return Ok(names);
            }
        }
    }
}
