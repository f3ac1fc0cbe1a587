//! What became of an order.

use super::{CustomerId, records_nothing};
use crate::kernel::{Date, Money, OrderId};

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was paid.
    Confirmed,
    /// It was not fulfilled.
    Cancelled,
}

/// A closed order, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderView {
    /// The order.
    pub order: OrderId,
    /// Who placed it.
    pub customer: CustomerId,
    /// On which day.
    pub date: Date,
    /// How many CDs.
    pub cds: u64,
    /// For how much.
    pub total: Money,
    /// What became of it.
    pub standing: Standing,
}

records_nothing!(OrderView, order: OrderId);
