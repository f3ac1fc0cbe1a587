//! What ordering reads of what other services publish: a tolerant reader has types of its own, with the fields
//! that it needs and no others.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::kernel::OrderId;

/// Stock is held for an order.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.inventory.stock-reserved.v1", key = order)]
pub struct StockReserved {
    /// The order.
    pub order: OrderId,
}

/// There is no stock for an order.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.inventory.stock-refused.v1", key = order)]
pub struct StockRefused {
    /// The order.
    pub order: OrderId,
}

/// An order is paid.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.payment.payment-settled.v1", key = order)]
pub struct PaymentSettled {
    /// The order.
    pub order: OrderId,
}

/// The payment of an order was declined.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.payment.payment-declined.v1", key = order)]
pub struct PaymentDeclined {
    /// The order.
    pub order: OrderId,
}
