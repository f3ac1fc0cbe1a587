//! What tools see of a store in memory, and what a person can do to its dead letters.

use super::MemoryStore;
use super::state::State;
use crate::integration::{Backlog, DeadLetter, Inspect, Side};
use crate::{BoxError, BoxFuture, Envelope, EventId};

impl State {
    /// Rows of the outbox that wait behind a dead letter.
    fn behind(&self) -> usize {
        match (self.letters.relay_is_free(), self.letters.is_halted(&Side::Relay)) {
            (true, _) => 0,
            (false, true) => self.outbox.len(),
            (false, false) => {
                self.outbox.envelopes().filter(|envelope| self.letters.relay_holds(envelope)).count()
            }
        }
    }

    /// Rows of the outbox that a relay could publish.
    pub(super) fn publishable(&self) -> usize {
        self.outbox.len() - self.behind()
    }

    fn backlog(&self) -> Backlog {
        let behind = self.behind();
        let handled: usize = self.subscriptions.values().map(|inbox| inbox.handled.len()).sum();
        Backlog {
            outbox: self.outbox.len() as u64,
            outbox_parked: behind as u64,
            oldest: self.outbox.envelopes().map(|envelope| envelope.time).min(),
            inbox: handled as u64,
            dead_letters: self.letters.dead().len() as u64,
            parked: (self.letters.waiting() + behind) as u64,
        }
    }
}

impl Inspect for MemoryStore {
    fn backlog<'a>(&'a self) -> BoxFuture<'a, Result<Backlog, BoxError>> {
        Box::pin(async move { Ok(self.0.state().backlog()) })
    }

    fn dead_letters<'a>(&'a self, most: usize) -> BoxFuture<'a, Result<Vec<DeadLetter>, BoxError>> {
        Box::pin(async move {
            let state = self.0.state();
            let dead = state.letters.dead().into_iter().take(most);
            let shown = dead.map(|(side, letter)| {
                let envelope = Envelope::clone(&letter.envelope);
                DeadLetter::new(side, envelope, letter.reason.clone(), letter.attempts, letter.at)
            });
            Ok(shown.collect())
        })
    }

    fn requeue<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(async move {
            let mut state = self.0.state();
            let Some(letter) = state.letters.requeue(side, source, id) else { return Ok(false) };
            if let Some(seq) = letter.seq {
                state.outbox.put(seq, Envelope::clone(&letter.envelope));
            }
            state.outbox.turn_over();
            drop(state);
            self.0.hint.give();
            Ok(true)
        })
    }

    fn discard<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(async move {
            let mut state = self.0.state();
            let found = state.letters.discard(side, source, id);
            if found {
                state.outbox.turn_over();
                drop(state);
                self.0.hint.give();
                self.0.drain.changed();
            }
            Ok(found)
        })
    }
}
