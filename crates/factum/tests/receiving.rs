//! Receiving: the inbox row commits with the effects, and what a delivery leads to has ids of its own making.

mod support;

use std::sync::Arc;

use factum::memory::MemoryStore;
use factum::port::{BucketSet, Claim, OutboxStore as _, Read};
use factum::{
    Committed, Context, Dispatcher, Envelope, Error, IntegrationEvent as _, Outcome, Received, Subscription,
    Work, Written,
};
use support::*;

const ALL: Read =
    Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 100, bytes_max: 1 << 20 };

async fn outbox(store: &MemoryStore) -> Vec<Envelope> {
    store.read(ALL).await.unwrap().rows.into_iter().map(|row| Committed::into_inner(row.envelope)).collect()
}

/// What ordering has announced, with all of its context.
async fn placed(order: u64) -> Arc<Envelope> {
    let (store, work) = shop().await;
    let context = Context::of(ORDERING)
        .correlation("conversation")
        .trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .tenant("north");
    let mut uow = work.with(context).begin().await.unwrap();
    uow.add(Order::place(order, pen(), 1));
    let _ = uow.save_changes().await.unwrap();
    Arc::new(outbox(&store).await.remove(0))
}

fn billing(store: &MemoryStore) -> Work<MemoryStore> {
    Work::new(BILLING, store.clone(), Dispatcher::new())
}

#[tokio::test]
async fn the_inbox_absorbs_redelivery() {
    let store = MemoryStore::new();
    let event = placed(9).await;
    let subscriptions = [
        Subscription::named("shipping").on(ship_order),
        Subscription::named("billing").on(bill_order).on(Remind { after: 30 }), // a set of types
    ];
    for claim in [Claim::First, Claim::Duplicate] {
        for subscription in &subscriptions {
            let received = billing(&store).receive(subscription, &[Arc::clone(&event)], false).await.unwrap();
            assert_eq!(received.claims, [claim]);
        }
    }
    assert_eq!(log(&store).await, ["shipped 9", "billed 9"]);
    let billed = Arc::new(outbox(&store).await.remove(0));
    assert_eq!(*billed.r#type, *OrderBilledV1::TYPE);
    billing(&store).receive(&subscriptions[1], &[billed], false).await.unwrap();
    assert_eq!(log(&store).await[2..], ["remind 9 after 30 days"]);
}

#[tokio::test]
async fn what_a_delivery_leads_to_goes_on_with_its_conversation_in_this_services_name() {
    let store = MemoryStore::new();
    let event = placed(9).await;
    let subscription = Subscription::named("billing").on(bill_order);
    billing(&store).receive(&subscription, &[Arc::clone(&event)], false).await.unwrap();
    let told = outbox(&store).await.remove(0);
    assert_eq!((&*told.source, told.causationid.as_ref()), (BILLING, Some(&event.id)));
    assert_eq!(told.correlationid.as_deref(), Some("conversation"));
    assert_eq!(told.traceparent, event.traceparent);
    assert_eq!(told.extensions.get("tenant").map(|tenant| &**tenant), Some("north"));
}

#[tokio::test]
async fn a_repeated_delivery_announces_under_the_same_id() {
    let event = placed(9).await;
    let announced = async |name| {
        // Each time on a database that lost what it knew.
        let store = MemoryStore::new();
        let subscription = Subscription::named(name).on(bill_order);
        billing(&store).receive(&subscription, &[Arc::clone(&event)], false).await.unwrap();
        outbox(&store).await.remove(0).id
    };
    assert_eq!(announced("billing").await, announced("billing").await);
    assert_ne!(announced("billing").await, announced("other").await);
}

#[tokio::test]
async fn a_delivery_that_cannot_be_decoded_or_has_no_taker_fails_and_says_so() {
    let store = MemoryStore::new();
    let subscription = Subscription::named("billing").on(bill_order);
    let mut event = Envelope::clone(&*placed(9).await);
    event.data = br#"{"order":"nine"}"#.as_slice().into();
    let error = billing(&store).receive(&subscription, &[Arc::new(event.clone())], false).await.unwrap_err();
    assert!(matches!(&error, Error::Subscriber { id, .. } if *id == *event.id.as_str()), "{error}");
    assert!(error.to_string().contains("subscription billing failed"), "{error}");
    event.r#type = "com.example.unheard-of.v1".into();
    let error = billing(&store).receive(&subscription, &[Arc::new(event)], false).await.unwrap_err();
    assert!(error.to_string().contains("nobody here takes the type com.example.unheard-of.v1"), "{error}");
    assert!(log(&store).await.is_empty() && outbox(&store).await.is_empty());
}

/// Takes the next free name, by a query of its own.
async fn stock_the_next(_: &Received<OrderPlacedV1>, uow: &mut UnitOfWork) -> Outcome {
    let next = uow.connection().await?.list("stock")?.len();
    uow.add(Stock::new(sku(&next.to_string()), 1));
    Ok(())
}

#[tokio::test]
async fn a_subscribers_own_query_sees_what_the_deliveries_before_it_did() {
    let store = MemoryStore::new();
    let subscription = Subscription::named("stocking").on(stock_the_next);
    let events = [placed(1).await, placed(2).await];
    billing(&store).receive(&subscription, &events, false).await.unwrap();
    assert_eq!((left(&store, &sku("0")).await, left(&store, &sku("1")).await), (Some(1), Some(1)));
}

/// Inserts by SQL what it does not find.
async fn stock_by_sql(_: &Received<OrderPlacedV1>, uow: &mut UnitOfWork) -> Outcome {
    match uow.find::<Stock>(&sku("nib")).await? {
        Some(stock) => uow[stock].give(1),
        None => {
            let written = uow.connection().await?.put("stock", "nib", None, b"1".to_vec())?;
            assert_eq!(written, Written::Fresh, "it was there, and not found");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_was_preloaded_as_absent_is_found_once_a_subscriber_has_put_it_there() {
    let store = MemoryStore::new();
    let subscription =
        Subscription::named("stocking").on(stock_by_sql).preloading::<OrderPlacedV1, Stock>(|_| sku("nib"));
    let events = [placed(1).await, placed(2).await];
    billing(&store).receive(&subscription, &events, false).await.unwrap();
    assert_eq!(left(&store, &sku("nib")).await, Some(2));
}

#[tokio::test]
async fn one_event_twice_in_a_batch_is_handled_once() {
    let store = MemoryStore::new();
    let subscription = Subscription::named("billing").on(bill_order);
    let event = placed(9).await;
    let copies = [Arc::clone(&event), Arc::new(Envelope::clone(&event))];
    let received = billing(&store).receive(&subscription, &copies, false).await.unwrap();
    assert_eq!(received.claims, [Claim::First, Claim::Duplicate]);
    assert_eq!((log(&store).await, outbox(&store).await.len()), (vec!["billed 9".into()], 1));
}
