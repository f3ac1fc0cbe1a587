//! What SQLite's own hooks know of the writer's transaction: no commit passes but the one that is asked for here, and
//! that only while the transaction is still the one that was begun.
//!
//! A statement of the application can end a transaction behind sqlx's back (`RAISE(ROLLBACK)`, a full disk, a `ROLLBACK`
//! of its own); what is written afterwards would commit by itself. The commit hook vetoes that, and the rollback hook
//! tells that it happened. The hooks prove the other way round, too: a commit that they did not see pass was not the
//! unit of work's, whoever changed the hooks or the connection.

use std::sync::atomic::{AtomicU8, Ordering};

/// Shared by a connection's owner and the hooks, which SQLite calls on the connection's own thread.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicU8);

/// No transaction: nothing may commit.
const CLOSED: u8 = 0;
/// A transaction is open, and nobody has asked for its commit.
const OPEN: u8 = 1;
/// Its owner has asked for the commit.
const COMMITTING: u8 = 2;
/// It is being committed.
const PASSED: u8 = 3;
/// It was rolled back, and not by its owner.
const BROKEN: u8 = 4;

impl Gate {
    /// A transaction has begun.
    pub(crate) fn open(&self) {
        self.0.store(OPEN, Ordering::SeqCst);
    }

    /// A transaction has ended, or is about to be rolled back by its owner.
    pub(crate) fn close(&self) {
        self.0.store(CLOSED, Ordering::SeqCst);
    }

    /// Lets the commit of the open transaction pass. `false`: it is over already.
    pub(crate) fn ask(&self) -> bool {
        self.0.compare_exchange(OPEN, COMMITTING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.0.load(Ordering::SeqCst) == BROKEN
    }

    /// Whether the commit that was asked for went through here.
    pub(crate) fn has_passed(&self) -> bool {
        self.0.load(Ordering::SeqCst) == PASSED
    }

    /// The commit hook: whether this commit may happen.
    pub(crate) fn may_commit(&self) -> bool {
        self.0.compare_exchange(COMMITTING, PASSED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The rollback hook.
    pub(crate) fn rolled_back(&self) {
        let broken = |state| (state != CLOSED).then_some(BROKEN);
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, broken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_commit_that_was_asked_for_passes() {
        let gate = Gate::default();
        assert!(!gate.may_commit());
        gate.open();
        assert!(!gate.may_commit());
        assert!(gate.ask());
        assert!(!gate.has_passed());
        assert!(gate.may_commit());
        assert!(gate.has_passed());
        assert!(!gate.may_commit() && !gate.ask());
    }

    #[test]
    fn a_rollback_closes_it_even_when_the_commit_was_asked_for() {
        let gate = Gate::default();
        gate.open();
        assert!(gate.ask());
        gate.rolled_back();
        assert!(!gate.may_commit() && gate.is_broken());
    }

    #[test]
    fn a_rollback_by_the_owner_breaks_nothing() {
        let gate = Gate::default();
        gate.open();
        gate.close();
        gate.rolled_back();
        assert!(!gate.is_broken());
    }
}
