//! Reading one consumer of the server: what was asked for, what came, and whether it came in order.
//!
//! While everything comes once and in a row, it is passed on at once. After anything else (the partition was another
//! process's, the connection was lost, a delivery is missing) a reader *sorts*: it keeps what comes until the server waits for
//! nothing that is not here, and then passes it on in the order of the stream.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::lanes::Message;

/// How long the server keeps a request. Afterwards a new one tells whether its consumer is still there.
pub(crate) const EXPIRES: Duration = Duration::from_secs(5);
/// How long after its end a request is taken for lost.
const GRACE: Duration = Duration::from_secs(2);
/// How often is looked while sorting.
const LOOK: Duration = Duration::from_millis(50);
/// How often what is missing is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Reader {
    requests: VecDeque<Request>,
    /// Deliveries up to this one were to somebody else: what still comes of them is theirs.
    begin: u64,
    /// Counts the server's deliveries to this consumer.
    last: Option<u64>,
    sorting: Option<Sorting>,
    kept: BTreeMap<u64, Message>,
    /// The furthest place in the stream that came.
    pub(crate) furthest: u64,
}

#[derive(Debug)]
struct Request {
    number: u64,
    left: usize,
    until: Instant,
}

#[derive(Debug)]
struct Sorting {
    look: Instant,
    ask: Instant,
}

impl Reader {
    /// `sorts`: the server waits for deliveries that somebody else was given. `delivered`: how many deliveries there were.
    /// The first one to come here has to be the next one: somebody who is taken for dead may still be asking, too.
    pub(crate) fn new(sorts: bool, delivered: u64, now: Instant) -> Self {
        Self {
            requests: VecDeque::new(),
            begin: delivered,
            last: Some(delivered),
            sorting: sorts.then_some(Sorting { look: now, ask: now + LOOK }),
            kept: BTreeMap::new(),
            furthest: 0,
        }
    }

    /// Deliveries may have got lost, and requests are.
    pub(crate) fn interrupted(&mut self, now: Instant) {
        self.requests.clear();
        self.sort(now);
    }

    /// Whether a delivery is one of those before, which were to somebody else. They do not come here: somebody has made the
    /// consumer anew, which counts from the beginning.
    pub(crate) fn is_of_another(&self, delivery: u64) -> bool {
        delivery <= self.begin
    }

    /// Its consumer was found, or made again, with so many deliveries.
    pub(crate) fn found(&mut self, delivered: u64, now: Instant) {
        self.begin = self.begin.min(delivered);
        self.interrupted(now);
    }

    fn sort(&mut self, now: Instant) {
        if self.sorting.is_none() {
            self.last = None;
            self.sorting = Some(Sorting { look: now, ask: now + LOOK });
        }
    }

    /// How many are asked for and have not come.
    pub(crate) fn outstanding(&mut self, now: Instant) -> usize {
        self.requests.retain(|request| request.until > now && request.left > 0);
        self.requests.iter().map(|request| request.left).sum()
    }

    pub(crate) fn requested(&mut self, number: u64, batch: usize, now: Instant) {
        self.requests.push_back(Request { number, left: batch, until: now + EXPIRES + GRACE });
    }

    /// The server has ended a request.
    pub(crate) fn ended(&mut self, number: u64) {
        self.requests.retain(|request| request.number != number);
    }

    /// A delivery came: what is to be passed on now.
    pub(crate) fn came(&mut self, delivery: u64, message: Option<Message>, now: Instant) -> Option<Message> {
        if delivery <= self.begin {
            return None;
        }
        if let Some(request) = self.requests.front_mut() {
            request.left = request.left.saturating_sub(1);
            if request.left == 0 {
                self.requests.pop_front();
            }
        }
        if self.last.is_some_and(|last| delivery != last + 1) {
            self.sort(now);
        }
        self.last = Some(delivery);
        let message = message?;
        self.furthest = self.furthest.max(message.sequence);
        if self.sorting.is_none() {
            return Some(message);
        }
        self.kept.insert(message.sequence, message);
        None
    }

    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn keeps(&self, sequence: u64) -> bool {
        self.kept.contains_key(&sequence)
    }

    pub(crate) fn kept_messages(&self) -> impl Iterator<Item = &Message> {
        self.kept.values()
    }

    /// When is to be looked how the server's consumer is.
    pub(crate) fn look(&self) -> Option<Instant> {
        self.sorting.as_ref().map(|sorting| sorting.look)
    }

    /// Whether what is missing is to be asked for, as it has been missing for a while.
    pub(crate) fn asks(&mut self, now: Instant) -> bool {
        let Some(sorting) = &mut self.sorting else { return false };
        // What is on its way is not missing.
        let asks = now >= sorting.ask;
        if asks {
            sorting.ask = now + ASK_AGAIN;
        }
        asks
    }

    /// Something is missing, or it is not known: look again later.
    pub(crate) fn look_again(&mut self, now: Instant) {
        if let Some(sorting) = &mut self.sorting {
            sorting.look = now + LOOK;
        }
    }

    /// Nothing was missing after so many deliveries: what is to be passed on, in order.
    pub(crate) fn is_complete(&mut self, delivered: u64) -> Vec<Message> {
        self.sorting = None;
        self.last = Some(self.last.map_or(delivered, |last| last.max(delivered)));
        std::mem::take(&mut self.kept).into_values().collect()
    }

    /// Gives up what is kept, in the order of the stream.
    pub(crate) fn take_kept(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.kept).into_values().collect()
    }
}

/// What the subject of an acknowledgement says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said<'a> {
    /// Everything before the counts.
    pub(crate) prefix: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) consumer: &'a str,
    /// How often the message was delivered, this time included.
    pub(crate) attempt: u64,
    pub(crate) sequence: u64,
    /// The how manieth delivery of the consumer it is.
    pub(crate) delivery: u64,
}

impl<'a> Said<'a> {
    /// `$JS.ACK.<stream>.<consumer>.<attempt>.<sequence>.<delivery>.<time>.<pending>`; with a domain and an account there
    /// are two more before the stream, and newer servers may add some at the end.
    pub(crate) fn of(subject: &'a str) -> Option<Self> {
        let tokens: Vec<&str> = subject.split('.').collect();
        let at = if tokens.len() > 9 { 4 } else { 2 };
        let [stream, consumer, attempt, sequence, delivery, _, _, ..] = tokens.get(at..)? else {
            return None;
        };
        let prefix = tokens.iter().take(at + 2).map(|token| token.len() + 1).sum::<usize>();
        Some(Self {
            prefix: subject.get(..prefix)?,
            stream,
            consumer,
            attempt: attempt.parse().ok()?,
            sequence: sequence.parse().ok()?,
            delivery: delivery.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use factum::Envelope;

    use super::*;

    fn message(sequence: u64) -> Message {
        Message {
            pull: ("s".into(), 0),
            sequence,
            ack: "a".into(),
            attempt: 1,
            envelope: Arc::new(Envelope::new("1", "urn:a", "t", *b"")),
        }
    }

    #[test]
    fn the_subject_of_an_acknowledgement_is_read() {
        let said = Said::of("$JS.ACK.a_b.s-0.2.77.9.1700000000.5").unwrap();
        assert_eq!((said.stream, said.consumer, said.attempt), ("a_b", "s-0", 2));
        assert_eq!((said.sequence, said.delivery, said.prefix), (77, 9, "$JS.ACK.a_b.s-0."));
        let with_domain = Said::of("$JS.ACK.hub.XYZ.a_b.s-0.2.77.9.1700000000.5.abc").unwrap();
        assert_eq!((with_domain.stream, with_domain.sequence), ("a_b", 77));
        assert_eq!(with_domain.prefix, "$JS.ACK.hub.XYZ.a_b.s-0.");
        for other in ["", "$JS.ACK", "$JS.ACK.a.b.c.d.e.f.g", "_INBOX.1"] {
            assert_eq!(Said::of(other), None, "{other}");
        }
    }

    #[test]
    fn what_comes_in_a_row_is_passed_on_at_once() {
        let now = Instant::now();
        let mut reader = Reader::new(false, 4, now);
        reader.requested(1, 3, now);
        assert!(reader.came(5, Some(message(50)), now).is_some());
        assert!(reader.came(6, Some(message(60)), now).is_some());
        assert_eq!((reader.outstanding(now), reader.furthest), (1, 60));
        assert_eq!(reader.outstanding(now + EXPIRES + GRACE), 0);
    }

    #[test]
    fn after_a_gap_nothing_is_passed_on_until_nothing_is_missing_and_then_in_order() {
        let now = Instant::now();
        let mut reader = Reader::new(false, 4, now);
        assert!(reader.came(5, Some(message(50)), now).is_some());
        assert!(reader.came(7, Some(message(70)), now).is_none());
        reader.look_again(now);
        assert!(reader.came(8, Some(message(60)), now).is_none());
        let passed: Vec<u64> = reader.is_complete(8).iter().map(|message| message.sequence).collect();
        assert_eq!(passed, [60, 70]);
        assert!(reader.came(9, Some(message(80)), now).is_some());
    }

    /// The requests of a process that is frozen are still open at the server, and it may give them something.
    #[test]
    fn the_first_to_come_is_held_to_what_was_delivered_before() {
        let now = Instant::now();
        let mut reader = Reader::new(false, 4, now);
        assert!(reader.came(6, Some(message(60)), now).is_none(), "the fifth went to somebody else");
        let mut reader = Reader::new(false, 4, now);
        assert!(reader.came(4, Some(message(40)), now).is_none(), "that was asked for by somebody else");
        reader.interrupted(now);
        assert!(reader.is_complete(7).is_empty());
        assert!(reader.came(9, Some(message(60)), now).is_none(), "the eighth went to somebody else");
    }

    #[test]
    fn what_is_missing_is_asked_for_soon_and_again_after_a_while() {
        let now = Instant::now();
        let mut reader = Reader::new(true, 4, now);
        assert!(!reader.asks(now), "it may be on its way");
        assert!(reader.asks(now + LOOK) && !reader.asks(now + LOOK));
        assert!(reader.asks(now + LOOK + ASK_AGAIN));
        reader.is_complete(4);
        assert!(!reader.asks(now + ASK_AGAIN * 9));
    }
}
