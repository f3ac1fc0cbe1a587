//! Before commit, in this process: entities record facts, handlers react inside the same transaction.
//!
//! Nothing here knows of envelopes, buses or other services. A model is tested without runtime, database or mock:
//! call a business method, then look at what was recorded.

mod children;
mod dispatcher;
mod entity;
mod events;
mod handler;
#[doc(hidden)]
pub mod unmarked;

pub use children::Children;
pub use dispatcher::{Dispatcher, Registration};
pub use entity::{AggregateRoot, Entity, Records, Visit};
pub use events::{DomainEvent, DomainEvents};
pub use handler::Handler;

pub(crate) use dispatcher::{Reaction, TypeIdHasher};
pub(crate) use events::{Recorded, next_in_order};

/// `shop::Order<shop::Retail>` becomes `Order`.
pub(crate) fn short_name<T: ?Sized>() -> &'static str {
    let path = std::any::type_name::<T>().split('<').next().unwrap_or_default();
    path.rsplit("::").next().unwrap_or(path)
}
