//! Placeholder: the subscription's driver.
/// Placeholder.
#[derive(Debug)]
pub struct Receiver;
/// Placeholder.
#[derive(Debug)]
pub struct ReceiverOptions;
/// Placeholder.
#[derive(Debug)]
pub struct Counters;
