//! Folds closed orders into the read model. Only confirmed ones count as revenue.

use factum::{Documents, Outcome, Projection, Received, View};

use super::{OrderCancelled, OrderConfirmed};
use crate::insight::domain::{CustomerValue, DayRevenue};

/// Keeps all three parts of the read model.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProjectOrders;

impl<S: Documents> Projection<OrderConfirmed, S> for ProjectOrders {
    async fn project(&self, confirmed: &Received<OrderConfirmed>, view: &mut View<'_, S>) -> Outcome {
        let order = confirmed.view();
        let day = match view.find::<DayRevenue>(&order.date).await? {
            Some(known) => known,
            None => view.add(DayRevenue::of(order.date)),
        };
        view[day].count(order.cds, order.total);
        let customer = match view.find::<CustomerValue>(&order.customer).await? {
            Some(known) => known,
            None => view.add(CustomerValue::of(order.customer)),
        };
        view[customer].count(order.cds, order.total);
        view.add(order);
        Ok(())
    }
}

impl<S: Documents> Projection<OrderCancelled, S> for ProjectOrders {
    async fn project(&self, cancelled: &Received<OrderCancelled>, view: &mut View<'_, S>) -> Outcome {
        view.add(cancelled.view());
        Ok(())
    }
}
