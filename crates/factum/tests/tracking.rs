//! The change tracker is ownership: identity, keys, removal, and what a save writes.

mod support;

use factum::memory::MemoryStore;
use factum::{Dispatcher, Error, Sort, Work};
use support::*;

#[tokio::test]
async fn the_same_id_is_the_same_instance() {
    let (_, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    let a = uow.load::<Stock>(&pen()).await.unwrap();
    uow[a].give(10);
    let b = uow.load::<Stock>(&pen()).await.unwrap();
    assert_eq!((a, uow[b].left()), (b, 15));
    let missing = uow.load::<Stock>(&sku("ufo")).await.unwrap_err();
    assert_eq!(missing.to_string(), r#"Stock Sku("ufo") was not found"#);
    assert_eq!(uow.find::<Order>(&1).await.unwrap(), None);
}

#[tokio::test]
async fn values_move_between_aggregates() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    let order = uow.add(Order::place(1, pen(), 4));
    let ink_stock = uow.load::<Stock>(&ink()).await.unwrap();
    let n = uow[order].take(1);
    uow[ink_stock].give(n);
    assert!(uow.both_mut(order, order).is_none());
    let (order, stock) = uow.both_mut(order, ink_stock).unwrap();
    order.add_line(2, 7);
    stock.give(order.quantity());
    let changes = uow.save_changes().await.unwrap();
    assert_eq!((left(&store, &ink()).await, left(&store, &pen()).await), (Some(20), Some(1)));
    assert_eq!((quantity(&store, 1).await, changes.written), (Some(7), 3));
}

#[tokio::test]
async fn reading_does_not_write() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    let stock = uow.load::<Stock>(&pen()).await.unwrap();
    assert_eq!(uow[stock].left(), 5);
    assert_eq!(uow.save_changes().await.unwrap().written, 0);
    let mut uow = work.begin().await.unwrap();
    assert_eq!(uow.connection().await.unwrap().get("stock", "pen").unwrap().unwrap().version, 1);
    assert_eq!(left(&store, &pen()).await, Some(5));
}

#[tokio::test]
async fn rows_that_were_written_early_are_counted_too() {
    let (_, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    let stock = uow.add(Stock::new(sku("nib"), 1));
    uow.write_changes().await.unwrap();
    uow[stock].give(1);
    uow.write_changes().await.unwrap();
    uow.write_changes().await.unwrap();
    assert_eq!(uow.save_changes().await.unwrap().written, 2);
}

#[tokio::test]
#[should_panic(expected = "keys do not travel")]
async fn a_key_opens_only_its_own_unit_of_work() {
    let (_, work) = shop().await;
    let mut one = work.begin().await.unwrap();
    let mut two = work.begin().await.unwrap();
    let stock = one.load::<Stock>(&pen()).await.unwrap();
    two.load::<Stock>(&ink()).await.unwrap(); // the same slot of the other
    assert!(two.get(stock).is_none() && two.get_mut(stock).is_none());
    let _ = &two[stock];
}

#[tokio::test]
#[should_panic(expected = "was removed")]
async fn the_key_of_a_removed_aggregate_opens_nothing() {
    let (_, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    let stock = uow.load::<Stock>(&pen()).await.unwrap();
    uow.remove(stock);
    assert!(uow.get(stock).is_none());
    uow[stock].give(1);
}

#[tokio::test]
async fn removed_is_gone_and_its_events_are_not() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    let stock = uow.load::<Stock>(&pen()).await.unwrap();
    uow[stock].reserve(4).unwrap(); // records StockRanLow
    uow.remove(stock);
    assert!(uow.get(stock).is_none());
    assert_eq!(uow.find::<Stock>(&pen()).await.unwrap(), None);
    let _ = uow.save_changes().await.unwrap();
    assert_eq!((left(&store, &pen()).await, log(&store).await), (None, vec!["warned buyers".into()]));
}

#[tokio::test]
async fn what_was_added_and_removed_is_never_written_and_its_events_are_dispatched() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    let order = uow.add(Order::place(1, pen(), 1));
    uow.remove(order);
    let changes = uow.save_changes().await.unwrap();
    assert_eq!((changes.dispatched, changes.written, changes.announced.len()), (1, 1, 1));
    assert_eq!((quantity(&store, 1).await, left(&store, &pen()).await), (None, Some(4)));
}

#[tokio::test]
async fn removed_can_be_replaced_but_tracked_cannot() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    let old = uow.load::<Stock>(&pen()).await.unwrap();
    uow.remove(old);
    let new = uow.add(Stock::new(pen(), 77));
    assert_eq!(uow.load::<Stock>(&pen()).await.unwrap(), new);
    let _ = uow.save_changes().await.unwrap();
    assert_eq!(left(&store, &pen()).await, Some(77));

    let mut uow = work.begin().await.unwrap();
    uow.load::<Stock>(&pen()).await.unwrap();
    uow.add(Stock::new(pen(), 1));
    let error = uow.save_changes().await.unwrap_err();
    assert_eq!(error.to_string(), r#"Stock Sku("pen") is already in this unit of work"#);
    assert_eq!((error.sort::<MemoryStore>(), left(&store, &pen()).await), (Sort::Misuse, Some(77)));
}

#[tokio::test]
async fn a_conflict_that_somebody_swallowed_comes_back_at_the_save() {
    let store = stocked().await;
    let work = Work::new(ORDERING, store.clone(), Dispatcher::new());
    let mut uow = work.begin().await.unwrap();
    let stock = uow.load::<Stock>(&pen()).await.unwrap();
    let mut rival = work.begin().await.unwrap();
    let theirs = rival.load::<Stock>(&pen()).await.unwrap();
    rival[theirs].give(1);
    let _ = rival.save_changes().await.unwrap();
    uow[stock].give(10);
    assert!(matches!(uow.write_changes().await, Err(Error::Conflict { .. })));
    assert!(matches!(uow.save_changes().await, Err(Error::Conflict { .. })));
    assert_eq!(left(&store, &pen()).await, Some(6));
}

#[tokio::test]
async fn a_read_only_unit_of_work_refuses_to_add_to_change_and_to_announce() {
    let (store, work) = shop().await;
    let mut uow = work.read().await.unwrap();
    assert!(matches!(uow.announce(&OrderPlacedV1 { order: 1, quantity: 1 }), Err(Error::ReadOnly { .. })));
    uow.add(Stock::new(sku("nib"), 1));
    assert!(matches!(uow.save_changes().await, Err(Error::ReadOnly { what: "`add`" })));

    let mut uow = work.read().await.unwrap();
    let stock = uow.load::<Stock>(&pen()).await.unwrap();
    uow[stock].give(1);
    let error = uow.save_changes().await.unwrap_err();
    assert_eq!((error.sort::<MemoryStore>(), left(&store, &pen()).await), (Sort::Misuse, Some(5)));
}

#[tokio::test]
async fn a_conflict_over_one_document_leaves_those_written_with_it_written() {
    let work = Work::new(ORDERING, MemoryStore::new(), Dispatcher::new());
    let mut uow = work.begin().await.unwrap();
    uow.add(Order::place(1, pen(), 1));
    uow.add(Order::place(2, pen(), 1));
    let _ = uow.save_changes().await.unwrap();

    let mut uow = work.begin().await.unwrap();
    let taken = uow.add(Order::place(1, pen(), 5));
    let order = uow.load::<Order>(&2).await.unwrap();
    uow[order].add_line(2, 7);
    assert!(matches!(uow.write_changes().await, Err(Error::Conflict { .. })));
    uow.remove(taken);
    assert_eq!(uow.save_changes().await.unwrap().written, 1);
    assert_eq!((quantity(work.store(), 1).await, quantity(work.store(), 2).await), (Some(1), Some(8)));
}

#[tokio::test]
async fn a_misuse_that_somebody_swallowed_comes_back_at_the_save() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    uow.load::<Stock>(&pen()).await.unwrap();
    uow.add(Stock::new(pen(), 1));
    assert!(matches!(uow.write_changes().await, Err(Error::AlreadyTracked { .. })));
    assert!(matches!(uow.save_changes().await, Err(Error::AlreadyTracked { .. })));
    assert_eq!(left(&store, &pen()).await, Some(5));
}
