//! What can go wrong while a private server starts, with what it wrote last: its folder is gone when a person reads it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a server or a program could not be started, stopped or signalled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program is not on this machine. [`or_skip`](crate::or_skip) makes a skipped test of it.
    #[error("no {program}: install it by `apt-get install {package}`")]
    Missing {
        /// Its file name.
        program: String,
        /// The package of Debian that has it.
        package: &'static str,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that prepares something, or a command to a running server, failed.
    #[error("{what} ended with {status}:\n{output}")]
    Failed {
        /// What was run.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// The server ended by itself before it answered.
    #[error("{name} ended before it answered, with {status}; its last lines:\n{log}")]
    Ended {
        /// Which server.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of what it wrote.
        log: String,
    },
    /// The server did not answer, or did not end, in time.
    #[error("{name} did not {what} within {waited:?}; its last lines:\n{log}")]
    Late {
        /// Which server.
        name: &'static str,
        /// What it ought to have done.
        what: &'static str,
        /// How long this one waited.
        waited: Duration,
        /// The last lines of what it wrote.
        log: String,
    },
    /// It was started again while it runs.
    #[error("{name} is still running: `stop` or `kill` it before it is started again")]
    Running {
        /// Which server.
        name: &'static str,
    },
}

/// What can go wrong here, or else `T`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps what the system said; for `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source: source.into() }
    }
}
