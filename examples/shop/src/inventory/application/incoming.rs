//! What inventory reads of what other services publish: a tolerant reader has types of its own, with the fields
//! that it needs and no others. They are translated into inventory's words here and nowhere else.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::inventory::domain::Demand;
use crate::kernel::OrderId;

/// An order was placed.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
pub struct OrderPlaced {
    /// The order.
    pub order: OrderId,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    shelf: String,
    quantity: u64,
}

impl OrderPlaced {
    /// What the order needs.
    pub fn demand(&self) -> Demand {
        self.lines.iter().map(|line| (line.shelf.as_str().into(), line.quantity)).collect()
    }
}

/// An order is paid.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-confirmed.v1", key = order)]
pub struct OrderConfirmed {
    /// The order.
    pub order: OrderId,
}

/// An order will not be fulfilled.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-cancelled.v1", key = order)]
pub struct OrderCancelled {
    /// The order.
    pub order: OrderId,
}
