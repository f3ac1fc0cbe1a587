//! Which transactions had ended when everything was last known to be on the disk: what they wrote needs no waiting for.
//!
//! It holds for one life of the server. A crash may hand out the numbers of transactions again that left nothing on the
//! disk, and then a new one would pass for an old one. No connection outlives a crash, so what is known counts only as
//! long as no connection was opened since; behind a pooler, which keeps its clients, it does not count at all.

use std::sync::{Mutex, PoisonError};

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Durable(Mutex<Mark>);

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// How many connections had been opened.
    opened: u64,
    /// All transactions below this had ended, and what they wrote was on the disk; 0: nothing is known.
    ended: u64,
}

impl Durable {
    /// All below this need no waiting for; 0: nothing is known.
    pub(crate) fn below(&self, opened: u64) -> u64 {
        let mark = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.opened == opened { mark.ended } else { 0 }
    }

    /// A read on one of so many connections has made sure of all that it could see.
    pub(crate) fn note(&self, opened: u64, ended: u64) {
        let mut mark = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = if mark.opened == opened { mark.ended } else { 0 };
        *mark = Mark { opened, ended: known.max(ended) };
    }
}

#[cfg(test)]
mod tests {
    use super::Durable;

    #[test]
    fn what_was_known_before_a_connection_was_opened_counts_no_more() {
        let durable = Durable::default();
        assert_eq!(durable.below(1), 0);
        durable.note(1, 700);
        durable.note(1, 600);
        assert_eq!((durable.below(1), durable.below(2)), (700, 0));
        durable.note(2, 50);
        assert_eq!(durable.below(2), 50);
    }
}
