//! An entity records in one collection.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Entity)]
struct Seat {
    id: u8,
    events: DomainEvents,
    more_events: DomainEvents,
}

fn main() {}
