//! The one command of the shop.

use factum::{BoxError, Documents, UnitOfWork};

use crate::kernel::{Date, OrderId};
use crate::ordering::domain::{BuyerId, LineItem, Order};

/// Asks for an order to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceOrder {
    /// Its id, chosen by who asks: asking twice places it once.
    pub order: OrderId,
    /// Who buys.
    pub buyer: BuyerId,
    /// On which day.
    pub date: Date,
    /// What.
    pub lines: Vec<LineItem>,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// The order is placed now.
    Placed,
    /// It was there already, and stays as it is.
    PlacedBefore,
}

/// Places an order, once.
///
/// # Errors
///
/// The rules of an order; the store.
pub async fn place_order<S: Documents>(
    command: PlaceOrder,
    uow: &mut UnitOfWork<S>,
) -> Result<Placing, BoxError> {
    if uow.find::<Order>(&command.order).await?.is_some() {
        return Ok(Placing::PlacedBefore);
    }
    let PlaceOrder { order, buyer, date, lines } = command;
    uow.add(Order::place(order, buyer, date, lines)?);
    Ok(Placing::Placed)
}
