//! Payment's published language: how a payment ended. The JSON is a contract, pinned by golden files; a change
//! that is not an addition becomes a new version beside the old one.

mod payment_declined;
mod payment_settled;

pub use payment_declined::{PaymentDeclinedV1, payment_declined};
pub use payment_settled::{PaymentSettledV1, payment_settled};

#[cfg(test)]
mod tests;
