//! A key knows the type of its aggregate.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

fn mixed_up<S: Store>(uow: &mut UnitOfWork<S>, order: Tracked<Order>) {
    uow[order].reserve(2);
}

fn main() {}
