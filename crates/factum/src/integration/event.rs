//! A fact told to other services.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Event, Integration};

/// A fact told to other services; its JSON is a contract, its type is versioned.
///
/// ```
/// use factum::IntegrationEvent;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
/// #[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
/// struct OrderPlacedV1 { order: u64, total_cents: i64 }
///
/// assert_eq!(OrderPlacedV1 { order: 7, total_cents: 1200 }.key().as_deref(), Some("7"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an integration event",
    note = "a domain event stays in its transaction: let a handler or a translation announce an integration event made from it"
)]
pub trait IntegrationEvent:
    Event<Kind = Integration> + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The CloudEvents `type`: reverse DNS, context, event, version, such as
    /// `com.example.shop.ordering.order-placed.v1`. At most 255 bytes.
    const TYPE: &'static str;

    /// Events with the same key keep their order (CloudEvents `partitionkey`); at most 512 bytes. Usually the id of
    /// the aggregate that it is about: only then do the writers of a key serialise, and its order means something.
    fn key(&self) -> Option<String> {
        None
    }

    /// What in the source it is about (CloudEvents `subject`). The key, unless you say otherwise.
    fn subject(&self) -> Option<String> {
        self.key()
    }
}
