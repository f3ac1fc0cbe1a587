//! The same four services on servers: every store with every bus, their relays here or elsewhere, killed, and with their
//! servers killed.
//!
//! Each test has a namespace of its own on the shared servers, and removes it by the program's own `--cleanup`. What
//! breaks a server has private ones.

mod outages;
mod pairs;
mod place;
mod relays;
#[path = "../support/mod.rs"]
mod support;
mod urls;
