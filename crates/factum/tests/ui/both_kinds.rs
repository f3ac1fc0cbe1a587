//! An event has one kind.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Debug, Serialize, Deserialize, DomainEvent, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-shipped.v1")]
struct OrderShipped;

fn main() {}
