//! How ordering's aggregates are stored, and what can be asked of the database as a whole.

mod buyer;
mod figures;
mod order;

pub use buyer::BuyerState;
pub use figures::{Figures, figures};
pub use order::{LineState, OrderState, StatusState};
