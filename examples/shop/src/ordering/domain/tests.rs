//! The rules of ordering: call a business method, then compare what was recorded. No runtime, no database.

use factum::{DomainEvents, Records};
use uuid::Uuid;

use super::*;
use crate::kernel::{Date, Money, OrderId};

const BUYER: BuyerId = BuyerId(42);

fn id() -> OrderId {
    Uuid::from_u128(7).into()
}

fn date() -> Date {
    Date::new(1997, 1, 12).unwrap()
}

fn item(quantity: u32, cents: i64) -> LineItem {
    LineItem { shelf: "cd-11".into(), quantity, amount: Money::from_cents(cents) }
}

fn placed() -> Order {
    let mut order = Order::place(id(), BUYER, date(), vec![item(1, 1_177), item(2, 2_301)]).unwrap();
    drop_events(&mut order);
    order
}

fn accepted() -> Order {
    let mut order = placed();
    order.allocate();
    drop_events(&mut order);
    order
}

fn confirmed() -> Order {
    let mut order = accepted();
    order.confirm().unwrap();
    drop_events(&mut order);
    order
}

fn cancelled() -> Order {
    let mut order = placed();
    order.cancel(CancelReason::StockRefused);
    drop_events(&mut order);
    order
}

fn drop_events(aggregate: &mut impl Records) {
    aggregate.collect_events();
}

fn only<E: factum::DomainEvent>(events: &DomainEvents) -> &E {
    assert_eq!(events.len(), 1, "{events:?}");
    events.recorded()[0]
}

#[test]
fn placing_records_what_was_ordered_and_what_it_comes_to() {
    let items = vec![item(1, 1_177), item(2, 2_301)];
    let mut order = Order::place(id(), BUYER, date(), items.clone()).unwrap();
    let events = order.collect_events();
    let expected = OrderPlaced {
        order: id(),
        buyer: BUYER,
        date: date(),
        lines: items,
        total: Money::from_cents(3_478),
    };
    assert_eq!(only::<OrderPlaced>(&events), &expected);
    assert_eq!((order.status(), order.cds()), (Status::Placed, 3));
}

#[test]
fn an_order_of_nothing_is_refused() {
    assert_eq!(Order::place(id(), BUYER, date(), vec![]), Err(OrderError::NoLines));
    assert_eq!(Order::place(id(), BUYER, date(), vec![item(0, 5)]), Err(OrderError::EmptyLine));
}

#[test]
fn allocating_is_recorded_by_every_line_and_then_by_the_order() {
    let mut order = placed();
    order.allocate();
    let events = order.collect_events();
    assert_eq!(events.names(), ["LineAllocated", "LineAllocated", "OrderAccepted"]);
    assert_eq!(
        events.recorded::<LineAllocated>(),
        [
            &LineAllocated { line: LineNumber(1), item: item(1, 1_177) },
            &LineAllocated { line: LineNumber(2), item: item(2, 2_301) },
        ]
    );
    let accepted = OrderAccepted { order: id(), amount_due: Money::from_cents(3_478) };
    assert_eq!(events.recorded::<OrderAccepted>(), [&accepted]);
    assert!(order.lines().iter().all(OrderLine::is_allocated));
}

#[test]
fn a_paid_order_is_confirmed() {
    let mut order = accepted();
    order.confirm().unwrap();
    let expected =
        OrderConfirmed { order: id(), buyer: BUYER, date: date(), cds: 3, total: Money::from_cents(3_478) };
    assert_eq!(only::<OrderConfirmed>(&order.collect_events()), &expected);
    assert!(order.is_closed());
}

#[test]
fn what_is_not_held_for_a_buyer_is_not_paid() {
    let mut order = placed();
    assert_eq!(order.confirm(), Err(OrderError::NotAccepted(id())));
    assert!(order.collect_events().is_empty());
}

#[test]
fn an_order_is_cancelled_when_stock_is_refused_and_when_payment_is_declined() {
    for (mut order, reason) in
        [(placed(), CancelReason::StockRefused), (accepted(), CancelReason::PaymentDeclined)]
    {
        order.cancel(reason);
        let expected = OrderCancelled {
            order: id(),
            buyer: BUYER,
            date: date(),
            cds: 3,
            total: Money::from_cents(3_478),
            reason,
        };
        assert_eq!(only::<OrderCancelled>(&order.collect_events()), &expected);
        assert_eq!(order.status(), Status::Cancelled(reason));
    }
}

#[test]
fn a_late_answer_leaves_a_closed_order_as_it_is() {
    for closed in [confirmed, cancelled] {
        let mut order = closed();
        order.allocate();
        order.confirm().unwrap();
        order.cancel(CancelReason::PaymentDeclined);
        assert!(order.collect_events().is_empty());
        assert_eq!(order, closed());
    }
}

#[test]
fn stock_is_held_once() {
    let mut order = accepted();
    order.allocate();
    assert!(order.collect_events().is_empty());
}

#[test]
fn a_first_order_registers_its_buyer_and_every_order_verifies_him() {
    let mut buyer = Buyer::register(BUYER, date());
    buyer.verify(id());
    let events = buyer.collect_events();
    assert_eq!(events.names(), ["BuyerRegistered", "BuyerVerified"]);
    assert_eq!(events.recorded::<BuyerRegistered>(), [&BuyerRegistered { buyer: BUYER, since: date() }]);
    assert_eq!(events.recorded::<BuyerVerified>(), [&BuyerVerified { buyer: BUYER, order: id() }]);
    assert_eq!(buyer.orders_verified(), 1);
}
