//! What a test does where a program is missing: it skips itself aloud, or fails where the environment says that
//! everything must be there, in the words of `factum_conformance::service`.

use crate::error::{Error, Result};

/// What must be there: `all`, or names separated by commas.
const REQUIRED: &str = "FACTUM_REQUIRE";

/// What was started; or `None`, after saying so, if its program is not on this machine.
///
/// ```no_run
/// use factum_launcher::{Nats, or_skip};
///
/// # async fn test() {
/// let Some(nats) = or_skip("a_killed_bus_loses_nothing", Nats::start().await) else { return };
/// # }
/// ```
///
/// # Panics
/// The program is missing and `FACTUM_REQUIRE` is `all` or names the package that has it (`nats-server`), or it is
/// there and does not start.
pub fn or_skip<T>(test: &str, started: Result<T>) -> Option<T> {
    let error = match started {
        Ok(started) => return Some(started),
        Err(error) => error,
    };
    let missing = match &error {
        Error::Missing { package, .. } => Some(*package),
        _ => None,
    };
    assert!(missing.is_some(), "{test}: {error}");
    assert!(!missing.is_some_and(is_required), "{test}: {error}. {REQUIRED} says that it must be there.");
    eprintln!("SKIPPED: {test}: {error}");
    None
}

fn is_required(package: &str) -> bool {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    required.split(',').map(str::trim).any(|name| name == "all" || name == package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_start_fails_the_test_and_does_not_skip_it() {
        let broken = || -> Result<()> { Err(Error::Running { name: "NATS" }) };
        let panic = std::panic::catch_unwind(|| or_skip("a test", broken())).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().starts_with("a test: NATS is still running"));
    }

    #[test]
    fn what_is_missing_is_told_with_the_package_that_has_it() {
        let error = crate::program::find("no-such-server", &[], "no-such-package").unwrap_err();
        assert_eq!(error.to_string(), "no `no-such-server`: install it by `apt-get install no-such-package`");
    }
}
