//! One run, from the options to the report.
//!
//! It refuses to print: what a run has to say is its result, and `main` shows it.

use crate::purchases::Purchases;
use crate::{Failure, Options, Report, crash, data_dir};

/// Exit status of a run whose figures agree.
const RECONCILED: u8 = 0;
/// Exit status of a run whose figures differ, or that failed on the way.
const NOT_RECONCILED: u8 = 1;
/// Exit status of a run that the caller has to change: bad input or bad usage. The parser of options uses the
/// same.
const BAD_INPUT: u8 = 2;

/// Runs the shop.
///
/// # Errors
///
/// Bad input ([`Failure::is_callers`]); what was placed before the bad line stays placed. Or a service that
/// failed.
pub fn run(options: &Options) -> Result<Report, Failure> {
    crash::after(options.crash_after())?;
    let purchases = match &options.purchases {
        Some(path) => Purchases::open(path)?,
        None => Purchases::built_in(),
    };
    data_dir::prepare(options.data_dir.as_deref())?;
    for purchase in purchases.take(options.limit()) {
        purchase?;
    }
    Err(Failure::Unwired)
}

/// What the process says to its caller: 0 reconciled, 1 not, 2 bad input.
pub fn exit_status(outcome: &Result<Report, Failure>) -> u8 {
    match outcome {
        Ok(report) if report.is_reconciled() => RECONCILED,
        Ok(_) => NOT_RECONCILED,
        Err(failure) if failure.is_callers() => BAD_INPUT,
        Err(_) => NOT_RECONCILED,
    }
}
