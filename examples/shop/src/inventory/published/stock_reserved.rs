//! Tells that all that an order needs is held for it.

use std::collections::BTreeMap;

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use super::by_shelf;
use crate::inventory::domain::StockReserved;
use crate::kernel::OrderId;

/// Stock is held for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.inventory.stock-reserved.v1", key = order)]
pub struct StockReservedV1 {
    /// The order.
    pub order: OrderId,
    /// How many CDs of which shelves.
    pub held: BTreeMap<String, u64>,
}

/// Translates.
pub fn stock_reserved(event: &StockReserved) -> StockReservedV1 {
    StockReservedV1 { order: event.order, held: by_shelf(&event.held) }
}
