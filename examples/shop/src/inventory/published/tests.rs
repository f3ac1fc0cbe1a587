//! What is on the wire: the golden files are the contract.

use super::*;
use crate::contract::{assert_contract, order};
use crate::inventory::domain::*;

fn demand() -> Demand {
    [("cd-11", 1), ("cd-7", 3)].into_iter().map(|(shelf, quantity)| (shelf.into(), quantity)).collect()
}

#[test]
fn stock_reserved_is_told_as_agreed() {
    let told = stock_reserved(&StockReserved { order: order(), held: demand() });
    let golden = include_str!("golden/stock-reserved.v1.json");
    assert_contract(&told, golden, "com.example.shop.inventory.stock-reserved.v1");
}

#[test]
fn stock_refused_is_told_as_agreed() {
    let told = stock_refused(&StockRefused { order: order(), wanted: demand() });
    let golden = include_str!("golden/stock-refused.v1.json");
    assert_contract(&told, golden, "com.example.shop.inventory.stock-refused.v1");
}
