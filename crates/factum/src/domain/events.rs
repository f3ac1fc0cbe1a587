//! Phase one: an entity notes what has happened, and nothing else follows from it yet.

use std::any::Any;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};

use super::short_name;

/// A fact of the domain, already true inside the current transaction; in memory, never serialised.
///
/// ```
/// use factum::DomainEvent;
/// #[derive(Debug, PartialEq, DomainEvent)]
/// struct OrderPlaced { order: u64 }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a domain event",
    note = "a domain event says `impl DomainEvent for {Self} {{}}`, or derives `DomainEvent`",
    note = "an integration event is announced: give it to `UnitOfWork::announce`"
)]
pub trait DomainEvent: Any + Debug + Send + Sync {
    /// The type's name without its path.
    fn name(&self) -> &'static str {
        short_name::<Self>()
    }
}

/// The events an entity has recorded and nobody has collected yet.
///
/// Only domain events can be recorded:
///
/// ```compile_fail,E0277
/// # use factum::{DomainEvents, Event, Integration, IntegrationEvent};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// struct OrderPlacedV1;
/// impl Event for OrderPlacedV1 { type Kind = Integration; }
/// impl IntegrationEvent for OrderPlacedV1 { const TYPE: &'static str = "com.example.order-placed.v1"; }
/// DomainEvents::default().record(OrderPlacedV1);
/// ```
#[derive(Default)]
pub struct DomainEvents(Vec<Recorded>);

/// An event and its place in the order of recording.
pub(crate) struct Recorded {
    /// Ascends with every event recorded in this process, whichever entity recorded it.
    pub(crate) sequence: u64,
    /// Whom it is about, by a number that the unit of work gives when it collects.
    pub(crate) about: usize,
    pub(crate) event: Box<dyn DomainEvent>,
}

/// The one piece of global state: the order of recording runs across all entities of a process, and an entity that is
/// not tracked yet has no unit of work that could count for it. Units of work take their number from it, too.
static NEXT_IN_ORDER: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_in_order() -> u64 {
    NEXT_IN_ORDER.fetch_add(1, Ordering::Relaxed)
}

impl DomainEvents {
    /// An empty collection.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes that something has happened. No handler runs and nothing is stored until the changes are saved.
    pub fn record(&mut self, event: impl DomainEvent) {
        self.0.push(Recorded { sequence: next_in_order(), about: 0, event: Box::new(event) });
    }

    /// The recorded events, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &dyn DomainEvent> {
        self.0.iter().map(|recorded| &*recorded.event)
    }

    /// The recorded events of one type, oldest first.
    pub fn recorded<E: DomainEvent>(&self) -> Vec<&E> {
        self.iter().filter_map(|event| (event as &dyn Any).downcast_ref()).collect()
    }

    /// The names of the recorded events, oldest first.
    pub fn names(&self) -> Vec<&'static str> {
        self.iter().map(DomainEvent::name).collect()
    }

    /// How many events wait to be collected.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no event waits to be collected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves all of `other` behind what is here.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Moves all that is here behind what is in `list`. An empty list takes over the memory as it is: in the usual save,
    /// one entity has recorded all there is.
    pub(crate) fn move_to(&mut self, list: &mut Vec<Recorded>) {
        if list.is_empty() {
            std::mem::swap(list, &mut self.0);
        } else {
            list.append(&mut self.0);
        }
    }

    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, Recorded> {
        self.0.drain(..)
    }

    pub(crate) fn sort(&mut self) {
        self.0.sort_unstable_by_key(|recorded| recorded.sequence);
    }
}

impl Debug for DomainEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A clone of an entity is a copy of its state: what happened, happened once, and stays with the original.
impl Clone for DomainEvents {
    fn clone(&self) -> Self {
        Self::new()
    }
}

/// Two entities with the same state are equal, whatever still waits to be dispatched.
impl PartialEq for DomainEvents {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for DomainEvents {}

impl Drop for DomainEvents {
    fn drop(&mut self) {
        if !self.0.is_empty() && !std::thread::panicking() {
            tracing::warn!(target: "factum", events = ?self.names(), "an entity was dropped with undelivered events");
        }
    }
}
