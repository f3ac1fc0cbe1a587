//! Why a run ended without a report.
//!
//! Sorted by who can do something about it: the caller, who gave a bad file or folder, or nobody but a
//! programmer.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::purchases::InputError;

/// Exit status of a run whose figures differ, or that failed on the way.
pub(crate) const NOT_RECONCILED: u8 = 1;
/// Exit status of a run that the caller has to change: bad input or bad usage. The parser of options uses the same.
const BAD_INPUT: u8 = 2;

/// A run that ended without a report. Its text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The purchases cannot be read, or not to their end.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The folder for the databases cannot be used.
    #[error(
        "--data-dir {}: expected a folder that can be written to; {source}",
        path.display().to_string().escape_debug()
    )]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system refuses something that every run needs.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// A service failed.
    #[error("{service}: {source}")]
    Service {
        /// Its name.
        service: &'static str,
        /// What it says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A database cannot be opened.
    #[error("{}: {source}", path.display().to_string().escape_debug())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the store says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An option whose value means nothing here.
    #[error("{option}: {why}")]
    Usage {
        /// The option.
        option: &'static str,
        /// What was expected, and what was found. It repeats nothing that may be secret.
        why: String,
    },
    /// A server cannot be reached, or refuses.
    #[error("{option}: {source}")]
    Server {
        /// The option that says where it is.
        option: &'static str,
        /// What the adapter says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another run has the folder.
    #[error(
        "--data-dir {}: another run of the shop is at work in this folder; wait for it, or give another",
        path.display().to_string().escape_debug()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

impl Failure {
    /// Whether the caller can mend it, by another file, folder or server.
    pub fn is_callers(&self) -> bool {
        match self {
            Failure::Input(_)
            | Failure::DataDir { .. }
            | Failure::Database { .. }
            | Failure::Usage { .. }
            | Failure::Server { .. }
            | Failure::InUse { .. } => true,
            Failure::System { .. } | Failure::Service { .. } => false,
        }
    }

    /// What the process says to its caller.
    pub fn exit_status(&self) -> u8 {
        if self.is_callers() { BAD_INPUT } else { NOT_RECONCILED }
    }

    /// A URL whose adapter this build has not got.
    #[cfg(not(feature = "full"))]
    pub(crate) fn not_compiled_in(option: &'static str, url: &crate::deployment::Url) -> Self {
        let why = format!("{} is not compiled in; build the shop with --features full", url.shown());
        Failure::Usage { option, why }
    }

    /// Says which service failed.
    pub fn of<E: Into<Box<dyn Error + Send + Sync>>>(service: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Failure::Service { service, source: source.into() }
    }
}
