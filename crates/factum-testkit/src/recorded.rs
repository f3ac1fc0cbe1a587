//! What an entity has recorded, compared by value. It needs no world: a domain model is tested without a runtime, a
//! store or a handler.

use std::any::Any;

use factum::{DomainEvent, Records};

/// A domain event that a test expects: every one that is [`PartialEq`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be compared by value",
    note = "it is a domain event that derives `Debug` and `PartialEq`"
)]
pub trait Expected: DomainEvent {
    /// Whether what was recorded is of this type, and equal.
    fn is(&self, recorded: &dyn DomainEvent) -> bool;
}

impl<E: DomainEvent + PartialEq> Expected for E {
    fn is(&self, recorded: &dyn DomainEvent) -> bool {
        (recorded as &dyn Any).downcast_ref::<E>() == Some(self)
    }
}

/// Asserts that an entity and its children have recorded exactly these events, in this order, and takes them: the next
/// call sees what is recorded from here on. With `&[]` it asserts that nothing was recorded.
///
/// ```
/// use factum::{AggregateRoot, DomainEvent, DomainEvents};
/// use factum_testkit::assert_recorded;
///
/// #[derive(Debug, PartialEq, DomainEvent)]
/// struct OrderPlaced { order: u64 }
/// #[derive(Debug, PartialEq, DomainEvent)]
/// struct OrderCancelled { order: u64 }
///
/// #[derive(AggregateRoot)]
/// struct Order { id: u64, events: DomainEvents }
///
/// impl Order {
///     fn place(id: u64) -> Self {
///         let mut order = Self { id, events: DomainEvents::new() };
///         order.events.record(OrderPlaced { order: id });
///         order
///     }
///     fn cancel(&mut self) {
///         self.events.record(OrderCancelled { order: self.id });
///     }
/// }
///
/// let mut order = Order::place(7);
/// order.cancel();
/// assert_recorded(&mut order, &[&OrderPlaced { order: 7 }, &OrderCancelled { order: 7 }]);
/// ```
///
/// # Panics
/// If it is not so; the message lists what was recorded.
#[track_caller]
pub fn assert_recorded(entity: &mut impl Records, expected: &[&dyn Expected]) {
    let recorded = entity.collect_events();
    let same = |place: &usize| match (recorded.iter().nth(*place), expected.get(*place)) {
        (Some(found), Some(one)) => one.is(found),
        _ => false,
    };
    let differs = (0..recorded.len().max(expected.len())).find(|place| !same(place));
    if let Some(place) = differs {
        panic!("expected {expected:#?} to be recorded, found {recorded:#?}; event {} differs", place + 1);
    }
}
