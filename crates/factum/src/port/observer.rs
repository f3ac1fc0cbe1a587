//! Who looks on while units of work run: a test kit, a metrics exporter.

use crate::integration::EventId;
use crate::{Envelope, Error};

use super::Claim;

/// Looks on while units of work run. It is called after the outcome is certain, and cannot change it.
pub trait Observer: Send + Sync {
    /// A unit of work has committed.
    fn committed(&self, saved: &Saved);
    /// A unit of work was rolled back, or nobody knows.
    fn failed(&self, error: &Error);
}

/// What a committed unit of work has done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Saved {
    /// The source in whose name it ran.
    pub source: String,
    /// The domain events, in the order in which they were dispatched.
    pub dispatched: Vec<Dispatched>,
    /// The integration events, in the order in which they were announced.
    pub announced: Vec<Envelope>,
    /// The deliveries that it handled.
    pub received: Vec<HandledDelivery>,
}

/// A domain event that was dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// Its name.
    pub event: &'static str,
    /// Its value, as `Debug` prints it.
    pub value: String,
    /// Type and id of the aggregate that it is about.
    pub aggregate: String,
    /// Who reacted, in order.
    pub handlers: Vec<&'static str>,
}

/// A delivery that was handled, or found to be handled already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandledDelivery {
    /// The subscription.
    pub subscription: String,
    /// The event's CloudEvents type.
    pub event: String,
    /// The event's id.
    pub id: EventId,
    /// Whether it was the first time.
    pub claim: Claim,
}
