//! A field that holds entities is marked, in a generic entity too.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Entity)]
struct Item<T> {
    id: T,
    events: DomainEvents,
}

#[derive(AggregateRoot)]
struct Basket<K: Clone + std::fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static> {
    id: K,
    items: Vec<Item<K>>,
    events: DomainEvents,
}

fn main() {}
