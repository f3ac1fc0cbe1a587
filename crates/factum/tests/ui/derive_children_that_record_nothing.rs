//! What is marked as holding entities holds some.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(AggregateRoot)]
struct Basket {
    id: u64,
    #[children]
    skus: Vec<String>,
    events: DomainEvents,
}

fn main() {}
