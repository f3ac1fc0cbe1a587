//! The shared kernel: the few value objects that mean the same in every context, with their one text form.
//!
//! It refuses everything that has a rule: rules belong to one service, and so do entities and events.

mod date;
mod money;
mod order_id;

pub use date::{Date, NotADate};
pub use money::Money;
pub use order_id::OrderId;
