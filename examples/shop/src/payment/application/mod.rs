//! What payment does: it collects what is due for an order that was accepted.

mod collect_payment;
mod incoming;

pub use collect_payment::CollectPayment;
pub use incoming::OrderAccepted;
