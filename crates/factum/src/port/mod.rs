//! What adapters implement and applications do not name; outside semantic versioning.

mod extensions;
mod hint;
mod identifier;
mod ids;
mod inbox;
mod measure;
mod observer;
mod outbox;
mod store;
mod timer;
mod to_the_end;

pub use extensions::{extensions_from_json, extensions_to_json};
pub use hint::{Hint, Seen};
pub use identifier::{BadIdentifier, Identifier};
pub use ids::{Ids, SystemIds};
pub use inbox::{Claim, Claiming, InboxStore, Mark, Waiting};
pub use measure::{Measure, Measures};
pub use observer::{Dispatched, HandledDelivery, Observer, Saved};
pub use outbox::{
    Asked, BucketSet, FailedTry, Found, GivenUp, Lease, Leased, OutboxRow, OutboxStore, Read, Settlement,
    sequence,
};
pub use store::{Access, Intent, NotCommitted, Store};
pub use timer::Timer;
pub use to_the_end::{ToTheEnd, to_the_end};

use crate::integration::Source;

/// The one constructor of [`Committed`](crate::Committed) outside a commit. Whoever calls it answers for it: the value
/// is a row read back from an outbox, which only a commit can have put there.
pub fn read_back<T>(value: T, source: Source) -> crate::Committed<T> {
    crate::Committed::proven(
        value,
        crate::integration::Proof { source, context: None, ids: std::sync::Arc::new(SystemIds) },
    )
}
