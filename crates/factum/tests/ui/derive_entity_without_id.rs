//! An entity has an identity.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Entity)]
struct Address {
    street: String,
    events: DomainEvents,
}

fn main() {}
