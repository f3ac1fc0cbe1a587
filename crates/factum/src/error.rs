//! What can go wrong, sorted by what the caller can do about it.

use std::{future::Future, pin::Pin};

use crate::port::Store;

/// A future that an object-safe port can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any error a handler may fail with; `?` converts into it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a handler or a subscriber answers: `Err` rolls the unit of work back.
pub type Outcome = Result<(), BoxError>;

/// What the caller of a failed unit of work can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sort {
    /// Somebody was faster: run again.
    Conflict,
    /// The store says that a new attempt may succeed: run again, later.
    Transient,
    /// The connection died during commit: find out before running again.
    OutcomeUnknown,
    /// It will fail again, for a reason in the data, the rules or the store.
    Permanent,
    /// It will fail again, for a reason in the program.
    Misuse,
}

/// Why a unit of work did not commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database refused, or could not be reached; everything was rolled back.
    #[error("the store failed: {0}")]
    Store(#[source] BoxError),
    /// The commit was sent and no answer came. Never run again by itself.
    #[error("nobody knows whether the commit succeeded: {0}")]
    OutcomeUnknown(#[source] BoxError),
    /// [`UnitOfWork::load`](crate::UnitOfWork::load) found nothing.
    #[error("{aggregate} {id} was not found")]
    NotFound {
        /// The aggregate's type.
        aggregate: &'static str,
        /// Its id.
        id: String,
    },
    /// Optimistic concurrency: the version in the table is no longer the one that was loaded.
    #[error("{aggregate} {id} was changed by somebody else")]
    Conflict {
        /// The aggregate's type.
        aggregate: &'static str,
        /// Its id.
        id: String,
    },
    /// The same identity was added twice, or added after it was loaded.
    #[error("{aggregate} {id} is already in this unit of work")]
    AlreadyTracked {
        /// The aggregate's type.
        aggregate: &'static str,
        /// Its id.
        id: String,
    },
    /// `Persist::load` called a business method instead of restoring a state.
    #[error(
        "{aggregate} {id} recorded {events:?} while it was loaded: loading restores a state, it is no business method"
    )]
    RecordedWhileLoading {
        /// The aggregate's type.
        aggregate: &'static str,
        /// Its id.
        id: String,
        /// The names of the events.
        events: Vec<&'static str>,
    },
    /// `mem::replace` on a unit of work that was lent.
    #[error("{by} put another unit of work in the place of the one it was lent")]
    Replaced {
        /// The handler or body that did it.
        by: &'static str,
    },
    /// `save_changes` on a unit of work that was lent.
    #[error("only who began a unit of work saves it, not who was lent it")]
    Lent,
    /// A read-only unit of work was asked to change something.
    #[error(
        "{what} in a read-only unit of work: open it with `Work::begin` or `Work::run` to change something"
    )]
    ReadOnly {
        /// What was tried.
        what: &'static str,
    },
    /// A handler failed; everything was rolled back.
    #[error("handler {handler} failed on {event} of {aggregate}: {source}")]
    Handler {
        /// The handler's name.
        handler: &'static str,
        /// The event's name.
        event: &'static str,
        /// Type and id of the aggregate that recorded it.
        aggregate: String,
        /// What the handler answered.
        source: BoxError,
    },
    /// A subscriber failed on a delivery; everything was rolled back.
    #[error("subscription {subscription} failed on {event} {id}: {source}")]
    Subscriber {
        /// The subscription's name.
        subscription: String,
        /// The event's CloudEvents type.
        event: String,
        /// The event's id.
        id: String,
        /// What the subscriber answered.
        source: BoxError,
    },
    /// A cascade went over [`Limits::depth`](crate::Limits) or [`Limits::events`](crate::Limits).
    #[error("cascade stopped at {event}: depth {depth}, {events} events, by way of {path:?}")]
    CascadeTooLong {
        /// The first event of the wave that went too far.
        event: &'static str,
        /// Waves so far.
        depth: usize,
        /// Events so far.
        events: usize,
        /// The first event of each of the last waves, oldest first.
        path: Vec<&'static str>,
    },
    /// An integration event could not be turned into an envelope.
    #[error("cannot announce {event}: {source}")]
    Encode {
        /// The event's CloudEvents type.
        event: &'static str,
        /// The encoder's or the validator's answer.
        source: BoxError,
    },
    /// Options, names or numbers with which something cannot run; nothing was begun.
    #[error("{what} cannot run: {why}")]
    Misconfigured {
        /// What was to run.
        what: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The bus failed or refused.
    #[error("the bus failed: {0}")]
    Bus(#[source] BoxError),
}

impl Error {
    /// What the caller can do about it, where `S` is the store that the unit of work ran on.
    pub fn sort<S: Store>(&self) -> Sort {
        Sort::of::<S>(self)
    }
}

impl Sort {
    /// Sorts any error, through the wrappers that handlers and callers put around it. The store knows its own.
    pub fn of<S: Store>(error: &(dyn std::error::Error + 'static)) -> Self {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(one::<S>)
            .unwrap_or(Self::Permanent)
    }

    /// Whether running again may help: [`Conflict`](Self::Conflict) or [`Transient`](Self::Transient).
    pub fn is_worth_another_run(self) -> bool {
        matches!(self, Self::Conflict | Self::Transient)
    }
}

fn one<S: Store>(error: &(dyn std::error::Error + 'static)) -> Option<Sort> {
    match error.downcast_ref() {
        Some(Error::Conflict { .. }) => Some(Sort::Conflict),
        Some(Error::OutcomeUnknown(_)) => Some(Sort::OutcomeUnknown),
        Some(
            Error::AlreadyTracked { .. }
            | Error::RecordedWhileLoading { .. }
            | Error::Replaced { .. }
            | Error::Lent
            | Error::ReadOnly { .. }
            | Error::CascadeTooLong { .. }
            | Error::Misconfigured { .. },
        ) => Some(Sort::Misuse),
        _ => S::sort(error),
    }
}
