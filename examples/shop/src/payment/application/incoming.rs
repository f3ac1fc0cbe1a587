//! What payment reads of what other services publish: a tolerant reader has types of its own, with the fields
//! that it needs and no others.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::kernel::{Money, OrderId};

/// An order was accepted: it can be paid.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-accepted.v1", key = order)]
pub struct OrderAccepted {
    /// The order.
    pub order: OrderId,
    /// What is to be paid, in cents.
    pub amount_due_cents: Money,
}
