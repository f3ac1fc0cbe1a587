//! Ordering is the process manager: each answer of another service takes an order one step on. Inventory and
//! payment do not know each other.

use factum::{Documents, Outcome, Received, UnitOfWork};

use super::{PaymentDeclined, PaymentSettled, StockRefused, StockReserved};
use crate::ordering::domain::{CancelReason, Order};

/// Stock is held: the order is accepted.
///
/// # Errors
///
/// There is no such order; the store.
pub async fn allocate_order<S: Documents>(
    answer: &Received<StockReserved>,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    let order = uow.load::<Order>(&answer.order).await?;
    uow[order].allocate();
    Ok(())
}

/// There is no stock: the order is cancelled.
///
/// # Errors
///
/// There is no such order; the store.
pub async fn cancel_refused_order<S: Documents>(
    answer: &Received<StockRefused>,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    let order = uow.load::<Order>(&answer.order).await?;
    uow[order].cancel(CancelReason::StockRefused);
    Ok(())
}

/// It is paid: the order is confirmed.
///
/// # Errors
///
/// There is no such order, or nothing was held for it; the store.
pub async fn confirm_order<S: Documents>(
    answer: &Received<PaymentSettled>,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    let order = uow.load::<Order>(&answer.order).await?;
    uow[order].confirm()?;
    Ok(())
}

/// It is not paid: the order is cancelled.
///
/// # Errors
///
/// There is no such order; the store.
pub async fn cancel_declined_order<S: Documents>(
    answer: &Received<PaymentDeclined>,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    let order = uow.load::<Order>(&answer.order).await?;
    uow[order].cancel(CancelReason::PaymentDeclined);
    Ok(())
}
