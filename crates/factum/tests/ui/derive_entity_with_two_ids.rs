//! An entity has one identity.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Entity)]
struct Seat {
    #[id]
    row: u8,
    #[id]
    number: u8,
    events: DomainEvents,
}

fn main() {}
