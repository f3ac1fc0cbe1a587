//! What goes wrong, by itself or because a test wants it to.

use crate::Sort;

/// Why a [`MemoryStore`](super::MemoryStore) refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Another transaction committed a change to what this one has read or written: run again.
    #[error("{what} was changed by a transaction that committed first")]
    Serialization {
        /// What was changed.
        what: String,
    },
    /// A statement failed in a way that ended the transaction; nothing of it can be committed.
    #[error("the transaction was aborted by an earlier error: {by}")]
    Aborted {
        /// The earlier error.
        by: String,
    },
    /// A read-only transaction was asked to change something.
    #[error("{what} in a read-only transaction")]
    ReadOnly {
        /// What was tried.
        what: &'static str,
    },
    /// A test asked for it.
    #[error("a fault was injected: {sort:?}")]
    Injected {
        /// How it sorts.
        sort: Sort,
    },
}

impl MemoryError {
    pub(super) fn sort(&self) -> Sort {
        match self {
            Self::Serialization { .. } => Sort::Transient,
            Self::Aborted { .. } => Sort::Permanent,
            Self::ReadOnly { .. } => Sort::Misuse,
            Self::Injected { sort } => *sort,
        }
    }
}

/// How a commit is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Rolled back; a further attempt may succeed.
    Transient,
    /// Rolled back; a further attempt fails again.
    Permanent,
    /// The answer is lost, and nothing was committed.
    UnknownAndLost,
    /// The answer is lost, and everything was committed.
    UnknownAndKept,
}

/// How a statement is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementFault {
    /// It fails alone; a further attempt at the transaction may succeed.
    Transient,
    /// It fails alone, and would fail again.
    Permanent,
    /// It ends the transaction: later statements and the commit are refused, whether or not somebody swallows the error.
    Fatal,
}

/// What a test has asked for and has not happened yet.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) commit: Option<CommitFault>,
    /// After how many statements, and how.
    pub(super) statement: Option<(usize, StatementFault)>,
}

impl Faults {
    /// The fault of the statement that is about to run.
    pub(super) fn of_statement(&mut self) -> Option<StatementFault> {
        let (after, fault) = self.statement?;
        self.statement = after.checked_sub(1).map(|after| (after, fault));
        (after == 0).then_some(fault)
    }
}
