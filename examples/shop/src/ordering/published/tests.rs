//! What is on the wire, to the byte that matters: the golden files are the contract.

use super::*;
use crate::contract::{assert_contract, order};
use crate::kernel::{Date, Money};
use crate::ordering::domain::*;

fn date() -> Date {
    Date::new(1997, 1, 12).unwrap()
}

#[test]
fn order_placed_is_told_as_agreed() {
    let line = |shelf: &str, quantity, cents| LineItem {
        shelf: shelf.into(),
        quantity,
        amount: Money::from_cents(cents),
    };
    let told = order_placed(&OrderPlaced {
        order: order(),
        buyer: BuyerId(42),
        date: date(),
        lines: vec![line("cd-11", 1, 1_177), line("cd-7", 3, 2_301)],
        total: Money::from_cents(3_478),
    });
    let golden = include_str!("golden/order-placed.v1.json");
    assert_contract(&told, golden, "com.example.shop.ordering.order-placed.v1");
}

#[test]
fn order_accepted_is_told_as_agreed() {
    let told = order_accepted(&OrderAccepted { order: order(), amount_due: Money::from_cents(3_478) });
    let golden = include_str!("golden/order-accepted.v1.json");
    assert_contract(&told, golden, "com.example.shop.ordering.order-accepted.v1");
}

#[test]
fn order_confirmed_is_told_as_agreed() {
    let told = order_confirmed(&OrderConfirmed {
        order: order(),
        buyer: BuyerId(42),
        date: date(),
        cds: 4,
        total: Money::from_cents(3_478),
    });
    let golden = include_str!("golden/order-confirmed.v1.json");
    assert_contract(&told, golden, "com.example.shop.ordering.order-confirmed.v1");
}

#[test]
fn order_cancelled_is_told_as_agreed_for_both_reasons() {
    let event = |reason| OrderCancelled {
        order: order(),
        buyer: BuyerId(42),
        date: date(),
        cds: 4,
        total: Money::from_cents(3_478),
        reason,
    };
    let golden = include_str!("golden/order-cancelled.v1.json");
    let refused = order_cancelled(&event(CancelReason::StockRefused));
    assert_contract(&refused, golden, "com.example.shop.ordering.order-cancelled.v1");
    let declined = golden.replace("stock-refused", "payment-declined");
    let told = order_cancelled(&event(CancelReason::PaymentDeclined));
    assert_contract(&told, &declined, "com.example.shop.ordering.order-cancelled.v1");
}
