//! When the bus ought to have answered. Kept in the order of handing over, which is the order of falling due.

use std::collections::VecDeque;
use std::time::Duration;

use super::rows::Rows;

/// Answered ones among those kept, at most, beside as many as are unanswered.
const SLACK: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: VecDeque<(Duration, u64)>,
}

impl Deadlines {
    /// Handed over now.
    pub(super) fn begin(&mut self, now: Duration, within: Duration, ticket: u64) {
        if within != Duration::MAX {
            self.due.push_back((now.saturating_add(within), ticket));
        }
    }

    /// Forgets what is answered, as far as it costs little to find.
    pub(super) fn prune(&mut self, rows: &Rows) {
        while self.due.front().is_some_and(|(_, ticket)| rows.sent(*ticket).is_none()) {
            self.due.pop_front();
        }
        // One that stays unanswered must not keep all that came after it.
        if self.due.len() > rows.on_the_way().0 * 2 + SLACK {
            self.due.retain(|(_, ticket)| rows.sent(*ticket).is_some());
        }
    }

    /// Takes out what is unanswered and overdue.
    pub(super) fn overdue(&mut self, now: Duration, rows: &Rows) -> Vec<u64> {
        let mut overdue = Vec::new();
        while let Some((_, ticket)) = self.due.front().copied().filter(|(due, _)| *due <= now) {
            self.due.pop_front();
            overdue.extend(rows.sent(ticket).map(|_| ticket));
        }
        overdue
    }

    pub(super) fn wake_at(&self) -> Duration {
        self.due.front().map_or(Duration::MAX, |(due, _)| *due)
    }
}
