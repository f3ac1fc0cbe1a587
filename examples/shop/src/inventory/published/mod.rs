//! Inventory's published language: whether there is stock for an order. The JSON is a contract, pinned by
//! golden files; a change that is not an addition becomes a new version beside the old one.

mod stock_refused;
mod stock_reserved;

pub use stock_refused::{StockRefusedV1, stock_refused};
pub use stock_reserved::{StockReservedV1, stock_reserved};

use std::collections::BTreeMap;

use crate::inventory::domain::Demand;

/// Quantities by shelf.
fn by_shelf(demand: &Demand) -> BTreeMap<String, u64> {
    demand.iter().map(|(shelf, quantity)| (shelf.to_string(), quantity)).collect()
}

#[cfg(test)]
mod tests;
