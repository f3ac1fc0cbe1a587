//! A key is a field, or made of one.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Debug, Serialize, Deserialize)]
struct Customer;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.order-placed.v1", key = ordr)]
struct Mistyped {
    order: u64,
}

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.order-placed.v1", key = customer)]
struct NotDisplay {
    customer: Customer,
}

fn main() {}
