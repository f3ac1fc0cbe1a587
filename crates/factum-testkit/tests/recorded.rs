//! What an entity has recorded is compared by value, with no runtime and no world.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use factum::Records;
use factum_testkit::{Expected, assert_recorded};
use support::{LineAdded, Order, OrderConfirmed, OrderPlaced};

/// The message of the panic.
fn refusal(entity: &mut impl Records, expected: &[&dyn Expected]) -> String {
    let asserting = AssertUnwindSafe(|| assert_recorded(entity, expected));
    *catch_unwind(asserting).expect_err("it should not have passed").downcast::<String>().unwrap()
}

#[test]
fn root_and_children_are_compared_in_one_order() {
    let mut order = Order::place(7, 1).with_line(1, 3).with_line(2, 5);
    order.confirm();
    assert_recorded(
        &mut order,
        &[
            &OrderPlaced { order: 7, buyer: 1 },
            &LineAdded { line: 1, cds: 3 },
            &LineAdded { line: 2, cds: 5 },
            &OrderConfirmed { order: 7 },
        ],
    );
}

#[test]
fn what_was_asserted_is_taken() {
    let mut order = Order::place(7, 1);
    assert_recorded(&mut order, &[&OrderPlaced { order: 7, buyer: 1 }]);
    assert_recorded(&mut order, &[]);
    order.confirm();
    assert_recorded(&mut order, &[&OrderConfirmed { order: 7 }]);
}

#[test]
fn another_value_another_order_and_another_number_are_refused() {
    let wrong: [&[&dyn Expected]; 5] = [
        &[&OrderPlaced { order: 8, buyer: 1 }, &LineAdded { line: 1, cds: 3 }],
        &[&LineAdded { line: 1, cds: 3 }, &OrderPlaced { order: 7, buyer: 1 }],
        &[&OrderPlaced { order: 7, buyer: 1 }],
        &[&OrderPlaced { order: 7, buyer: 1 }, &LineAdded { line: 1, cds: 3 }, &OrderConfirmed { order: 7 }],
        &[],
    ];
    let differing = [1, 1, 2, 3, 1];
    for (expected, event) in wrong.into_iter().zip(differing) {
        let message = refusal(&mut Order::place(7, 1).with_line(1, 3), expected);
        assert!(message.ends_with(&format!("event {event} differs")), "{message}");
    }
}

#[test]
fn the_message_lists_what_was_expected_and_what_was_recorded() {
    let mut order = Order::place(7, 1);
    order.confirm();
    let message = refusal(&mut order, &[&OrderPlaced { order: 8, buyer: 1 }]);
    let (expected, found) = message.split_once("to be recorded, found").unwrap();
    assert!(expected.contains("order: 8"), "{message}");
    assert!(found.contains("OrderPlaced") && found.contains("order: 7"), "{message}");
    assert!(found.contains("OrderConfirmed"), "{message}");
}
