//! Many relays over one database, each in a process of its own, killed and frozen at any moment; and what must be true
//! of all that arrived, whatever happened: nothing lost, nothing invented, each key in order, and no more repeats than
//! were on their way when somebody died.
//!
//! The bus is a [`Tap`]: a socket of the test's own that answers as the test says and never dies, so that what arrived
//! is known exactly. Brokers have suites of their own.

mod history;
mod relay;
mod store;
mod tap;
mod writers;

pub use history::{Arrival, History};
pub use relay::RelayProcess;
pub use store::{Database, Kind, Torn};
pub use tap::{Say, Tap, TapBus};
pub use writers::{TYPE, Written, write, write_one};

/// How often a relay of these tests lets an envelope be refused before it gives it up.
pub const ATTEMPTS: u32 = 5;
