//! Aggregates as documents: versions, identity, snapshots.

use factum::{Documents as _, Error, Sort, Written};

use super::model::Item;
use super::support::{items, value, work};
use super::{StoreFixture, WholeStore};

/// A document goes through its whole life.
pub async fn a_document_is_inserted_changed_and_removed<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let id = "one".to_owned();
    let mut uow = work(&store).begin().await.unwrap();
    let item = uow.add(Item::new("one"));
    uow[item].add(5);
    let changes = uow.save_changes().await.unwrap();
    assert_eq!((changes.written, value(&store, "one").await), (1, Some(5)));

    let mut uow = work(&store).begin().await.unwrap();
    let item = uow.load::<Item>(&id).await.unwrap();
    uow[item].add(2);
    let _ = uow.save_changes().await.unwrap();
    assert_eq!(value(&store, "one").await, Some(7));

    let mut uow = work(&store).begin().await.unwrap();
    let item = uow.load::<Item>(&id).await.unwrap();
    uow.remove(item);
    let _ = uow.save_changes().await.unwrap();
    assert_eq!((value(&store, "one").await, items(&store).await), (None, 0));
    let mut uow = work(&store).begin().await.unwrap();
    assert!(matches!(uow.load::<Item>(&id).await, Err(Error::NotFound { .. })));
    uow.roll_back().await;
}

/// Who writes on an old version changes nothing, and learns of it.
pub async fn a_stale_version_changes_nothing_and_is_a_conflict<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    let _ = uow.save_changes().await.unwrap();

    let mut uow = work(&store).begin().await.unwrap();
    let item = uow.load::<Item>(&"one".into()).await.unwrap();
    let connection = uow.connection().await.unwrap();
    let (document, version) = F::Store::get(connection, "items", "one").await.unwrap().unwrap();
    assert_eq!(version, 1);
    let put = |version| (version, document.clone());
    let (expected, same) = put(Some(2));
    assert_eq!(F::Store::put(connection, "items", "one", expected, same).await.unwrap(), Written::Stale);
    assert_eq!(F::Store::delete(connection, "items", "one", 2).await.unwrap(), Written::Stale);
    let (expected, same) = put(Some(1));
    assert_eq!(F::Store::put(connection, "items", "one", expected, same).await.unwrap(), Written::Fresh);
    let (expected, same) = put(Some(1));
    assert_eq!(F::Store::put(connection, "items", "one", expected, same).await.unwrap(), Written::Stale);
    uow[item].add(1);
    let error = uow.save_changes().await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { aggregate: "Item", id } if id.contains("one")), "{error}");
    assert_eq!(error.sort::<F::Store>(), Sort::Conflict);
    assert_eq!(value(&store, "one").await, Some(0));
}

/// An insert expects that nobody was there.
pub async fn a_twin_cannot_be_inserted<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    for (amount, is_first) in [(1, true), (2, false)] {
        let mut uow = work(&store).begin().await.unwrap();
        let item = uow.add(Item::new("one"));
        uow[item].add(amount);
        match uow.save_changes().await {
            Ok(_) => assert!(is_first),
            Err(error) => assert!(!is_first && matches!(error, Error::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(value(&store, "one").await, Some(1));
}

/// Pages are complete, sorted by bytes, and see what the transaction has written.
pub async fn a_collection_is_scanned_in_the_order_of_ids<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    for id in ["b", "ä", "a", "B", "a1"] {
        uow.add(Item::new(id));
    }
    let _ = uow.save_changes().await.unwrap();
    let mut uow = work(&store).begin().await.unwrap();
    assert_eq!(page(&mut uow, "", 9).await, ["B", "a", "a1", "b", "ä"]);
    assert_eq!(page(&mut uow, "", 2).await, ["B", "a"]);
    assert_eq!(page(&mut uow, "a", 2).await, ["a1", "b"]);
    assert_eq!(page(&mut uow, "ä", 2).await, [""; 0]);
    let removed = uow.load::<Item>(&"a".into()).await.unwrap();
    uow.remove(removed);
    uow.add(Item::new("aa"));
    uow.write_changes().await.unwrap();
    assert_eq!(page(&mut uow, "B", 3).await, ["a1", "aa", "b"]);
    uow.roll_back().await;
}

async fn page<S: WholeStore>(uow: &mut factum::UnitOfWork<S>, after: &str, most: usize) -> Vec<String> {
    uow.scan::<Item>(after, most).await.unwrap().into_iter().map(|(id, _)| id).collect()
}

/// The identity map.
pub async fn the_same_id_is_the_same_instance<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    let added = uow.add(Item::new("one"));
    uow[added].add(1);
    assert_eq!(uow.load::<Item>(&"one".into()).await.unwrap(), added);
    let _ = uow.save_changes().await.unwrap();

    let mut uow = work(&store).begin().await.unwrap();
    let first = uow.load::<Item>(&"one".into()).await.unwrap();
    uow[first].add(10);
    let second = uow.load::<Item>(&"one".into()).await.unwrap();
    assert_eq!((first, uow[second].value()), (second, 11));
    let _ = uow.save_changes().await.unwrap();
    assert_eq!(value(&store, "one").await, Some(11));
}

/// Reading waits for no writer, sees one moment, and changes nothing.
pub async fn a_read_only_unit_of_work_sees_one_snapshot_and_refuses_changes<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mut uow = work(&store).begin().await.unwrap();
    uow.add(Item::new("one"));
    let _ = uow.save_changes().await.unwrap();

    let mut reader = work(&store).read().await.unwrap();
    assert_eq!(page(&mut reader, "", 9).await, ["one"]);
    let mut uow = work(&store).begin().await.unwrap();
    let item = uow.load::<Item>(&"one".into()).await.unwrap();
    uow[item].add(5);
    uow.add(Item::new("two"));
    let _ = uow.save_changes().await.unwrap();
    assert_eq!(page(&mut reader, "", 9).await, ["one"]);
    let item = reader.load::<Item>(&"one".into()).await.unwrap();
    assert_eq!(reader[item].value(), 0);

    let connection = reader.connection().await.unwrap();
    let put = F::Store::put(connection, "items", "three", None, b"{}".to_vec()).await;
    assert!(put.is_err(), "{put:?}");
    reader.roll_back().await;

    let mut reader = work(&store).read().await.unwrap();
    let item = reader.load::<Item>(&"one".into()).await.unwrap();
    reader[item].add(1);
    let error = reader.save_changes().await.unwrap_err();
    assert_eq!((error.sort::<F::Store>(), value(&store, "one").await), (Sort::Misuse, Some(5)));
    assert_eq!(items(&store).await, 2);
}
