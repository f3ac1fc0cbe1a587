//! Tells that an order will not be fulfilled: inventory releases what it holds for it.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::kernel::{Date, Money, OrderId};
use crate::ordering::domain::{CancelReason, OrderCancelled};

/// An order was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-cancelled.v1", key = order)]
pub struct OrderCancelledV1 {
    /// The order.
    pub order: OrderId,
    /// Who placed it.
    pub buyer: u64,
    /// On which day it was placed, `YYYY-MM-DD`.
    pub date: Date,
    /// How many CDs.
    pub cds: u64,
    /// For how much, in cents.
    pub total_cents: Money,
    /// Why.
    pub reason: Reason,
}

/// Why an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// There was no stock for it.
    StockRefused,
    /// Its payment was declined.
    PaymentDeclined,
}

/// Translates.
pub fn order_cancelled(event: &OrderCancelled) -> OrderCancelledV1 {
    OrderCancelledV1 {
        order: event.order,
        buyer: event.buyer.0,
        date: event.date,
        cds: event.cds,
        total_cents: event.total,
        reason: match event.reason {
            CancelReason::StockRefused => Reason::StockRefused,
            CancelReason::PaymentDeclined => Reason::PaymentDeclined,
        },
    }
}
