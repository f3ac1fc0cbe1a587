//! A child entity is reached through its root.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

fn past_the_root<S: factum::Documents>(uow: &mut UnitOfWork<S>, line: Line) {
    uow.add(line);
}

fn main() {}
