//! The rules of payment: call a business method, then compare what was recorded. No runtime, no database.

use factum::Records;
use uuid::Uuid;

use super::*;
use crate::kernel::{Money, OrderId};

fn order() -> OrderId {
    Uuid::from_u128(7).into()
}

#[test]
fn what_the_bank_approves_is_settled() {
    let mut payment = Payment::collect(order(), Money::from_cents(1_177), Answer::Approved);
    let events = payment.collect_events();
    assert_eq!(
        events.recorded::<PaymentSettled>(),
        [&PaymentSettled { order: order(), amount: Money::from_cents(1_177) }]
    );
    assert_eq!((payment.status(), events.len()), (Status::Settled, 1));
}

#[test]
fn what_the_bank_declines_is_declined() {
    let mut payment = Payment::collect(order(), Money::from_cents(1), Answer::Declined);
    let events = payment.collect_events();
    assert_eq!(
        events.recorded::<PaymentDeclined>(),
        [&PaymentDeclined { order: order(), amount: Money::from_cents(1) }]
    );
    assert_eq!((payment.status(), events.len()), (Status::Declined, 1));
}

#[test]
fn where_nothing_is_due_nothing_is_declined() {
    let mut payment = Payment::collect(order(), Money::default(), Answer::Declined);
    let events = payment.collect_events();
    assert_eq!(
        events.recorded::<PaymentSettled>(),
        [&PaymentSettled { order: order(), amount: Money::default() }]
    );
    assert_eq!((payment.status(), events.len()), (Status::Settled, 1));
}
