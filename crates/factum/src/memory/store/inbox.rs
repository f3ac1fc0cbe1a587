//! The inbox in memory, as the driver of a subscription sees it.

use std::sync::Arc;

use super::MemoryStore;
use super::letters::Letter;
use crate::integration::{DeadLetter, OnDeadLetter, Side};
use crate::port::{InboxStore, Waiting};
use crate::{BoxError, BoxFuture, Envelope, EventId};

impl InboxStore for MemoryStore {
    fn count_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<Vec<u32>, BoxError>> {
        Box::pin(async move {
            let mut state = self.0.state();
            let inbox = state.subscriptions.entry(subscription.into()).or_default();
            let count = |envelope: &Arc<Envelope>| {
                let key = (envelope.source.clone(), envelope.id.clone());
                let attempts = inbox.attempts.entry(key).or_default();
                *attempts += 1;
                *attempts
            };
            Ok(envelopes.iter().map(count).collect())
        })
    }

    fn excuse_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let mut state = self.0.state();
            let inbox = state.subscriptions.entry(subscription.into()).or_default();
            for envelope in envelopes {
                let key = (envelope.source.clone(), envelope.id.clone());
                if let Some(attempts) = inbox.attempts.get_mut(&key) {
                    *attempts = attempts.saturating_sub(1);
                }
            }
            Ok(())
        })
    }

    fn give_up<'a>(&'a self, dead: DeadLetter, policy: OnDeadLetter) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let Side::Subscription(name) = dead.side.clone() else {
                return Err("what a relay gives up goes through `settle`, not through the inbox".into());
            };
            let mut state = self.0.state();
            if let Some(inbox) = state.subscriptions.get_mut(name.as_str()) {
                inbox.attempts.remove(&(dead.envelope.source.clone(), dead.envelope.id.clone()));
            }
            state.letters.give_up(&Side::Subscription(name), Letter::dead(dead, policy, None));
            Ok(())
        })
    }

    fn released<'a>(
        &'a self,
        subscription: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Waiting>, BoxError>> {
        Box::pin(async move { Ok(self.0.state().letters.released(subscription, most)) })
    }

    fn finished<'a>(
        &'a self,
        subscription: &'a str,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            self.0.state().letters.finished(subscription, source, id);
            Ok(())
        })
    }

    fn halted<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(
            async move { Ok(self.0.state().letters.is_halted(&Side::Subscription(subscription.into()))) },
        )
    }
}
