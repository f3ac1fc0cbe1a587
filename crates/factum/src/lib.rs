//! Domain events before commit, integration events after it.
//!
//! A service has two kinds of event. A [`DomainEvent`] is recorded by an entity and handled inside the same
//! transaction, before commit, in this process. An [`IntegrationEvent`] tells other services, and leaves only when it
//! is certain that the change is in the database. This crate holds the words and the rules of both; it does no IO,
//! knows no runtime and no driver.
//!
//! - [`domain`]: before commit: entities record, handlers react
//! - [`unit_of_work`]: the seam: track, write, dispatch until quiet, append the outbox, commit
//! - [`integration`]: after commit: envelope, outbox, bus, inbox, subscriptions, projections
//! - [`protocol`]: what a relay and a subscription decide, as state machines without IO
//! - [`memory`]: a store and a bus in memory, for a quick start and for tests
//! - [`port`]: what adapters implement; outside semantic versioning

// Derived code says `::factum`, in this crate's own tests as well.
#[cfg(test)]
#[allow(unused_extern_crates)]
extern crate self as factum;

#[doc(hidden)]
pub mod call;
pub mod domain;
mod error;
mod event;
pub mod integration;
pub mod memory;
pub mod port;
pub mod protocol;
pub mod unit_of_work;

pub use domain::{
    AggregateRoot, Children, Dispatcher, DomainEvent, DomainEvents, Entity, Handler, Records, Visit,
};
pub use error::{BoxError, BoxFuture, Error, Outcome, Sort};
pub use event::{Domain, Event, Integration};
pub use factum_macros::{AggregateRoot, DomainEvent, Entity, IntegrationEvent};
pub use integration::{
    Committed, Envelope, EventBus, EventId, IntegrationEvent, Projection, Received, Subscriber, Subscription,
    Timestamp,
};
pub use port::Store;
pub use unit_of_work::{
    Changes, Context, Document, DocumentChange, Documents, Limits, Loaded, Persist, Tracked, UnitOfWork,
    Version, View, Work, Written,
};
