//! A domain event stays in its transaction: it is no contract.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

fn too_far<S: Store>(uow: &mut UnitOfWork<S>) {
    let _ = uow.announce(&OrderPlaced { order: 7 });
}

fn main() {}
