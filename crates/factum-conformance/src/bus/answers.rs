//! Collects a bus's answers, and lets a case wait for them.

use std::sync::{Arc, Mutex};

use factum::Envelope;
use factum::integration::{Answer, Confirm, Publication};
use tokio::sync::Notify;

/// The answers to the publications that were made with it.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Collected>);

#[derive(Default)]
struct Collected {
    given: Mutex<Vec<(u64, Answer)>>,
    changed: Notify,
}

impl Answers {
    /// A publication whose answer comes here.
    pub(super) fn publication(&self, ticket: u64, envelope: Envelope) -> Publication {
        let collected = Arc::clone(&self.0);
        let confirm = Confirm::new(
            ticket,
            Arc::new(move |ticket, answer| {
                collected.given.lock().unwrap().push((ticket, answer));
                collected.changed.notify_waiters();
            }),
        );
        let source = envelope.source.clone();
        Publication { envelope: factum::port::read_back(envelope, source), confirm }
    }

    /// A batch, with the tickets 0, 1, ..
    pub(super) fn batch(&self, envelopes: impl IntoIterator<Item = Envelope>) -> Vec<Publication> {
        envelopes.into_iter().zip(0..).map(|(envelope, ticket)| self.publication(ticket, envelope)).collect()
    }

    /// What was answered so far, by ticket.
    pub(super) fn so_far(&self) -> Vec<(u64, Answer)> {
        let mut given = self.0.given.lock().unwrap().clone();
        given.sort_by_key(|(ticket, _)| *ticket);
        given
    }

    /// Waits for so many answers and returns them by ticket.
    pub(super) async fn all(&self, count: usize) -> Vec<(u64, Answer)> {
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let given = self.so_far();
            if given.len() >= count {
                return given;
            }
            changed.await;
        }
    }
}
