//! What is on the wire: the golden files are the contract.

use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::kernel::{Money, OrderId};
use crate::payment::domain::*;
use factum::IntegrationEvent;

fn order() -> OrderId {
    Uuid::from_u128(7).into()
}

fn assert_contract<E: IntegrationEvent + PartialEq + std::fmt::Debug>(event: &E, golden: &str, r#type: &str) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(serde_json::to_value(event).unwrap(), golden);
    assert_eq!(&serde_json::from_value::<E>(golden).unwrap(), event);
    assert_eq!(E::TYPE, r#type);
    assert_eq!(event.key(), Some(order().to_string()));
}

#[test]
fn payment_settled_is_told_as_agreed() {
    let told = payment_settled(&PaymentSettled { order: order(), amount: Money::from_cents(3_478) });
    let golden = include_str!("golden/payment-settled.v1.json");
    assert_contract(&told, golden, "com.example.shop.payment.payment-settled.v1");
}

#[test]
fn payment_declined_is_told_as_agreed() {
    let told = payment_declined(&PaymentDeclined { order: order(), amount: Money::from_cents(3_478) });
    let golden = include_str!("golden/payment-declined.v1.json");
    assert_contract(&told, golden, "com.example.shop.payment.payment-declined.v1");
}
