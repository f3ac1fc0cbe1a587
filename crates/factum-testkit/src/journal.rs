//! What the units of work of a world have done, in the order in which they ended.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use factum::port::{Claim, Observer, Saved};
use factum::{Error, IntegrationEvent};

/// One unit of work that ended.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Committed(Saved),
    Failed(String),
}

/// Takes notes.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Vec<Entry>>);

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many units of work have ended.
    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    pub(crate) fn story(&self) -> Story {
        Story(self.entries().clone())
    }
}

impl Observer for Journal {
    fn committed(&self, saved: &Saved) {
        self.entries().push(Entry::Committed(saved.clone()));
    }

    fn failed(&self, error: &Error) {
        self.entries().push(Entry::Failed(error.to_string()));
    }
}

/// What has happened so far. Printing it lists every unit of work with what it received, dispatched and announced.
#[derive(Clone, Debug)]
pub struct Story(Vec<Entry>);

impl Story {
    fn saves(&self) -> impl Iterator<Item = &Saved> {
        self.0.iter().filter_map(|entry| match entry {
            Entry::Committed(saved) => Some(saved),
            Entry::Failed(_) => None,
        })
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
        self.received(subscription, Claim::First)
    }

    /// How many repeats a subscription has absorbed.
    pub fn absorbed(&self, subscription: &str) -> usize {
        self.received(subscription, Claim::Duplicate)
    }

    fn received(&self, subscription: &str, claim: Claim) -> usize {
        let received = self.saves().flat_map(|saved| &saved.received);
        received.filter(|delivery| delivery.subscription == subscription && delivery.claim == claim).count()
    }

    /// Why units of work failed, in order. One that was run again and then committed is in here, too.
    pub fn failures(&self) -> Vec<&str> {
        self.0
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
        if self.0.is_empty() {
            return writeln!(f, "nothing has happened");
        }
        for (number, entry) in self.0.iter().enumerate() {
            match entry {
                Entry::Failed(error) => writeln!(f, "{:>3}. rolled back: {error}", number + 1)?,
                Entry::Committed(saved) => {
                    writeln!(f, "{:>3}. committed in {}", number + 1, saved.source)?;
                    for delivery in &saved.received {
                        let (subscription, event) = (&delivery.subscription, &delivery.event);
                        writeln!(
                            f,
                            "       {subscription} received {event} {} ({:?})",
                            delivery.id, delivery.claim
                        )?;
                    }
                    for event in &saved.dispatched {
                        writeln!(
                            f,
                            "       dispatched {} of {} to {:?}",
                            event.value, event.aggregate, event.handlers
                        )?;
                    }
                    for envelope in &saved.announced {
                        writeln!(
                            f,
                            "       announced {} {}",
                            envelope.r#type,
                            String::from_utf8_lossy(&envelope.data)
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}
