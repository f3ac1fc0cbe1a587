//! The rules of inventory: call a business method, then compare what was recorded. No runtime, no database.

use factum::{Children, Records};
use uuid::Uuid;

use super::*;
use crate::kernel::OrderId;

fn order() -> OrderId {
    Uuid::from_u128(7).into()
}

fn demand() -> Demand {
    [("cd-11", 2), ("cd-14", 1), ("cd-11", 3)]
        .into_iter()
        .map(|(shelf, quantity)| (shelf.into(), quantity))
        .collect()
}

fn held() -> Reservation {
    let mut reservation = Reservation::hold(order(), demand());
    reservation.collect_events();
    reservation
}

fn refused() -> Reservation {
    let mut reservation = Reservation::refuse(order(), demand());
    reservation.collect_events();
    reservation
}

fn in_balance(item: &StockItem) -> bool {
    let levels = item.levels();
    levels.on_hand + levels.shipped == levels.initial + levels.reordered
}

#[test]
fn a_demand_names_each_shelf_once() {
    let shelves: Vec<_> = demand().iter().map(|(shelf, quantity)| (shelf.to_string(), quantity)).collect();
    assert_eq!(shelves, [("cd-11".to_owned(), 5), ("cd-14".to_owned(), 1)]);
}

#[test]
fn holding_and_refusing_say_for_which_order_and_what() {
    let events = Reservation::hold(order(), demand()).collect_events();
    assert_eq!(events.recorded::<StockReserved>(), [&StockReserved { order: order(), held: demand() }]);
    let events = Reservation::refuse(order(), demand()).collect_events();
    assert_eq!(events.recorded::<StockRefused>(), [&StockRefused { order: order(), wanted: demand() }]);
}

#[test]
fn what_is_held_is_shipped_once() {
    let mut reservation = held();
    reservation.fulfil().unwrap();
    reservation.fulfil().unwrap();
    let events = reservation.collect_events();
    assert_eq!(
        events.recorded::<ReservationFulfilled>(),
        [&ReservationFulfilled { order: order(), shipped: demand() }]
    );
    assert_eq!((reservation.status(), events.len()), (Status::Fulfilled, 1));
}

#[test]
fn what_is_held_is_released_once() {
    let mut reservation = held();
    reservation.release();
    reservation.release();
    let events = reservation.collect_events();
    assert_eq!(
        events.recorded::<ReservationReleased>(),
        [&ReservationReleased { order: order(), released: demand() }]
    );
    assert_eq!((reservation.status(), events.len()), (Status::Released, 1));
}

#[test]
fn where_stock_was_refused_there_is_nothing_to_release_and_nothing_to_ship() {
    let mut reservation = refused();
    reservation.release();
    assert_eq!(reservation.fulfil(), Err(ReservationError::NothingHeld(order())));
    assert!(reservation.collect_events().is_empty());
    assert_eq!(reservation, refused());
}

#[test]
fn what_was_shipped_is_not_released_and_what_was_released_is_not_shipped() {
    let mut shipped = held();
    shipped.fulfil().unwrap();
    shipped.collect_events();
    shipped.release();
    assert!(shipped.collect_events().is_empty());

    let mut released = held();
    released.release();
    released.collect_events();
    assert_eq!(released.fulfil(), Err(ReservationError::NothingHeld(order())));
    assert!(released.collect_events().is_empty());
}

#[test]
fn a_shelf_opens_with_its_initial_stock_and_records_nothing() {
    let mut item = StockItem::open("cd-11".into());
    assert_eq!(item.available(), INITIAL_STOCK);
    assert!(item.collect_events().is_empty() && in_balance(&item));
}

#[test]
fn a_shelf_that_runs_low_says_so() {
    let mut item = StockItem::open("cd-11".into());
    item.reserve(INITIAL_STOCK - REORDER_BELOW).unwrap();
    assert!(item.collect_events().is_empty());
    item.reserve(1).unwrap();
    let events = item.collect_events();
    assert_eq!(
        events.recorded::<StockRanLow>(),
        [&StockRanLow { shelf: "cd-11".into(), available: REORDER_BELOW - 1 }]
    );
    item.reorder();
    let events = item.collect_events();
    assert_eq!(
        events.recorded::<StockReordered>(),
        [&StockReordered { shelf: "cd-11".into(), quantity: REORDER_QUANTITY }]
    );
    assert_eq!(item.available(), REORDER_BELOW - 1 + REORDER_QUANTITY);
    assert!(in_balance(&item));
}

#[test]
fn nobody_reserves_more_than_is_available() {
    let mut item = StockItem::open("cd-11".into());
    item.reserve(300).unwrap();
    let refused = StockError::NotEnough { shelf: "cd-11".into(), wanted: 201, available: 200 };
    assert_eq!(item.reserve(201), Err(refused));
    assert!(item.collect_events().is_empty());
    assert_eq!(item.available(), 200);
}

#[test]
fn shipping_and_releasing_take_from_what_is_reserved() {
    let mut item = StockItem::open("cd-11".into());
    item.reserve(5).unwrap();
    item.ship(2).unwrap();
    item.release(3).unwrap();
    let expected = StockLevels { initial: 500, on_hand: 498, reserved: 0, shipped: 2, reordered: 0 };
    assert_eq!(item.levels(), expected);
    let refused = StockError::NotReserved { shelf: "cd-11".into(), wanted: 1, reserved: 0 };
    assert_eq!(item.ship(1), Err(refused.clone()));
    assert_eq!(item.release(1), Err(refused));
    assert_eq!(item.levels(), expected);
    assert!(in_balance(&item));
}

#[test]
fn a_restored_reservation_is_the_one_that_was_stored() {
    let lines: Children<_> =
        demand().iter().map(|(shelf, quantity)| ReservedLine::new(shelf.clone(), quantity)).collect();
    assert_eq!(Reservation::restore(order(), lines, Status::Held), held());
}
