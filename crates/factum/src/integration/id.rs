//! What identifies an announced event for its whole life.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// With the source, identifies one announced event for its whole life (CloudEvents `id`).
///
/// Text of 1 to 255 bytes, because other languages mint ids too; what this library mints is a UUID, version 7.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Arc<str>);

impl EventId {
    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The `n`-th event of a type and key that a delivery leads to: a repeat of the delivery announces under the same
    /// id, whatever the order of handlers. A UUID, version 5.
    pub(crate) fn derived(cause: &Uuid, event_type: &str, key: Option<&str>, n: usize) -> Self {
        // 0xff is in no UTF-8, so that no two tuples run together.
        let name = [
            event_type.as_bytes(),
            &[0xff],
            key.unwrap_or_default().as_bytes(),
            &[0xff],
            &(n as u64).to_be_bytes(),
        ]
        .concat();
        Self::from(Uuid::new_v5(cause, &name))
    }

    /// What the ids derived in a delivery have in common.
    pub(crate) fn cause(own_source: &str, subscription: &str, source: &str, id: &str) -> Uuid {
        let name = [own_source, subscription, source, id].join("\u{1f}");
        Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
    }
}

impl From<Uuid> for EventId {
    fn from(uuid: Uuid) -> Self {
        let mut buffer = Uuid::encode_buffer();
        Self(Arc::from(&*uuid.hyphenated().encode_lower(&mut buffer)))
    }
}

impl From<String> for EventId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
