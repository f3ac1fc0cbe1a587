//! After commit, between processes: what is told to other services, how it travels, how it is received.
//!
//! Nothing here knows of entities or domain events: the halves meet in the unit of work.

mod attributes;
mod bus;
mod cloud_events;
mod committed;
mod envelope;
mod event;
mod id;
mod inspect;
mod preload;
mod projection;
mod subscriber;
mod subscription;
mod timestamp;

pub use attributes::CloudEventError;
pub use bus::{
    Answer, Capabilities, Confirm, Deliveries, Delivery, Destination, Durability, EventBus, EventBusExt,
    Interest, Publication, PublishOutcome, Settle,
};
pub use committed::Committed;
pub(crate) use committed::Proof;
pub use envelope::{Envelope, Source};
pub use event::IntegrationEvent;
pub use id::EventId;
pub use inspect::{Backlog, DeadLetter, Inspect, Side};
pub use projection::Projection;
pub use subscriber::{Received, Subscriber};
pub use subscription::{OnDeadLetter, Subscription};
pub use timestamp::{NotATime, Timestamp};
