//! An order is closed: what is held for it is shipped or released.

use factum::{Documents, Outcome, Received, UnitOfWork};

use super::{OrderCancelled, OrderConfirmed};
use crate::inventory::domain::Reservation;

/// The order is paid: ships what is held for it.
///
/// # Errors
///
/// Nothing is held; the store.
pub async fn ship_order<S: Documents>(
    confirmed: &Received<OrderConfirmed>,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    let reservation = uow.load::<Reservation>(&confirmed.order).await?;
    uow[reservation].fulfil()?;
    Ok(())
}

/// The order is cancelled: releases what is held for it, if anything is.
///
/// # Errors
///
/// There is no such reservation; the store.
pub async fn release_reservation<S: Documents>(
    cancelled: &Received<OrderCancelled>,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    let reservation = uow.load::<Reservation>(&cancelled.order).await?;
    uow[reservation].release();
    Ok(())
}
