//! A field that holds entities is marked, wherever it holds them.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

use std::collections::HashMap;

type Lines = Vec<Line>;

#[derive(AggregateRoot)]
struct Basket {
    id: u64,
    lines: Vec<Line>,
    gift: Option<Box<Line>>,
    by_sku: HashMap<String, Line>,
    aliased: Lines,
    events: DomainEvents,
}

fn main() {}
