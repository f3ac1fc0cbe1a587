//! What is done in the store, each in a task of its own: an attempt, a look, a giving up.
//!
//! Whatever goes wrong here, a panic too, becomes an answer to the state machine.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use factum::integration::{DeadLetter, Side};
use factum::port::{InboxStore, Waiting};
use factum::protocol::subscription::Ending;
use factum::{BoxError, Envelope, Sort, Store, Subscription, Timestamp, Work};

use super::Counters;

/// Turns a panic into its words. The future is not used again, so that nobody sees what the panic left half done.
pub(super) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(format!("it panicked: {}", words_of(&*panic)))),
    })
    .await
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

/// What tasks of one receiver share.
pub(super) struct Desk<S: Store> {
    pub(super) work: Work<S>,
    pub(super) subscription: Subscription<S>,
    pub(super) counters: Arc<Counters>,
    pub(super) deadline: Duration,
    pub(super) attempts: u32,
}

/// Deliveries that share one unit of work.
pub(super) struct Batch {
    pub(super) envelopes: Vec<Arc<Envelope>>,
    pub(super) count_before: bool,
    pub(super) released: bool,
}

impl<S: Store + InboxStore> Desk<S> {
    pub(super) fn name(&self) -> &str {
        self.subscription.name()
    }

    /// Tries a batch once.
    pub(super) async fn attempt(&self, batch: Batch) -> Ending {
        let mut attempts = 0;
        if batch.count_before {
            match self.count(&batch).await {
                None => return Ending::Later,
                Some(begun) if begun > self.attempts => return Ending::Exhausted { attempts: begun - 1 },
                Some(begun) => attempts = begun,
            }
        }
        match self.receive(&batch).await {
            Ok(()) => Ending::Committed,
            Err(error) => self.judge(&batch, attempts, error).await,
        }
    }

    async fn receive(&self, batch: &Batch) -> Result<(), BoxError> {
        let receiving = self.work.receive(&self.subscription, &batch.envelopes, batch.released);
        let reception = tokio::time::timeout(self.deadline, caught(receiving))
            .await
            .map_err(|_| format!("it did not end within {:?}", self.deadline))???;
        self.counters.committed(&reception);
        if batch.released {
            self.finish(&batch.envelopes).await;
        }
        Ok(())
    }

    /// What cannot be noted as finished is released once more, and found to be handled.
    async fn finish(&self, envelopes: &[Arc<Envelope>]) {
        for envelope in envelopes {
            let finishing = self.work.store().finished(self.name(), &envelope.source, &envelope.id);
            if let Err(error) = flat(caught(finishing).await) {
                tracing::warn!(subscription = self.name(), id = %envelope.id, %error, "not noted as finished");
            }
        }
    }

    async fn judge(&self, batch: &Batch, mut attempts: u32, error: BoxError) -> Ending {
        let subscription = self.name();
        if is_nobodys_fault(Sort::of::<S>(&*error)) {
            tracing::warn!(subscription, %error, "a batch is tried again later");
            if batch.count_before {
                self.excuse(batch).await;
            }
            return Ending::Later;
        }
        let reason = error.to_string();
        if let [envelope] = &*batch.envelopes {
            if !batch.count_before {
                let Some(begun) = self.count(batch).await else { return Ending::Later };
                attempts = begun;
            }
            self.counters.failed();
            let (id, r#type) = (&envelope.id, &envelope.r#type);
            tracing::warn!(subscription, %id, %r#type, attempts, reason, "an attempt failed");
        } else {
            let deliveries = batch.envelopes.len();
            tracing::info!(subscription, deliveries, reason, "a batch is taken apart");
        }
        Ending::Failed { attempts, reason }
    }

    async fn count(&self, batch: &Batch) -> Option<u32> {
        let counting = self.work.store().count_attempts(self.name(), &batch.envelopes);
        match flat(caught(counting).await) {
            Ok(counts) => counts.first().copied(),
            Err(error) => {
                tracing::warn!(subscription = self.name(), %error, "attempts could not be counted");
                None
            }
        }
    }

    /// It was counted before it was made, in case it kills the process. It did not, nor was it the envelope's fault.
    async fn excuse(&self, batch: &Batch) {
        let excusing = self.work.store().excuse_attempts(self.name(), &batch.envelopes);
        if let Err(error) = flat(caught(excusing).await) {
            tracing::warn!(subscription = self.name(), %error, "a try that was nobody's fault stays counted");
        }
    }

    /// Keeps a dead letter; whether that worked.
    pub(super) async fn give_up(&self, envelope: Arc<Envelope>, attempts: u32, reason: String) -> bool {
        let (subscription, id, r#type) = (self.name(), &envelope.id, &envelope.r#type);
        let side = Side::Subscription(subscription.into());
        let dead = DeadLetter::new(side, Envelope::clone(&envelope), reason.clone(), attempts, now());
        match flat(caught(self.work.store().give_up(dead, self.subscription.policy())).await) {
            Ok(()) => {
                self.counters.gave_up();
                tracing::error!(subscription, %id, %r#type, attempts, reason, "given up: a dead letter");
                true
            }
            Err(error) => {
                tracing::warn!(subscription, %id, %error, "a dead letter could not be kept");
                false
            }
        }
    }

    /// Whether a dead letter stops the subscription, and what a person has released.
    pub(super) async fn look(&self, room: usize) -> Result<(bool, Vec<Waiting>), BoxError> {
        let store = self.work.store();
        let looking = async {
            let halted = store.halted(self.name()).await?;
            let released = if halted { Vec::new() } else { store.released(self.name(), room).await? };
            Ok((halted, released))
        };
        flat(caught(looking).await)
    }
}

fn is_nobodys_fault(sort: Sort) -> bool {
    matches!(sort, Sort::Transient | Sort::Conflict | Sort::OutcomeUnknown)
}

pub(super) fn flat<T>(answer: Result<Result<T, BoxError>, String>) -> Result<T, BoxError> {
    answer.unwrap_or_else(|panicked| Err(panicked.into()))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
