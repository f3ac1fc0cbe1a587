//! How the read model counts. No runtime, no database.

use super::*;
use crate::kernel::{Date, Money};

#[test]
fn a_day_and_a_customer_add_up_their_orders() {
    let date = Date::new(1997, 1, 12).unwrap();
    let mut day = DayRevenue::of(date);
    let mut customer = CustomerValue::of(CustomerId(42));
    for (cds, cents) in [(1, 1_177), (3, 0)] {
        day.count(cds, Money::from_cents(cents));
        customer.count(cds, Money::from_cents(cents));
    }
    let sum = Money::from_cents(1_177);
    assert_eq!(day, DayRevenue { date, orders: 2, cds: 4, revenue: sum });
    assert_eq!(customer, CustomerValue { customer: CustomerId(42), orders: 2, cds: 4, value: sum });
}
