//! What ordering does: one command, one handler inside its transaction, and the answers of other services.

mod answers;
mod incoming;
mod place_order;
mod verify_buyer;

pub use answers::{allocate_order, cancel_declined_order, cancel_refused_order, confirm_order};
pub use incoming::{PaymentDeclined, PaymentSettled, StockRefused, StockReserved};
pub use place_order::{PlaceOrder, Placing, place_order};
pub use verify_buyer::verify_buyer;
