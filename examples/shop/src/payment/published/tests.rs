//! What is on the wire: the golden files are the contract.

use super::*;
use crate::contract::{assert_contract, order};
use crate::kernel::Money;
use crate::payment::domain::*;

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
