//! The shop: four services over 69,659 real purchases, in one process and with no server, unless it is told of some.
//!
//! [`ordering`], [`inventory`], [`payment`] and [`insight`] are the services. Each has its own model and its own
//! database, and is laid out alike: `domain` (entities, value objects, domain events), `application` (commands,
//! handlers, subscribers), `published` (integration events and translation), `infrastructure` (documents). None
//! names anything of another: they share the value objects of the [`kernel`], and read each other's JSON.
//!
//! Around them stand the rooms of a command-line program, one word each: [`options`] are what was typed,
//! [`purchases`] are the input, the [`deployment`] says on which databases and which bus, [`composition`] puts the
//! services together, [`placing`] places the orders, the [`pipeline`] is the services at work, [`reconciliation`]
//! compares their databases at the end and makes the [`report`]; [`chance`] decides which orders a trial hits,
//! [`progress`] tells how far it is, [`patience`] outlasts a database that is away, and [`failure`] says why there is
//! no report. None of them holds a business rule.

pub mod chance;
pub mod composition;
#[cfg(test)]
mod contract;
pub mod crash;
pub mod data_dir;
pub mod deployment;
pub mod failure;
pub mod insight;
pub mod inventory;
pub mod kernel;
pub mod options;
pub mod ordering;
pub mod patience;
pub mod payment;
pub mod pipeline;
pub mod placing;
pub mod progress;
pub mod purchases;
pub mod reconciliation;
pub mod report;
mod run;
pub mod service;
pub mod tally;

pub use failure::Failure;
pub use options::Options;
pub use report::Report;
pub use run::{clean_up, exit_status, run, run_on};
