//! What happens in inventory, in the past tense.

use factum::DomainEvent;

use super::{Demand, Shelf};
use crate::kernel::OrderId;

/// All that an order needs is held for it.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct StockReserved {
    /// The order.
    pub order: OrderId,
    /// What is held.
    pub held: Demand,
}

/// Nothing is held for an order, because not all of it was there.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct StockRefused {
    /// The order.
    pub order: OrderId,
    /// What it would have needed.
    pub wanted: Demand,
}

/// What was held for an order is on its way to the buyer.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct ReservationFulfilled {
    /// The order.
    pub order: OrderId,
    /// What was shipped.
    pub shipped: Demand,
}

/// What was held for an order is free again: the compensation of a cancelled order.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct ReservationReleased {
    /// The order.
    pub order: OrderId,
    /// What was held.
    pub released: Demand,
}

/// Few CDs are left on a shelf that nobody has reserved.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct StockRanLow {
    /// The shelf.
    pub shelf: Shelf,
    /// How many are left.
    pub available: u64,
}

/// A shelf was filled up.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct StockReordered {
    /// The shelf.
    pub shelf: Shelf,
    /// By how many.
    pub quantity: u64,
}
