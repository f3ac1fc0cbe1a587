//! The suites that every store and every bus must pass. An adapter without them does not exist.

pub mod bus;
pub mod service;
pub mod store;
