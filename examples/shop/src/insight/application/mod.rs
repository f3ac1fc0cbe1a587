//! The projections: how what ordering tells is folded into the read model.

mod incoming;
mod project_orders;

pub use incoming::{OrderCancelled, OrderConfirmed};
pub use project_orders::ProjectOrders;
