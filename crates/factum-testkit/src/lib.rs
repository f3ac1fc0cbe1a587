//! For tests of services on factum: run them in memory, publish, wait until quiet, then assert on what happened.
//!
//! Quiet is counted, never slept for: no row waits in an outbox, and nothing is on its way on the bus. An assertion that
//! fails lists what did happen. [`assert_recorded`] needs none of that: it looks at what an entity has recorded.
//!
//! ```
//! use factum::{Dispatcher, IntegrationEvent, Outcome, Received, Subscription, UnitOfWork, memory::MemoryStore};
//! use factum_testkit::World;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntegrationEvent)]
//! #[event(type = "com.example.ordering.order-placed.v1", key = order)]
//! struct OrderPlaced { order: u64 }
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntegrationEvent)]
//! #[event(type = "com.example.shipping.order-shipped.v1", key = order)]
//! struct OrderShipped { order: u64 }
//!
//! async fn ship(placed: &Received<OrderPlaced>, uow: &mut UnitOfWork<MemoryStore>) -> Outcome {
//!     uow.announce(&OrderShipped { order: placed.order })?;
//!     Ok(())
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let mut world = World::new();
//! world.service("https://shop.example/shipping", Dispatcher::new(), [Subscription::named("shipping").on(ship)]).await;
//!
//! world.publish("https://shop.example/ordering", &OrderPlaced { order: 7 }).await;
//! world.quiet().await;
//!
//! world.assert_announced(&[OrderShipped { order: 7 }]);
//! world.assert_handled("shipping", 1);
//! # });
//! ```

mod assertions;
mod journal;
mod open_ended;
mod recorded;
mod story;
mod world;

pub use recorded::{Expected, assert_recorded};
pub use story::Story;
pub use world::World;
