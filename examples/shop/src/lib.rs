//! The shop: four services over 69,659 real purchases, in one process, with no server.
//!
//! Around the services stand the rooms of a command-line program, one word each: [`options`] are what was
//! typed, [`purchases`] are the input, [`chance`] decides which orders a trial hits, [`progress`] tells how
//! far it is, [`report`] compares the databases at the end, and [`failure`] says why there is no report. None
//! of them holds a business rule.

pub mod chance;
pub mod crash;
pub mod data_dir;
pub mod failure;
pub mod options;
pub mod progress;
pub mod purchases;
pub mod report;
mod run;

pub use failure::Failure;
pub use options::Options;
pub use report::Report;
pub use run::{exit_status, run};
