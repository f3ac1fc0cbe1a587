//! What inventory does: it holds stock for orders that are placed, ships what is paid, and releases the rest.

mod incoming;
mod keep_stock;
mod react;
mod reserve_stock;

pub use incoming::{OrderCancelled, OrderConfirmed, OrderPlaced};
pub use keep_stock::{reorder_stock, return_to_shelves, take_from_shelves};
pub use react::{release_reservation, ship_order};
pub use reserve_stock::ReserveStock;
