//! Dying on purpose, at a given moment, as a power cut would: no destructor runs and nothing is flushed.

use std::process;
use std::thread;
use std::time::Duration;

use crate::Failure;

/// Aborts the process when this much time has passed; does nothing for `None`.
///
/// # Errors
///
/// The operating system gives no thread to wait in.
pub fn after(delay: Option<Duration>) -> Result<(), Failure> {
    let Some(delay) = delay else {
        return Ok(());
    };
    let wait_and_abort = move || {
        thread::sleep(delay);
        process::abort()
    };
    thread::Builder::new()
        .name("crash".into())
        .spawn(wait_and_abort)
        .map(drop)
        .map_err(|source| Failure::System { what: "start the thread of --crash-after-ms", source })
}
