//! What was answered and is to be written down: gathered, because each settlement is one commit.

use std::time::Duration;

use super::rows::Rows;
use super::{Options, Size};
use crate::port::{FailedTry, GivenUp, Settlement};

/// What became of an answered row, by its handle.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Confirmed,
    Failed(FailedTry),
    GivenUp(GivenUp),
}

#[derive(Debug, Default)]
pub(super) struct Settling {
    pending: Vec<(u64, Fate)>,
    since: Duration,
    /// When the latest settlement was begun.
    begun: Option<Duration>,
    writing: Option<Vec<(u64, Fate)>>,
    failures: u32,
    not_before: Duration,
}

impl Settling {
    pub(super) fn push(&mut self, now: Duration, handle: u64, fate: Fate) {
        if self.pending.is_empty() {
            self.since = now;
        }
        self.pending.push((handle, fate));
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.pending.is_empty() && self.writing.is_none()
    }

    /// When the next settlement is due; at once where a batch is together, or nothing else is awaited and the latest was
    /// a while ago: of events that come one by one each would have a commit of its own.
    pub(super) fn due_at(&self, unanswered: usize, closing: bool, options: &Options) -> Duration {
        if self.pending.is_empty() || self.writing.is_some() {
            return Duration::MAX;
        }
        let Size { rows, .. } = options.batch;
        let together = closing || self.pending.len() >= rows;
        let due = match self.begun {
            _ if together => Duration::ZERO,
            None if unanswered == 0 => Duration::ZERO,
            Some(begun) if unanswered == 0 => begun + options.settle_after,
            _ => self.since + options.settle_after,
        };
        due.max(self.not_before)
    }

    /// Begins to write what is pending, without rows that were let go of meanwhile; `None` where nothing is left.
    pub(super) fn begin(&mut self, now: Duration, rows: &Rows) -> Option<Settlement> {
        let mut writing = std::mem::take(&mut self.pending);
        writing.retain(|(handle, _)| rows.answered(*handle).is_some());
        let mut settlement = Settlement::default();
        for (handle, fate) in &writing {
            match fate {
                Fate::Confirmed => {
                    settlement.confirmed.extend(rows.answered(*handle).map(|at| rows[at].seq));
                }
                Fate::Failed(failed) => settlement.failed.push(failed.clone()),
                Fate::GivenUp(given_up) => settlement.given_up.push(given_up.clone()),
            }
        }
        if writing.is_empty() {
            return None;
        }
        self.begun = Some(now);
        self.writing = Some(writing);
        Some(settlement)
    }

    /// It is written.
    pub(super) fn written(&mut self) -> Vec<(u64, Fate)> {
        self.failures = 0;
        self.writing.take().unwrap_or_default()
    }

    /// It may not be written: all of it is tried again, later. Settling twice changes nothing.
    pub(super) fn failed(&mut self, now: Duration, delay: impl FnOnce(u32) -> Duration) {
        let mut again = self.writing.take().unwrap_or_default();
        again.append(&mut self.pending);
        self.pending = again;
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + delay(self.failures);
    }
}
