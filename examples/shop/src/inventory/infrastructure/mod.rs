//! How inventory's aggregates are stored, and what can be asked of the database as a whole.

mod figures;
mod reservation;
mod stock_item;

pub use figures::{Figures, figures};
pub use reservation::{ReservationState, StatusState};
pub use stock_item::StockItemState;
