//! Where ids and times come from.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::integration::{EventId, Timestamp};

/// Mints the id of a new event, and says what time it is.
pub trait Ids: Send + Sync {
    /// A fresh id, and the moment it was minted.
    fn mint(&self) -> (EventId, Timestamp);
}

/// UUIDs, version 7, and the system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn mint(&self) -> (EventId, Timestamp) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Uuid::now_v7().into(), Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX)))
    }
}
