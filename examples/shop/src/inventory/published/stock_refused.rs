//! Tells that there is not enough stock for an order, and nothing is held.

use std::collections::BTreeMap;

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use super::by_shelf;
use crate::inventory::domain::StockRefused;
use crate::kernel::OrderId;

/// There is no stock for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.inventory.stock-refused.v1", key = order)]
pub struct StockRefusedV1 {
    /// The order.
    pub order: OrderId,
    /// How many CDs of which shelves it would have needed.
    pub wanted: BTreeMap<String, u64>,
}

/// Translates.
pub fn stock_refused(event: &StockRefused) -> StockRefusedV1 {
    StockRefusedV1 { order: event.order, wanted: by_shelf(&event.wanted) }
}
