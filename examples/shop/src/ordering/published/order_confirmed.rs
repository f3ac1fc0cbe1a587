//! Tells that an order is paid: inventory ships it, and insight counts it.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::kernel::{Date, Money, OrderId};
use crate::ordering::domain::OrderConfirmed;

/// An order was confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-confirmed.v1", key = order)]
pub struct OrderConfirmedV1 {
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
}

/// Translates.
pub fn order_confirmed(event: &OrderConfirmed) -> OrderConfirmedV1 {
    OrderConfirmedV1 {
        order: event.order,
        buyer: event.buyer.0,
        date: event.date,
        cds: event.cds,
        total_cents: event.total,
    }
}
