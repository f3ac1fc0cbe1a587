//! The parts of the read model as documents.

use factum::Document;
use serde::{Deserialize, Serialize};

use crate::insight::domain::{CustomerId, CustomerValue, DayRevenue, OrderView, Standing};
use crate::kernel::{Date, Money, OrderId};

/// What is stored of a closed order.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderViewState {
    /// The order.
    pub order: OrderId,
    /// Who placed it.
    pub customer: u64,
    /// On which day.
    pub date: Date,
    /// How many CDs.
    pub cds: u64,
    /// For how much, in cents.
    pub total_cents: Money,
    /// What became of it.
    pub standing: StandingState,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandingState {
    /// It was paid.
    Confirmed,
    /// It was not fulfilled.
    Cancelled,
}

impl Document for OrderView {
    const COLLECTION: &'static str = "order-views";
    type State = OrderViewState;

    fn state(&self) -> OrderViewState {
        OrderViewState {
            order: self.order,
            customer: self.customer.0,
            date: self.date,
            cds: self.cds,
            total_cents: self.total,
            standing: match self.standing {
                Standing::Confirmed => StandingState::Confirmed,
                Standing::Cancelled => StandingState::Cancelled,
            },
        }
    }

    fn restore(state: OrderViewState) -> Self {
        Self {
            order: state.order,
            customer: CustomerId(state.customer),
            date: state.date,
            cds: state.cds,
            total: state.total_cents,
            standing: match state.standing {
                StandingState::Confirmed => Standing::Confirmed,
                StandingState::Cancelled => Standing::Cancelled,
            },
        }
    }
}

/// What is stored of a day.
#[derive(Debug, Serialize, Deserialize)]
pub struct DayRevenueState {
    /// The day.
    pub date: Date,
    /// Its confirmed orders.
    pub orders: u64,
    /// Their CDs.
    pub cds: u64,
    /// What they come to, in cents.
    pub revenue_cents: Money,
}

impl Document for DayRevenue {
    const COLLECTION: &'static str = "days";
    type State = DayRevenueState;

    fn state(&self) -> DayRevenueState {
        DayRevenueState { date: self.date, orders: self.orders, cds: self.cds, revenue_cents: self.revenue }
    }

    fn restore(state: DayRevenueState) -> Self {
        Self { date: state.date, orders: state.orders, cds: state.cds, revenue: state.revenue_cents }
    }
}

/// What is stored of a customer.
#[derive(Debug, Serialize, Deserialize)]
pub struct CustomerValueState {
    /// Who.
    pub customer: u64,
    /// The confirmed orders.
    pub orders: u64,
    /// Their CDs.
    pub cds: u64,
    /// What they come to, in cents.
    pub value_cents: Money,
}

impl Document for CustomerValue {
    const COLLECTION: &'static str = "customers";
    type State = CustomerValueState;

    fn state(&self) -> CustomerValueState {
        CustomerValueState {
            customer: self.customer.0,
            orders: self.orders,
            cds: self.cds,
            value_cents: self.value,
        }
    }

    fn restore(state: CustomerValueState) -> Self {
        Self {
            customer: CustomerId(state.customer),
            orders: state.orders,
            cds: state.cds,
            value: state.value_cents,
        }
    }
}
