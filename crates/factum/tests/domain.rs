//! The domain alone: no store, no runtime, no handler. Record, then look at what was recorded.

mod support;

use factum::{DomainEvent, Records};
use support::*;

#[test]
fn an_order_records_what_happened() {
    let mut order = Order::place(1, pen(), 4);
    order.pay().unwrap();
    assert_eq!(order.events().names(), ["OrderPlaced", "OrderPaid"]);
    assert_eq!(order.events().recorded::<OrderPaid>(), [&OrderPaid { order: 1 }]);
    assert_eq!(order.events().iter().map(DomainEvent::name).last(), Some("OrderPaid"));
    assert!(order.pay().is_err());
    assert_eq!(order.events().len(), 2, "what the rules refuse is not recorded");
}

#[test]
fn root_and_children_record_in_one_order() {
    let mut order = Order::place(1, pen(), 4);
    order.discount();
    order.pay().unwrap();
    let events = order.collect_events();
    assert_eq!(events.names(), ["OrderPlaced", "LineDiscounted", "OrderPaid"]);
    assert_eq!(events.recorded::<LineDiscounted>(), [&LineDiscounted { line: 1 }]);
    let shown = r#"[OrderPlaced { order: 1, sku: Sku("pen"), quantity: 4 }, LineDiscounted { line: 1 }, OrderPaid { order: 1 }]"#;
    assert_eq!(format!("{events:?}"), shown);
    assert!(order.collect_events().is_empty());
}

#[test]
fn a_removed_child_leaves_its_events_behind() {
    let mut order = Order::place(1, pen(), 4); // line 1
    order.add_line(2, 1);
    order.add_line(3, 1);
    order.discount(); // lines 1 to 3
    assert_eq!(order.take(2), 1);
    order.pay().unwrap();
    order.keep_only(3);
    order.discount(); // line 3
    order.empty();
    assert_eq!((order.quantity(), order.take(3)), (0, 0));
    let events = order.collect_events();
    let names =
        ["OrderPlaced", "LineDiscounted", "LineDiscounted", "LineDiscounted", "OrderPaid", "LineDiscounted"];
    assert_eq!(events.names(), names);
    let lines: Vec<_> = events.recorded::<LineDiscounted>().iter().map(|event| event.line).collect();
    assert_eq!(lines, [1, 2, 3, 3]);
    assert!(order.collect_events().is_empty());
}
