//! How the read model is stored, and what can be asked of it as a whole.

mod figures;
mod states;

pub use figures::{Figures, figures};
pub use states::{CustomerValueState, DayRevenueState, OrderViewState, StandingState};
