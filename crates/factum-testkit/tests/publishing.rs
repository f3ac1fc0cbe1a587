//! A test may play a service that is not in the world: it publishes by hand, more than once where it likes.

mod support;

use factum::{Dispatcher, Subscription};
use factum_testkit::World;
use support::{Bank, ORDERING, OrderConfirmedV1, OrderPlacedV1, PAYMENT, PaymentSettledV1, settle, start};

async fn with_payment() -> World {
    let mut world = World::new();
    let payments = Subscription::named("payment").on(Bank::failing(0));
    world.service(PAYMENT, Dispatcher::new(), [payments]).await;
    world
}

#[tokio::test(start_paused = true)]
async fn what_is_published_was_handled_when_publishing_ends() {
    let world = with_payment().await;
    world.publish(ORDERING, &OrderPlacedV1 { order: 7 }).await;
    world.assert_handled("payment", 1);
    settle(&world).await;
    world.assert_announced(&[PaymentSettledV1 { order: 7 }]);
}

#[tokio::test(start_paused = true)]
async fn the_same_event_published_twice_is_two_events() {
    let world = with_payment().await;
    world.publish(ORDERING, &OrderPlacedV1 { order: 7 }).await;
    world.publish(ORDERING, &OrderPlacedV1 { order: 7 }).await;
    settle(&world).await;
    world.assert_handled("payment", 2);
    assert_eq!(world.story().absorbed("payment"), 0, "{}", world.story());
}

#[tokio::test(start_paused = true)]
async fn an_envelope_that_is_published_again_is_absorbed() {
    let world = with_payment().await;
    let envelope = world.publish(ORDERING, &OrderPlacedV1 { order: 7 }).await;
    world.publish_again(&envelope).await;
    world.publish_again(&envelope).await;
    settle(&world).await;

    let story = world.story();
    assert_eq!((story.handled("payment"), story.absorbed("payment")), (1, 2), "{story}");
    assert_eq!(story.absorbed("shipping"), 0, "{story}");
    world.assert_announced(&[PaymentSettledV1 { order: 7 }]);
}

#[tokio::test(start_paused = true)]
#[should_panic(
    expected = "order-confirmed.v1 was not taken: no subscription in this world takes it; this happened:\
                           \nnothing has happened"
)]
async fn publishing_what_nobody_takes_panics() {
    with_payment().await.publish(ORDERING, &OrderConfirmedV1 { order: 7 }).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "announced com.example.shop.payment.payment-settled.v1 {\"order\":7}")]
async fn that_panic_lists_what_happened() {
    let world = with_payment().await;
    world.publish(ORDERING, &OrderPlacedV1 { order: 7 }).await;
    world.publish(ORDERING, &OrderConfirmedV1 { order: 7 }).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "subscription `payment` takes no type")]
async fn a_subscription_that_cannot_work_is_refused_when_the_service_starts() {
    let mut world = World::new();
    world.service(PAYMENT, Dispatcher::new(), [Subscription::named("payment")]).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_for_two_subscriptions_is_handled_by_both() {
    let mut world = World::new();
    let (ordering, _) = start(&mut world, Bank::failing(0)).await;
    support::place(&ordering, 7).await;
    settle(&world).await;
    world.publish(PAYMENT, &PaymentSettledV1 { order: 7 }).await;
    world.assert_handled_of::<PaymentSettledV1>("ordering", 2);
    world.assert_handled_of::<PaymentSettledV1>("shipping", 2);
}
