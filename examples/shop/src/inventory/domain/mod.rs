//! What inventory is about: CDs on shelves, and what is held of them for orders.
//!
//! It refuses every word of other services, of the wire and of the database.

mod demand;
mod events;
mod reservation;
mod stock_item;

pub use demand::{Demand, Shelf};
pub use events::{
    ReservationFulfilled, ReservationReleased, StockRanLow, StockRefused, StockReordered, StockReserved,
};
pub use reservation::{Reservation, ReservationError, ReservedLine, Status};
pub use stock_item::{INITIAL_STOCK, REORDER_BELOW, REORDER_QUANTITY, StockError, StockItem, StockLevels};

#[cfg(test)]
mod tests;
