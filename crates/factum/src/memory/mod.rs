//! A store and a bus in memory: for a quick start, for tests, and as the first adapter of each port.

mod bus;
mod store;

pub use bus::{MemoryBus, MemoryBusOptions, Tap};
pub use store::{CommitFault, Connection, MemoryError, MemoryStore, MemoryTx, Row, StatementFault};
