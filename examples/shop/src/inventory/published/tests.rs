//! What is on the wire: the golden files are the contract.

use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::inventory::domain::*;
use crate::kernel::OrderId;
use factum::IntegrationEvent;

fn order() -> OrderId {
    Uuid::from_u128(7).into()
}

fn demand() -> Demand {
    [("cd-11", 1), ("cd-7", 3)].into_iter().map(|(shelf, quantity)| (shelf.into(), quantity)).collect()
}

fn assert_contract<E: IntegrationEvent + PartialEq + std::fmt::Debug>(event: &E, golden: &str, r#type: &str) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(serde_json::to_value(event).unwrap(), golden);
    assert_eq!(&serde_json::from_value::<E>(golden).unwrap(), event);
    assert_eq!(E::TYPE, r#type);
    assert_eq!(event.key(), Some(order().to_string()));
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
