//! A key opens nothing once the unit of work is saved.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

async fn too_late<S: Store>(mut uow: UnitOfWork<S>, order: Tracked<Order>) -> Result<(), Error> {
    let _ = uow.save_changes().await?;
    uow[order].place();
    Ok(())
}

fn main() {}
