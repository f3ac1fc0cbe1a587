//! An integration event has a name on the wire.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
struct Nameless;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(key = order)]
struct KeyOnly {
    order: u64,
}

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.order-placed.v1", version = 1)]
struct TooMuch;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.order-placed.v1", type = "com.example.shop.order-placed.v2")]
struct Twice;

fn main() {}
