//! What was handed back to a bus that keeps no order, so that nothing of its key passes it on the way round.
//!
//! It promises nothing about deliveries that another consumer of the subscription gets: only such a bus could.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::{Lane, Occurrence};

/// For so long after it was due, a delivery that was handed back is waited for; then it went to another consumer.
const PATIENCE: Duration = Duration::from_secs(30);

/// By lane, what has to come before anything else.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    lanes: HashMap<Lane, Expected>,
}

#[derive(Debug)]
struct Expected {
    events: VecDeque<Occurrence>,
    due: Duration,
}

impl Ahead {
    /// Remembers what was handed back, in its order, until it is `due`. Of more than `most` lanes nothing is
    /// remembered, so that memory stays bounded.
    pub(super) fn handed_back(
        &mut self,
        lane: Lane,
        events: impl DoubleEndedIterator<Item = Occurrence>,
        due: Duration,
        most: usize,
    ) {
        if self.lanes.len() >= most && !self.lanes.contains_key(&lane) {
            self.lanes.retain(|_, expected| expected.due + PATIENCE > due);
            if self.lanes.len() >= most {
                return;
            }
        }
        let expected = self.lanes.entry(lane).or_insert(Expected { events: VecDeque::new(), due });
        expected.due = expected.due.max(due);
        for event in events.rev() {
            expected.events.retain(|other| *other != event);
            expected.events.push_front(event);
        }
    }

    /// Lets an arrival in, or says when that which comes before it is due.
    pub(super) fn admit(
        &mut self,
        lane: Lane,
        event: Occurrence,
        now: Duration,
        most: usize,
    ) -> Result<(), Duration> {
        let Some(expected) = self.lanes.get_mut(&lane) else { return Ok(()) };
        if now >= expected.due + PATIENCE {
            self.lanes.remove(&lane);
            return Ok(());
        }
        if expected.events.front() == Some(&event) {
            expected.events.pop_front();
            if expected.events.is_empty() {
                self.lanes.remove(&lane);
            }
            return Ok(());
        }
        if !expected.events.contains(&event) && expected.events.len() < most {
            expected.events.push_back(event);
        }
        Err(expected.due)
    }
}
