//! The totals of the ordering database.

use std::collections::HashSet;

use factum::{Documents, Error, Work};

use super::{BuyerState, OrderState, StatusState};
use crate::kernel::{Money, OrderId};
use crate::ordering::domain::{Buyer, Order};
use crate::tally::{Tally, each};

/// The totals of the ordering database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// All orders.
    pub placed: Tally,
    /// Those of them that the caller asked for.
    pub asked_for: Tally,
    /// How many placed them.
    pub placed_by: u64,
    /// How many placed those that the caller asked for.
    pub asked_for_by: u64,
    /// Those that were accepted, whatever became of them later.
    pub accepted: Tally,
    /// The confirmed ones.
    pub confirmed: Tally,
    /// The cancelled ones.
    pub cancelled: Tally,
    /// Those that were cancelled because stock was refused.
    pub stock_refused: Tally,
    /// Lines that stock is or was held for.
    pub lines_allocated: u64,
    /// Buyers.
    pub buyers: u64,
    /// Orders that buyers were verified for.
    pub orders_verified: u64,
}

/// Adds the database up. `asked_for` picks the orders of [`Figures::asked_for`].
///
/// # Errors
///
/// The store.
pub async fn figures<S: Documents>(
    work: &Work<S>,
    asked_for: impl Fn(OrderId) -> bool,
) -> Result<Figures, Error> {
    let mut figures = Figures::default();
    let mut uow = work.read().await?;
    let (mut placed_by, mut asked_for_by) = (HashSet::new(), HashSet::new());
    each::<Order, S>(&mut uow, |order| {
        let asked_for = asked_for(order.id);
        placed_by.insert(order.buyer);
        if asked_for {
            asked_for_by.insert(order.buyer);
        }
        figures.count_order(&order, asked_for);
    })
    .await?;
    figures.placed_by = placed_by.len() as u64;
    figures.asked_for_by = asked_for_by.len() as u64;
    each::<Buyer, S>(&mut uow, |buyer| figures.count_buyer(&buyer)).await?;
    uow.roll_back().await;
    Ok(figures)
}

impl Figures {
    fn count_buyer(&mut self, buyer: &BuyerState) {
        self.buyers += 1;
        self.orders_verified += buyer.orders_verified;
    }

    /// Orders that nothing can happen to any more.
    pub fn closed(&self) -> u64 {
        self.confirmed.count + self.cancelled.count
    }

    fn count_order(&mut self, order: &OrderState, asked_for: bool) {
        let cds = order.lines.iter().map(|line| u64::from(line.quantity)).sum();
        let total: Money = order.lines.iter().map(|line| line.amount_cents).sum();
        let count = |tally: &mut Tally| tally.add(cds, total);
        count(&mut self.placed);
        if asked_for {
            count(&mut self.asked_for);
        }
        match order.status {
            StatusState::Placed => {}
            StatusState::Accepted => count(&mut self.accepted),
            StatusState::Confirmed => {
                count(&mut self.accepted);
                count(&mut self.confirmed);
            }
            StatusState::PaymentDeclined => {
                count(&mut self.accepted);
                count(&mut self.cancelled);
            }
            StatusState::StockRefused => {
                count(&mut self.cancelled);
                count(&mut self.stock_refused);
            }
        }
        self.lines_allocated += order.lines.iter().filter(|line| line.allocated).count() as u64;
    }
}
