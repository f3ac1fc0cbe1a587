//! An order as a document, its lines inside it: an aggregate is stored as a whole.

use factum::{Document, Entity};
use serde::{Deserialize, Serialize};

use crate::kernel::{Date, Money, OrderId};
use crate::ordering::domain::{BuyerId, CancelReason, LineItem, LineNumber, Order, OrderLine, Status};

/// What is stored of an order.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderState {
    /// The id.
    pub id: OrderId,
    /// Who placed it.
    pub buyer: u64,
    /// On which day.
    pub date: Date,
    /// What was ordered.
    pub lines: Vec<LineState>,
    /// How far it is.
    pub status: StatusState,
}

/// What is stored of a line.
#[derive(Debug, Serialize, Deserialize)]
pub struct LineState {
    /// Its number within the order.
    pub number: u32,
    /// Where the CDs come from.
    pub shelf: String,
    /// How many CDs.
    pub quantity: u32,
    /// For how much in all, in cents.
    pub amount_cents: Money,
    /// Whether stock is held for it.
    pub allocated: bool,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusState {
    /// It waits for stock.
    Placed,
    /// It waits for payment.
    Accepted,
    /// It is paid.
    Confirmed,
    /// Cancelled: there was no stock.
    StockRefused,
    /// Cancelled: payment was declined.
    PaymentDeclined,
}

impl Document for Order {
    const COLLECTION: &'static str = "orders";
    type State = OrderState;

    fn state(&self) -> OrderState {
        OrderState {
            id: *self.id(),
            buyer: self.buyer().0,
            date: self.date(),
            lines: self.lines().iter().map(line_state).collect(),
            status: self.status().into(),
        }
    }

    fn restore(state: OrderState) -> Self {
        let OrderState { id, buyer, date, lines, status } = state;
        Order::restore(id, BuyerId(buyer), date, lines.into_iter().map(line).collect(), status.into())
    }
}

fn line_state(line: &OrderLine) -> LineState {
    let LineItem { shelf, quantity, amount } = line.item();
    LineState {
        number: line.number().0,
        shelf: shelf.as_str().to_owned(),
        quantity: *quantity,
        amount_cents: *amount,
        allocated: line.is_allocated(),
    }
}

fn line(state: LineState) -> OrderLine {
    let LineState { number, shelf, quantity, amount_cents, allocated } = state;
    let item = LineItem { shelf: shelf.into(), quantity, amount: amount_cents };
    OrderLine::restore(LineNumber(number), item, allocated)
}

impl From<Status> for StatusState {
    fn from(status: Status) -> Self {
        match status {
            Status::Placed => Self::Placed,
            Status::Accepted => Self::Accepted,
            Status::Confirmed => Self::Confirmed,
            Status::Cancelled(CancelReason::StockRefused) => Self::StockRefused,
            Status::Cancelled(CancelReason::PaymentDeclined) => Self::PaymentDeclined,
        }
    }
}

impl From<StatusState> for Status {
    fn from(state: StatusState) -> Self {
        match state {
            StatusState::Placed => Self::Placed,
            StatusState::Accepted => Self::Accepted,
            StatusState::Confirmed => Self::Confirmed,
            StatusState::StockRefused => Self::Cancelled(CancelReason::StockRefused),
            StatusState::PaymentDeclined => Self::Cancelled(CancelReason::PaymentDeclined),
        }
    }
}
