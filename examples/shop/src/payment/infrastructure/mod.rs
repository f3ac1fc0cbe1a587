//! How payments are stored, and what can be asked of the database as a whole.

mod figures;
mod payment;

pub use figures::{Figures, figures};
pub use payment::{PaymentState, StatusState};
