//! Who records: entities, children inside an aggregate, and the root that outsiders may hold.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use super::DomainEvents;

/// Something with an identity that outlives its attributes.
pub trait Entity {
    /// Its identity's type.
    type Id;
    /// Its identity.
    fn id(&self) -> &Self::Id;
}

/// Receives one collection of recorded events after the other.
pub type Visit<'a> = dyn FnMut(&mut DomainEvents) + 'a;

/// Whoever holds recorded events: an entity visits its own collection, then its children's.
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no recorded events",
    note = "derive `Entity` (a child) or `AggregateRoot` (a root), or write `fn each_events` by hand",
    note = "a field that is marked `#[children]` is a `Children<T>`, `Vec<T>`, `Option<T>`, `Box<T>` or `BTreeMap<K, T>` of entities"
)]
pub trait Records {
    /// Calls `visit` with every collection of events in this entity and the entities inside it.
    fn each_events(&mut self, visit: &mut Visit<'_>);

    /// Takes all recorded events, the children's too, in the order of recording.
    fn collect_events(&mut self) -> DomainEvents {
        let mut all = DomainEvents::new();
        self.each_events(&mut |events| all.append(events));
        all.sort();
        all
    }
}

/// The one entity of its cluster that outsiders may hold; it keeps the cluster's rules.
///
/// ```
/// use factum::{AggregateRoot, Children, DomainEvent, DomainEvents, Entity, Records as _};
///
/// #[derive(Debug, PartialEq, DomainEvent)]
/// struct LineDiscounted { line: u32 }
///
/// #[derive(Entity)]
/// struct OrderLine { id: u32, price: i64, events: DomainEvents }
///
/// #[derive(AggregateRoot)]
/// struct Order { id: u64, #[children] lines: Children<OrderLine>, events: DomainEvents }
///
/// impl Order {
///     fn discount(&mut self) {
///         for line in self.lines.iter_mut() {
///             line.price /= 2;
///             line.events.record(LineDiscounted { line: line.id });
///         }
///     }
/// }
///
/// let line = OrderLine { id: 1, price: 200, events: DomainEvents::new() };
/// let mut order = Order { id: 7, lines: [line].into_iter().collect(), events: DomainEvents::new() };
/// order.discount();
/// assert_eq!(order.collect_events().recorded::<LineDiscounted>(), [&LineDiscounted { line: 1 }]);
/// ```
pub trait AggregateRoot: Entity<Id: Clone + Debug + Eq + Hash + Send + Sync + 'static> + Records {}

impl Records for DomainEvents {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        visit(self);
    }
}

impl<R: Records> Records for Vec<R> {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.iter_mut().for_each(|child| child.each_events(visit));
    }
}

impl<R: Records> Records for Option<R> {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.iter_mut().for_each(|child| child.each_events(visit));
    }
}

impl<R: Records> Records for Box<R> {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        (**self).each_events(visit);
    }
}

impl<K, R: Records> Records for BTreeMap<K, R> {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.values_mut().for_each(|child| child.each_events(visit));
    }
}
