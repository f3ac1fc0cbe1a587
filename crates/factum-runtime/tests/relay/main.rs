//! The relay on tokio, against a store in memory and buses that fail in every way that the port allows.

mod faults;
mod trouble;
mod work;
mod world;
