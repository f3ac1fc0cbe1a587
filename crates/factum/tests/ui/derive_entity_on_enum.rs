//! An entity is a struct.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Entity)]
enum Customer {
    Guest { id: u64, events: DomainEvents },
    Known { id: u64, events: DomainEvents },
}

fn main() {}
