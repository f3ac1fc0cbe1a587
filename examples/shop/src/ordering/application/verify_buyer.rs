//! Who places an order is known, or is registered by it, in the same transaction.

use factum::{Documents, Outcome, UnitOfWork};

use crate::ordering::domain::{Buyer, OrderPlaced};

/// Verifies the buyer of an order that was placed.
///
/// # Errors
///
/// The store.
pub async fn verify_buyer<S: Documents>(event: &OrderPlaced, uow: &mut UnitOfWork<S>) -> Outcome {
    let buyer = match uow.find::<Buyer>(&event.buyer).await? {
        Some(known) => known,
        None => uow.add(Buyer::register(event.buyer, event.date)),
    };
    uow[buyer].verify(event.order);
    Ok(())
}
