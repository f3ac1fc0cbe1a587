//! Tells that stock is held for an order: payment collects what is due.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::kernel::{Money, OrderId};
use crate::ordering::domain::OrderAccepted;

/// An order was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-accepted.v1", key = order)]
pub struct OrderAcceptedV1 {
    /// The order.
    pub order: OrderId,
    /// What is to be paid, in cents.
    pub amount_due_cents: Money,
}

/// Translates.
pub fn order_accepted(event: &OrderAccepted) -> OrderAcceptedV1 {
    OrderAcceptedV1 { order: event.order, amount_due_cents: event.amount_due }
}
