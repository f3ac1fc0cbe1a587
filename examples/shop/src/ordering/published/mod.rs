//! Ordering's published language: what it tells other services. The JSON is a contract, pinned by golden
//! files; a change that is not an addition becomes a new version beside the old one.

mod order_accepted;
mod order_cancelled;
mod order_confirmed;
mod order_placed;

pub use order_accepted::{OrderAcceptedV1, order_accepted};
pub use order_cancelled::{OrderCancelledV1, Reason, order_cancelled};
pub use order_confirmed::{OrderConfirmedV1, order_confirmed};
pub use order_placed::{LineV1, OrderPlacedV1, order_placed};

#[cfg(test)]
mod tests;
