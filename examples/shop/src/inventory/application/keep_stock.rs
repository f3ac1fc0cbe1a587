//! What a reservation does to the shelves, and what a shelf that runs low asks for: in the same transaction.

use factum::{Documents, Outcome, UnitOfWork};

use crate::inventory::domain::{ReservationFulfilled, ReservationReleased, StockItem, StockRanLow};

/// Fills a shelf up that runs low.
///
/// # Errors
///
/// The store.
pub async fn reorder_stock<S: Documents>(event: &StockRanLow, uow: &mut UnitOfWork<S>) -> Outcome {
    let item = uow.load::<StockItem>(&event.shelf).await?;
    uow[item].reorder();
    Ok(())
}

/// Takes what is shipped from the shelves.
///
/// # Errors
///
/// A shelf does not hold what the reservation says; the store.
pub async fn take_from_shelves<S: Documents>(
    event: &ReservationFulfilled,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    for (shelf, quantity) in event.shipped.iter() {
        let item = uow.load::<StockItem>(shelf).await?;
        uow[item].ship(quantity)?;
    }
    Ok(())
}

/// Makes what was held available again.
///
/// # Errors
///
/// A shelf does not hold what the reservation says; the store.
pub async fn return_to_shelves<S: Documents>(
    event: &ReservationReleased,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    for (shelf, quantity) in event.released.iter() {
        let item = uow.load::<StockItem>(shelf).await?;
        uow[item].release(quantity)?;
    }
    Ok(())
}
