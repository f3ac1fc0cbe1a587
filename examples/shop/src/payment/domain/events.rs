//! What happens in payment, in the past tense.

use factum::DomainEvent;

use crate::kernel::{Money, OrderId};

/// The buyer has paid.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct PaymentSettled {
    /// For which order.
    pub order: OrderId,
    /// How much.
    pub amount: Money,
}

/// The buyer's bank does not pay.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct PaymentDeclined {
    /// For which order.
    pub order: OrderId,
    /// How much was due.
    pub amount: Money,
}
