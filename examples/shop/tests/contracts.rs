//! What a service reads of another is what the other publishes: every reader against the publisher's golden
//! file, and against that of a later version that has more in it.

use factum::IntegrationEvent;
use serde_json::{Value, json};

use shop::{insight, inventory, ordering, payment};

fn assert_reads<E: IntegrationEvent>(published: &str, golden: &str) -> E {
    assert_eq!(E::TYPE, published);
    let event: E = serde_json::from_str(golden).unwrap();
    let mut later: Value = serde_json::from_str(golden).unwrap();
    later.as_object_mut().unwrap().insert("added_later".to_owned(), json!([1]));
    let same: E = serde_json::from_value(later).unwrap();
    assert_eq!(event.key(), same.key());
    assert_eq!(event.key().as_deref(), Some("00000000-0000-0000-0000-000000000007"));
    event
}

#[test]
fn ordering_reads_the_answers_of_inventory_and_payment() {
    use ordering::application::*;
    assert_reads::<StockReserved>(
        inventory::published::StockReservedV1::TYPE,
        include_str!("../src/inventory/published/golden/stock-reserved.v1.json"),
    );
    assert_reads::<StockRefused>(
        inventory::published::StockRefusedV1::TYPE,
        include_str!("../src/inventory/published/golden/stock-refused.v1.json"),
    );
    assert_reads::<PaymentSettled>(
        payment::published::PaymentSettledV1::TYPE,
        include_str!("../src/payment/published/golden/payment-settled.v1.json"),
    );
    assert_reads::<PaymentDeclined>(
        payment::published::PaymentDeclinedV1::TYPE,
        include_str!("../src/payment/published/golden/payment-declined.v1.json"),
    );
}

#[test]
fn inventory_reads_orders() {
    use inventory::application::*;
    let placed = assert_reads::<OrderPlaced>(
        ordering::published::OrderPlacedV1::TYPE,
        include_str!("../src/ordering/published/golden/order-placed.v1.json"),
    );
    let demand: Vec<_> =
        placed.demand().iter().map(|(shelf, quantity)| (shelf.to_string(), quantity)).collect();
    assert_eq!(demand, [("cd-11".to_owned(), 1), ("cd-7".to_owned(), 3)]);
    assert_reads::<OrderConfirmed>(
        ordering::published::OrderConfirmedV1::TYPE,
        include_str!("../src/ordering/published/golden/order-confirmed.v1.json"),
    );
    assert_reads::<OrderCancelled>(
        ordering::published::OrderCancelledV1::TYPE,
        include_str!("../src/ordering/published/golden/order-cancelled.v1.json"),
    );
}

#[test]
fn payment_reads_what_is_due() {
    let accepted = assert_reads::<payment::application::OrderAccepted>(
        ordering::published::OrderAcceptedV1::TYPE,
        include_str!("../src/ordering/published/golden/order-accepted.v1.json"),
    );
    assert_eq!(accepted.amount_due_cents.cents(), 3_478);
}

#[test]
fn insight_reads_closed_orders() {
    use insight::domain::{OrderView, Standing};
    let confirmed = assert_reads::<insight::application::OrderConfirmed>(
        ordering::published::OrderConfirmedV1::TYPE,
        include_str!("../src/ordering/published/golden/order-confirmed.v1.json"),
    );
    let cancelled = assert_reads::<insight::application::OrderCancelled>(
        ordering::published::OrderCancelledV1::TYPE,
        include_str!("../src/ordering/published/golden/order-cancelled.v1.json"),
    );
    let view = confirmed.view();
    assert_eq!((view.customer.0, view.cds, view.total.cents()), (42, 4, 3_478));
    assert_eq!(view.date.to_string(), "1997-01-12");
    assert_eq!(view.standing, Standing::Confirmed);
    assert_eq!(cancelled.view(), OrderView { standing: Standing::Cancelled, ..view });
}
