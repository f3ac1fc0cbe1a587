//! The store in memory passes the store suite.

use std::time::Duration;

use factum::memory::{CommitFault, Connection, MemoryStore, StatementFault};
use factum::port::Mark;
use factum_conformance::store::{FailingCommit, StoreCapabilities, StoreFixture};

struct Memory;

impl StoreFixture for Memory {
    type Store = MemoryStore;

    async fn fresh(&self) -> MemoryStore {
        MemoryStore::new()
    }

    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities { concurrent_writers: true, breaks_transactions: true, fails_commits: true }
    }

    async fn checkpoint(&self, store: &MemoryStore, projection: &str, source: &str) -> Option<Mark> {
        store.checkpoint_of(projection, source)
    }

    async fn age_leases(&self, store: &MemoryStore, by: Duration) {
        store.advance_clock(by);
    }

    async fn break_transaction(&self, store: &MemoryStore, connection: &mut Connection) {
        store.fail_statement(0, StatementFault::Fatal);
        connection.get("items", "any").expect_err("the statement was told to fail");
    }

    async fn fail_next_commit(&self, store: &MemoryStore, how: FailingCommit) {
        store.fail_next_commit(match how {
            FailingCommit::RolledBack => CommitFault::Permanent,
            FailingCommit::UnknownAndLost => CommitFault::UnknownAndLost,
            FailingCommit::UnknownAndKept => CommitFault::UnknownAndKept,
        });
    }
}

factum_conformance::store_suite!(Memory);
