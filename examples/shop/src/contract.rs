//! How the services' tests hold what they publish to its golden file.

use std::fmt::Debug;

use factum::IntegrationEvent;
use serde_json::Value;
use uuid::Uuid;

use crate::kernel::OrderId;

/// The order that the golden files tell of.
pub(crate) fn order() -> OrderId {
    Uuid::from_u128(7).into()
}

/// The event is on the wire what its golden file says, comes back the same, and is ordered by that order.
pub(crate) fn assert_contract<E>(event: &E, golden: &str, r#type: &str)
where
    E: IntegrationEvent + PartialEq + Debug,
{
    let golden: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(serde_json::to_value(event).unwrap(), golden);
    assert_eq!(&serde_json::from_value::<E>(golden).unwrap(), event);
    assert_eq!(E::TYPE, r#type);
    assert_eq!(event.key(), Some(order().to_string()));
    assert_eq!(event.subject(), event.key());
}
