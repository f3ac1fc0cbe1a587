//! A document needs a store that keeps documents.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(AggregateRoot)]
struct Note {
    id: u64,
    events: DomainEvents,
}

impl factum::Document for Note {
    const COLLECTION: &'static str = "notes";
    type State = u64;
    fn state(&self) -> u64 {
        self.id
    }
    fn restore(id: u64) -> Self {
        Self { id, events: DomainEvents::new() }
    }
}

fn too_general<S: Store>(uow: &mut UnitOfWork<S>, note: Note) {
    uow.add(note);
}

fn main() {}
