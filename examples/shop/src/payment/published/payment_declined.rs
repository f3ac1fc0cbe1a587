//! Tells that the payment of an order was declined.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::kernel::{Money, OrderId};
use crate::payment::domain::PaymentDeclined;

/// The payment of an order was declined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.payment.payment-declined.v1", key = order)]
pub struct PaymentDeclinedV1 {
    /// The order.
    pub order: OrderId,
    /// How much was due, in cents.
    pub amount_cents: Money,
}

/// Translates.
pub fn payment_declined(event: &PaymentDeclined) -> PaymentDeclinedV1 {
    PaymentDeclinedV1 { order: event.order, amount_cents: event.amount }
}
