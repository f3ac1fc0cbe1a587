//! A handler is lent the unit of work, and cannot save it.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

async fn handler<S: Store>(_: &OrderPlaced, uow: &mut UnitOfWork<S>) -> Outcome {
    uow.save_changes().await?;
    Ok(())
}

fn main() {}
