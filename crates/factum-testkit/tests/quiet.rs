//! Quiet is when all that follows from what a test did has happened, counted across services, and no sooner.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use factum::integration::{Inspect as _, Side};
use factum_testkit::World;
use support::{Bank, OrderConfirmedV1, OrderPlacedV1, PaymentSettledV1, place, settle, start};
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn quiet_waits_for_the_whole_chain_across_services() {
    let mut world = World::new();
    let (ordering, _) = start(&mut world, Bank::failing(0)).await;
    place(&ordering, 7).await;
    settle(&world).await;

    world.assert_dispatched(&["OrderPlaced", "BuyerRegistered", "OrderConfirmed"]);
    world.assert_announced(&[OrderPlacedV1 { order: 7 }]);
    world.assert_announced(&[PaymentSettledV1 { order: 7 }]);
    world.assert_handled("payment", 1);
    world.assert_handled("shipping", 1);
    world.assert_handled_of::<PaymentSettledV1>("ordering", 1);
    world.assert_handled_of::<OrderPlacedV1>("ordering", 0);
    world.assert_no_failures();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_waits_for_every_one_of_many_chains_on_several_threads() {
    const ORDERS: u64 = 200;
    let mut world = World::new();
    let (ordering, _) = start(&mut world, Bank::failing(0)).await;
    for order in 0..ORDERS {
        place(&ordering, order).await;
    }
    timeout(Duration::from_secs(60), world.quiet()).await.expect("a minute is more than 200 orders take");

    let story = world.story();
    assert_eq!(story.announced::<OrderConfirmedV1>().len() as u64, ORDERS, "{story}");
    assert_eq!(story.handled("shipping") as u64, ORDERS, "{story}");
    assert_eq!(ordering.store().backlog().await.unwrap().outbox, 0, "{story}");
}

#[tokio::test(start_paused = true)]
async fn a_world_in_which_nothing_happens_is_quiet_at_once() {
    let mut world = World::new();
    settle(&world).await;
    start(&mut world, Bank::failing(0)).await;
    settle(&world).await;
    assert_eq!(world.story().to_string(), "nothing has happened\n");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_in_the_world_subscribes_to_leaves_it_and_is_listed_as_announced() {
    let mut world = World::new();
    let (ordering, _) = start(&mut world, Bank::failing(0)).await;
    place(&ordering, 7).await;
    settle(&world).await;

    world.assert_announced(&[OrderConfirmedV1 { order: 7 }]);
    assert_eq!(ordering.store().backlog().await.unwrap().outbox, 0);
}

#[tokio::test(start_paused = true)]
async fn quiet_waits_for_a_subscriber_that_fails_twice_and_then_succeeds() {
    let mut world = World::new();
    let bank = Bank::failing(2);
    let calls = bank.calls.clone();
    let (ordering, payment) = start(&mut world, bank).await;
    let began = std::time::Instant::now();
    place(&ordering, 7).await;
    settle(&world).await;

    assert_eq!(calls.load(Ordering::SeqCst), 3);
    world.assert_handled("payment", 1);
    world.assert_announced(&[OrderConfirmedV1 { order: 7 }]);
    let story = world.story();
    assert_eq!(story.failures().len(), 2, "{story}");
    assert!(story.failures().iter().all(|why| why.contains("the bank does not answer")), "{story}");
    assert_eq!(payment.store().backlog().await.unwrap().dead_letters, 0, "{story}");
    assert!(began.elapsed() < Duration::from_secs(5), "the backoff took real time: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_parked_dead_letter_stays_parked_and_quiet_still_comes() {
    let mut world = World::new();
    let (ordering, payment) = start(&mut world, Bank::failing(u32::MAX)).await;
    let began = Instant::now();
    place(&ordering, 7).await;
    settle(&world).await;
    assert!(began.elapsed() > Duration::ZERO, "ten attempts without a backoff");

    world.publish(support::ORDERING, &OrderPlacedV1 { order: 8 }).await;
    let again = world.publish(support::ORDERING, &OrderPlacedV1 { order: 7 }).await;
    settle(&world).await;

    let story = world.story();
    assert_eq!((story.handled("payment"), story.parked("payment")), (0, 1), "{story}");
    assert!(story.to_string().contains(&format!("payment parked {} {}", again.r#type, again.id)), "{story}");
    let backlog = payment.store().backlog().await.unwrap();
    assert_eq!((backlog.dead_letters, backlog.parked), (2, 1), "{story}");
    let letters = payment.store().dead_letters(2).await.unwrap();
    assert!(letters.iter().all(|letter| letter.side == Side::Subscription("payment".into())), "{letters:?}");
    world.assert_announced::<PaymentSettledV1>(&[]);
}
