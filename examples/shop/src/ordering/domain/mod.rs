//! What ordering is about: orders that are placed, accepted and confirmed or cancelled, and who places them.
//!
//! It refuses every word of other services, of the wire and of the database.

mod buyer;
mod events;
mod order;
mod order_line;

pub use buyer::{Buyer, BuyerId};
pub use events::{
    BuyerRegistered, BuyerVerified, LineAllocated, OrderAccepted, OrderCancelled, OrderConfirmed, OrderPlaced,
};
pub use order::{CancelReason, Order, OrderError, Status};
pub use order_line::{LineItem, LineNumber, OrderLine, Shelf};

#[cfg(test)]
mod tests;
