//! What an event is for, said once by its type: the two kinds can never be mixed up, because a type has one kind.

/// What an event is for. A type has one kind, because it can implement this trait only once.
///
/// Domain events get theirs from [`DomainEvent`](crate::DomainEvent); an integration event says it itself, or its
/// derive does. Both at once is a conflict:
///
/// ```compile_fail,E0119
/// # use factum::{DomainEvent, Event, Integration};
/// #[derive(Debug)]
/// struct Both;
/// impl DomainEvent for Both {}
/// impl Event for Both { type Kind = Integration; }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which kind of event it is",
    note = "an integration event says `impl Event for {Self} {{ type Kind = Integration; }}`, or derives `IntegrationEvent`"
)]
pub trait Event {
    /// [`Domain`] or [`Integration`].
    type Kind;
}

/// The kind of events that never leave their transaction.
#[derive(Debug)]
pub enum Domain {}

/// The kind of events that leave after commit.
#[derive(Debug)]
pub enum Integration {}

impl<E: crate::DomainEvent> Event for E {
    type Kind = Domain;
}
