//! A root is an entity already.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Entity, AggregateRoot)]
struct Customer {
    id: u64,
    events: DomainEvents,
}

fn main() {}
