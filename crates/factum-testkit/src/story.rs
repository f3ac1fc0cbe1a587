//! What has happened in a world, to look into and to print: an assertion that fails shows all of it.

use std::fmt;

use factum::IntegrationEvent;
use factum::port::{Claim, HandledDelivery, Saved};

use crate::journal::Entry;

/// What has happened so far. Printing it lists every unit of work that ended, with what it received, dispatched and
/// announced, or why it was rolled back; and the seed, where the handlers were shuffled.
#[derive(Clone, Debug)]
pub struct Story {
    entries: Vec<Entry>,
    seed: Option<u64>,
}

impl Story {
    pub(crate) fn new(entries: Vec<Entry>, seed: Option<u64>) -> Self {
        Self { entries, seed }
    }

    fn saves(&self) -> impl Iterator<Item = &Saved> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Committed(saved) => Some(saved),
            Entry::Failed(_) => None,
        })
    }

    fn received(&self, subscription: &str, claim: Claim) -> impl Iterator<Item = &HandledDelivery> {
        let received = self.saves().flat_map(|saved| &saved.received);
        received.filter(move |delivery| delivery.subscription == subscription && delivery.claim == claim)
    }

    /// The names of the domain events that were dispatched and committed, in order.
    pub fn dispatched(&self) -> Vec<&'static str> {
        self.saves().flat_map(|saved| &saved.dispatched).map(|dispatched| dispatched.event).collect()
    }

    /// The domain events that were dispatched and committed, as `Debug` prints them, in order.
    pub fn dispatched_values(&self) -> Vec<&str> {
        self.saves().flat_map(|saved| &saved.dispatched).map(|dispatched| &*dispatched.value).collect()
    }

    /// The integration events of a type that were announced and committed, in order.
    ///
    /// # Panics
    /// If one of them does not decode as an `E`.
    pub fn announced<E: IntegrationEvent>(&self) -> Vec<E> {
        let envelopes = self.saves().flat_map(|saved| &saved.announced);
        envelopes
            .filter(|envelope| envelope.r#type == E::TYPE)
            .map(|envelope| match serde_json::from_slice(&envelope.data) {
                Ok(event) => event,
                Err(error) => panic!("{} {} does not decode: {error}", envelope.r#type, envelope.id),
            })
            .collect()
    }

    /// How many events a subscription has handled, repeats not counted.
    pub fn handled(&self, subscription: &str) -> usize {
        self.received(subscription, Claim::First).count()
    }

    /// Of those, how many were of this type.
    pub fn handled_of<E: IntegrationEvent>(&self, subscription: &str) -> usize {
        self.received(subscription, Claim::First).filter(|delivery| delivery.event == E::TYPE).count()
    }

    /// How many repeats a subscription has absorbed.
    pub fn absorbed(&self, subscription: &str) -> usize {
        self.received(subscription, Claim::Duplicate).count()
    }

    /// How many events a subscription has put behind a dead letter of their key.
    pub fn parked(&self, subscription: &str) -> usize {
        self.received(subscription, Claim::Parked).count()
    }

    /// Why units of work failed, in order. One that was run again and then committed is in here, too.
    pub fn failures(&self) -> Vec<&str> {
        self.entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Failed(error) => Some(&**error),
                Entry::Committed(_) => None,
            })
            .collect()
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seed) = self.seed {
            writeln!(f, "handlers in the order of `World::shuffled({seed})`")?;
        }
        if self.entries.is_empty() {
            return writeln!(f, "nothing has happened");
        }
        for (number, entry) in (1..).zip(&self.entries) {
            match entry {
                Entry::Failed(error) => writeln!(f, "{number:>3}. rolled back: {error}")?,
                Entry::Committed(saved) => {
                    writeln!(f, "{number:>3}. committed in {}", saved.source)?;
                    list(f, saved)?;
                }
            }
        }
        Ok(())
    }
}

/// What a unit of work did, a line each.
fn list(f: &mut fmt::Formatter<'_>, saved: &Saved) -> fmt::Result {
    for HandledDelivery { subscription, event, id, claim } in &saved.received {
        let how = match claim {
            Claim::First => "handled",
            Claim::Duplicate => "absorbed a repeat of",
            Claim::Parked => "parked",
        };
        writeln!(f, "       {subscription} {how} {event} {id}")?;
    }
    for event in &saved.dispatched {
        writeln!(f, "       dispatched {} of {} to {:?}", event.value, event.aggregate, event.handlers)?;
    }
    for envelope in &saved.announced {
        writeln!(f, "       announced {} {}", envelope.r#type, String::from_utf8_lossy(&envelope.data))?;
    }
    Ok(())
}
