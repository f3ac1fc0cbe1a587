//! The read model: what became of each order, what each day brought, and what each customer is worth.
//!
//! It has no rules and records nothing: it follows what ordering has decided. Months are not stored; a report
//! adds up their days.

mod customer_value;
mod day_revenue;
mod order_view;

pub use customer_value::{CustomerId, CustomerValue};
pub use day_revenue::DayRevenue;
pub use order_view::{OrderView, Standing};

/// A part of the read model is kept like an aggregate, and records no events.
macro_rules! records_nothing {
    ($part:ty, $id:ident: $id_type:ty) => {
        impl factum::Entity for $part {
            type Id = $id_type;
            fn id(&self) -> &$id_type {
                &self.$id
            }
        }
        impl factum::Records for $part {
            fn each_events(&mut self, _: &mut factum::Visit<'_>) {}
        }
        impl factum::AggregateRoot for $part {}
    };
}
use records_nothing;

#[cfg(test)]
mod tests;
