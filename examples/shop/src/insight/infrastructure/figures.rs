//! The totals of the read database, each part added up by itself, so that they can be compared.

use std::collections::BTreeMap;

use factum::{Documents, Error, Work};

use super::{CustomerValueState, DayRevenueState, OrderViewState, StandingState};
use crate::insight::domain::{CustomerValue, DayRevenue, OrderView};
use crate::tally::{Tally, each};

/// The totals of the read database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Views of confirmed orders.
    pub confirmed: Tally,
    /// Views of cancelled orders.
    pub cancelled: Tally,
    /// Days.
    pub days: u64,
    /// What the days come to.
    pub by_day: Tally,
    /// The days' sums by month, such as `1997-01`.
    pub by_month: BTreeMap<String, Tally>,
    /// Customers.
    pub customers: u64,
    /// What the customers come to.
    pub by_customer: Tally,
}

/// Adds the database up.
///
/// # Errors
///
/// The store.
pub async fn figures<S: Documents>(work: &Work<S>) -> Result<Figures, Error> {
    let mut figures = Figures::default();
    let mut uow = work.read().await?;
    each::<OrderView, S>(&mut uow, |order| figures.count_order(&order)).await?;
    each::<DayRevenue, S>(&mut uow, |day| figures.count_day(&day)).await?;
    each::<CustomerValue, S>(&mut uow, |customer| figures.count_customer(&customer)).await?;
    uow.roll_back().await;
    Ok(figures)
}

impl Figures {
    fn count_order(&mut self, order: &OrderViewState) {
        let tally = match order.standing {
            StandingState::Confirmed => &mut self.confirmed,
            StandingState::Cancelled => &mut self.cancelled,
        };
        tally.add(order.cds, order.total_cents);
    }

    fn count_day(&mut self, day: &DayRevenueState) {
        let sum = Tally { count: day.orders, cds: day.cds, amount: day.revenue_cents };
        self.days += 1;
        self.by_day += sum;
        *self.by_month.entry(day.date.year_month()).or_default() += sum;
    }

    fn count_customer(&mut self, customer: &CustomerValueState) {
        self.customers += 1;
        self.by_customer += Tally { count: customer.orders, cds: customer.cds, amount: customer.value_cents };
    }
}
