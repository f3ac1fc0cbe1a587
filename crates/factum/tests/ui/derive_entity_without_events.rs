//! An entity has somewhere to record.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(AggregateRoot)]
struct Customer {
    id: u64,
    name: String,
}

fn main() {}
