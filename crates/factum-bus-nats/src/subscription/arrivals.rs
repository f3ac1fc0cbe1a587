//! What comes for a hub: messages, which go into the lanes, and the ends of requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Message as Arrival, StatusCode, Subject};
use futures_util::{FutureExt as _, StreamExt as _};

use super::lanes::{Message, Pull};
use super::reader::Said;
use super::task::Task;
use crate::headers;

/// Arrivals that are taken in before anything else is looked at.
const ARRIVALS: usize = 512;

impl Task {
    /// Takes in what is there. `learning`: a beat is on its way, which may tell of types.
    pub(super) async fn take_in_all(&mut self, first: Arrival, learning: bool) {
        let mut next = Some(first);
        let mut answers = Vec::new();
        for taken in 1.. {
            let Some(arrival) = next else { break };
            match arrival.status {
                Some(status) => self.ended(&arrival.subject, status),
                None if learning && self.is_of_an_unknown_type(&arrival) => {
                    self.held_back = Some(arrival);
                    break;
                }
                None => answers.extend(self.take_in(arrival)),
            }
            if taken >= ARRIVALS {
                break;
            }
            next = self.arrivals.next().now_or_never().flatten();
        }
        self.hub.wake.notify_waiters();
        for (ack, word) in answers {
            self.say(ack, word).await;
        }
    }

    fn is_of_an_unknown_type(&self, arrival: &Arrival) -> bool {
        let envelope = headers::read(arrival.headers.as_ref(), &arrival.payload);
        envelope.is_ok_and(|envelope| !self.hub.lock().types.contains(&*envelope.r#type))
    }

    /// A request has ended, or never reached a consumer.
    fn ended(&mut self, subject: &str, status: StatusCode) {
        let numbers = subject.strip_prefix(&*self.inbox).and_then(|numbers| numbers.split_once('.'));
        let Some((Ok(reader), Ok(request))) = numbers.map(|(a, b)| (a.parse::<u64>(), b.parse::<u64>()))
        else {
            return;
        };
        let Some(reading) = self.readers.values_mut().find(|reading| reading.number == reader) else {
            return;
        };
        match status {
            StatusCode::IDLE_HEARTBEAT => return,
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => {}
            // The consumer was deleted, or its leader moved.
            _ => {
                reading.check_at.get_or_insert(Instant::now() + Duration::from_millis(50));
            }
        }
        reading.reader.ended(request);
    }

    /// A message came. What has to be said to the server at once, if anything.
    fn take_in(&mut self, arrival: Arrival) -> Option<(Subject, &'static str)> {
        let now = Instant::now();
        let ack = arrival.reply?;
        let said = Said::of(&ack)?;
        let partition: u8 = said.consumer.rsplit_once('-')?.1.parse().ok()?;
        let (pull, reading) =
            self.readers.iter_mut().find(|((stream, of), _)| *of == partition && **stream == *said.stream)?;
        let pull: Pull = pull.clone();
        reading.prefix.get_or_insert_with(|| said.prefix.to_owned());
        if reading.reader.is_of_another(said.delivery) {
            reading.check_at.get_or_insert(now);
        }
        {
            let mut held = self.hub.lock();
            let is_known = held.lanes.knows(&pull, said.sequence, &ack);
            if is_known || held.lanes.has_finished(&pull, said.sequence) {
                reading.reader.came(said.delivery, None, now);
                return (!is_known).then_some((ack, "+ACK"));
            }
        }
        let envelope = match headers::read(arrival.headers.as_ref(), &arrival.payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                let (stream, sequence) = (said.stream, said.sequence);
                tracing::error!(stream, sequence, %error, "this is no CloudEvent, and is left out; it stays in the stream");
                reading.reader.came(said.delivery, None, now);
                return Some((ack, "+TERM"));
            }
        };
        let mut held = self.hub.lock();
        if !held.types.contains(&*envelope.r#type) {
            reading.reader.came(said.delivery, None, now);
            return Some((ack, "+ACK"));
        }
        let (delivery, sequence) = (said.delivery, said.sequence);
        let attempt = u32::try_from(said.attempt).unwrap_or(u32::MAX);
        let message = Message { pull, sequence, attempt, envelope: Arc::new(envelope), ack };
        if let Some(message) = reading.reader.came(delivery, Some(message), now) {
            held.lanes.add(message);
        }
        None
    }
}
