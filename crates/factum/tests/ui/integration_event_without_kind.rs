//! An integration event says that it is one.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Debug, Serialize, Deserialize)]
struct OrderShippedV1;

impl IntegrationEvent for OrderShippedV1 {
    const TYPE: &'static str = "com.example.shop.ordering.order-shipped.v1";
}

fn main() {}
