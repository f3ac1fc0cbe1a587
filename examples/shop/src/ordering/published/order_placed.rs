//! Tells that an order was placed: inventory holds stock for it.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::kernel::{Date, Money, OrderId};
use crate::ordering::domain::{LineItem, OrderPlaced};

/// An order was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
pub struct OrderPlacedV1 {
    /// The order.
    pub order: OrderId,
    /// Who placed it.
    pub buyer: u64,
    /// On which day, `YYYY-MM-DD`.
    pub date: Date,
    /// What was ordered.
    pub lines: Vec<LineV1>,
    /// What the lines come to, in cents.
    pub total_cents: Money,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineV1 {
    /// Where the CDs come from.
    pub shelf: String,
    /// How many CDs.
    pub quantity: u32,
    /// For how much in all, in cents.
    pub amount_cents: Money,
}

/// Translates.
pub fn order_placed(event: &OrderPlaced) -> OrderPlacedV1 {
    OrderPlacedV1 {
        order: event.order,
        buyer: event.buyer.0,
        date: event.date,
        lines: event.lines.iter().map(line).collect(),
        total_cents: event.total,
    }
}

fn line(item: &LineItem) -> LineV1 {
    LineV1 { shelf: item.shelf.as_str().to_owned(), quantity: item.quantity, amount_cents: item.amount }
}
