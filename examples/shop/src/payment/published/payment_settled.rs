//! Tells that an order is paid.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::kernel::{Money, OrderId};
use crate::payment::domain::PaymentSettled;

/// An order is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.payment.payment-settled.v1", key = order)]
pub struct PaymentSettledV1 {
    /// The order.
    pub order: OrderId,
    /// How much was paid, in cents.
    pub amount_cents: Money,
}

/// Translates.
pub fn payment_settled(event: &PaymentSettled) -> PaymentSettledV1 {
    PaymentSettledV1 { order: event.order, amount_cents: event.amount }
}
