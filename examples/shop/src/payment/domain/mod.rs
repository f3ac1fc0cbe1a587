//! What payment is about: one payment an order, settled or declined.
//!
//! It refuses every word of other services, of the wire and of the database.

mod events;
mod payment;

pub use events::{PaymentDeclined, PaymentSettled};
pub use payment::{Answer, Payment, Status};

#[cfg(test)]
mod tests;
