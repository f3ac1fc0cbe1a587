//! An assertion that fails lists what did happen: what was dispatched, announced, handled and rolled back.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use factum::Outcome;
use factum_testkit::World;
use support::{Bank, Order, OrderConfirmedV1, OrderPlaced, OrderPlacedV1, UnitOfWork, place, settle, start};

/// The message of the panic.
fn refusal(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("it should not have passed");
    *panic.downcast::<String>().unwrap()
}

/// A world in which a bank failed once, and order 7 went through.
async fn after_an_order() -> World {
    let mut world = World::new();
    let (ordering, _) = start(&mut world, Bank::failing(1)).await;
    place(&ordering, 7).await;
    settle(&world).await;
    world
}

#[tokio::test(start_paused = true)]
async fn every_assertion_says_what_it_expected_and_what_it_found() {
    let world = after_an_order().await;
    for (message, expected) in [
        (
            refusal(|| world.assert_dispatched(&["OrderPlaced"])),
            r#"expected ["OrderPlaced"] to be dispatched, found ["OrderPlaced", "BuyerRegistered", "OrderConfirmed"]"#,
        ),
        (
            refusal(|| world.assert_announced(&[OrderPlacedV1 { order: 8 }])),
            "expected [OrderPlacedV1 { order: 8 }] to be announced, found [OrderPlacedV1 { order: 7 }]",
        ),
        (refusal(|| world.assert_handled("payment", 2)), "expected payment to handle 2 events, found 1"),
        (
            refusal(|| world.assert_handled_of::<OrderConfirmedV1>("payment", 3)),
            "expected payment to handle 3 com.example.shop.ordering.order-confirmed.v1, found 0",
        ),
        (refusal(|| world.assert_no_failures()), "expected no failures, found"),
    ] {
        assert!(message.starts_with(expected), "{message}");
        assert!(message.ends_with(&world.story().to_string()), "it does not tell the story: {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_story_lists_each_unit_of_work_with_all_that_it_did() {
    let story = after_an_order().await.story().to_string();
    let lines = [
        "1. committed in https://shop.example/ordering",
        "dispatched OrderPlaced { order: 7, buyer: 1 } of Order 7 to [\"register_buyer\", \"order_placed\"]",
        "dispatched BuyerRegistered { buyer: 1 } of Buyer 1 to []",
        "announced com.example.shop.ordering.order-placed.v1 {\"order\":7}",
        "2. rolled back: subscription payment failed on com.example.shop.ordering.order-placed.v1 ",
        "3. committed in https://shop.example/payment",
        "payment handled com.example.shop.ordering.order-placed.v1 ",
        "announced com.example.shop.payment.payment-settled.v1 {\"order\":7}",
    ];
    let mut rest = &*story;
    for line in lines {
        let (_, after) =
            rest.split_once(line).unwrap_or_else(|| panic!("no `{line}`, in order, in:\n{story}"));
        rest = after;
    }
    for line in [
        "shipping handled com.example.shop.payment.payment-settled.v1 ",
        "dispatched OrderConfirmed { order: 7 } of Order 7 to [\"order_confirmed\"]",
        "announced com.example.shop.ordering.order-confirmed.v1 {\"order\":7}",
    ] {
        assert!(rest.contains(line), "no `{line}` in:\n{story}");
    }
}

async fn refuse_buyer_2(placed: &OrderPlaced, _: &mut UnitOfWork) -> Outcome {
    if placed.buyer == 2 { Err("buyer 2 owes us money".into()) } else { Ok(()) }
}

#[tokio::test(start_paused = true)]
async fn what_was_rolled_back_is_listed_as_such_and_not_as_dispatched_or_announced() {
    let mut world = World::new();
    let ordering = world.service(support::ORDERING, support::ordering().on(refuse_buyer_2), []).await;
    for buyer in [1, 2] {
        let placing = ordering.run(async |uow| Ok(uow.add(Order::place(buyer, buyer)))).await;
        assert_eq!(placing.is_ok(), buyer == 1);
    }
    settle(&world).await;

    let story = world.story();
    let dispatched = ["OrderPlaced { order: 1, buyer: 1 }", "BuyerRegistered { buyer: 1 }"];
    assert_eq!(story.dispatched_values(), dispatched, "{story}");
    world.assert_announced(&[OrderPlacedV1 { order: 1 }]);
    let why = "handler refuse_buyer_2 failed on OrderPlaced of Order 2: buyer 2 owes us money";
    assert_eq!(story.failures(), [why], "{story}");
    assert!(story.to_string().ends_with(&format!("2. rolled back: {why}\n")), "{story}");
}

#[tokio::test(start_paused = true)]
async fn a_world_without_failures_says_so() {
    let mut world = World::new();
    let (ordering, _) = start(&mut world, Bank::failing(0)).await;
    place(&ordering, 7).await;
    settle(&world).await;
    world.assert_no_failures();
    assert!(world.story().failures().is_empty());
}
