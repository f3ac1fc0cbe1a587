//! Placeholder: the relay's driver.
/// Placeholder.
#[derive(Debug)]
pub struct Relay;
/// Placeholder.
#[derive(Debug)]
pub struct RelayOptions;
