//! Envelopes from the outbox to the bus, and the answers back.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use factum::integration::{Answer, Confirm, Publication};
use factum::port::{Ids as _, OutboxRow, SystemIds};
use factum::protocol::relay::{BySeq, Input, Row, Sent, Summary};
use factum::{BoxError, BoxFuture, Committed, Envelope, EventBus};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::metrics::{AnsweredBatch, Departures, PublishedBatch, RelayMetrics};

/// Answers taken out of the channel at once, at most.
const ANSWERS: usize = 4_096;

type Kept = HashMap<i64, Committed<Envelope>, BySeq>;

pub(super) struct Publishing {
    bus: Arc<dyn EventBus>,
    /// How long the bus may take to accept a batch, and to answer.
    deadline: Duration,
    measuring: Option<Measuring>,
    /// The envelopes of rows that wait for their turn; none that was handed over.
    kept: Kept,
    summary: Summary,
    /// Batches for which the bus has no room yet, in the order in which they were begun.
    handing_over: Vec<BoxFuture<'static, Result<(), BoxError>>>,
    answered: Arc<dyn Fn(u64, Answer) + Send + Sync>,
    // Bounded by the window: of every answer there is a row in hand.
    answers: UnboundedReceiver<(u64, Answer)>,
    unsent: UnboundedSender<(u64, Answer)>,
}

/// What is measured for whoever asked for it.
struct Measuring {
    metrics: Arc<dyn RelayMetrics>,
    began: Instant,
    departures: Departures,
}

impl Measuring {
    fn new(metrics: Arc<dyn RelayMetrics>) -> Self {
        Self { metrics, began: Instant::now(), departures: Departures::default() }
    }

    fn published(&mut self, batch: &[Sent], kept: &Kept) {
        let now = self.began.elapsed();
        let mut published = PublishedBatch::default();
        let mut oldest = i64::MAX;
        for Sent { seq, ticket } in batch {
            self.departures.note(*ticket, now);
            if let Some(envelope) = kept.get(seq) {
                published.envelopes += 1;
                published.data_bytes += envelope.data.len();
                oldest = oldest.min(envelope.time.as_micros());
            }
        }
        let (_, time) = SystemIds.mint();
        let age = time.as_micros().saturating_sub(oldest).try_into().unwrap_or_default();
        published.oldest_age = Duration::from_micros(age);
        self.metrics.published(&published);
    }

    fn answered(&self, answers: &[(u64, Answer)]) {
        let now = self.began.elapsed();
        let mut batch = AnsweredBatch::default();
        for (ticket, answer) in answers {
            batch.add(answer, self.departures.since(*ticket, now));
        }
        self.metrics.answered(&batch);
    }
}

impl Publishing {
    pub(super) fn new(
        bus: Arc<dyn EventBus>,
        deadline: Duration,
        metrics: Option<Arc<dyn RelayMetrics>>,
    ) -> Self {
        let (unsent, answers) = unbounded_channel();
        let sender = unsent.clone();
        let answered = move |ticket, answer| {
            // Nobody listens only when the relay has ended; the row is still in the outbox then.
            let _ = sender.send((ticket, answer));
        };
        Self {
            bus,
            deadline,
            measuring: metrics.map(Measuring::new),
            kept: Kept::default(),
            summary: Summary::default(),
            handing_over: Vec::new(),
            answered: Arc::new(answered),
            answers,
            unsent,
        }
    }

    /// Keeps the envelopes of rows that were read, until the machine says what becomes of each.
    pub(super) fn keep(&mut self, rows: Vec<OutboxRow>) -> Vec<Row> {
        self.kept.reserve(rows.len());
        let mut seen = Vec::with_capacity(rows.len());
        for row in rows {
            seen.push(self.summary.of(&row));
            self.kept.insert(row.seq, row.envelope);
        }
        seen
    }

    pub(super) fn forget(&mut self, seqs: &[i64]) {
        for seq in seqs {
            self.kept.remove(seq);
        }
    }

    /// How many envelopes wait for their turn.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Begins to hand a batch over. Returns how many envelopes it has.
    pub(super) fn begin(&mut self, batch: Vec<Sent>) -> usize {
        if let Some(measuring) = &mut self.measuring {
            measuring.published(&batch, &self.kept);
        }
        let mut publications = Vec::with_capacity(batch.len());
        for Sent { seq, ticket } in batch {
            match self.kept.remove(&seq) {
                Some(envelope) => {
                    let confirm = Confirm::new(ticket, Arc::clone(&self.answered));
                    publications.push(Publication { envelope, confirm });
                }
                None => _ = self.unsent.send((ticket, Answer::Unknown("its envelope is not kept".into()))),
            }
        }
        let n = publications.len();
        let bus = Arc::clone(&self.bus);
        let deadline = self.deadline;
        self.handing_over.push(Box::pin(async move {
            if deadline == Duration::MAX {
                return bus.publish(publications).await;
            }
            // What it has not taken by then it lets go of: else batches would pile up before a bus that hangs.
            let taken = tokio::time::timeout(deadline, bus.publish(publications)).await;
            taken.unwrap_or_else(|_| Err(format!("the bus took no batch within {deadline:?}").into()))
        }));
        n
    }

    /// Waits for answers and takes all that are there, or until a batch was not taken.
    pub(super) async fn next(&mut self) -> Input {
        std::future::poll_fn(|cx| {
            // Batches first, in the order in which they were begun, so that the bus sees them in it.
            if let Poll::Ready(error) = self.poll_handing_over(cx) {
                return Poll::Ready(Input::Unreachable(error.to_string()));
            }
            let mut answers = Vec::new();
            self.answers.poll_recv_many(cx, &mut answers, ANSWERS).map(|_| {
                self.measuring.iter().for_each(|measuring| measuring.answered(&answers));
                Input::Answered(answers)
            })
        })
        .await
    }

    fn poll_handing_over(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        let mut refused = None;
        self.handing_over.retain_mut(|batch| match refused.is_none().then(|| batch.as_mut().poll(cx)) {
            Some(Poll::Ready(Ok(()))) => false,
            Some(Poll::Ready(Err(error))) => {
                refused = Some(error);
                false
            }
            Some(Poll::Pending) | None => true,
        });
        refused.map_or(Poll::Pending, Poll::Ready)
    }
}
