//! The catalogue of known failure modes that this part of the toolkit must survive, and which of them no test
//! names yet. A test carries the id at the start of its name: `f_09_a_dropped_begin_loses_no_write`. It is
//! told and never fails: a missing test is a debt, not a rule of place.

use super::tree::Tree;

/// Id and what goes wrong. Capture (F-01 to F-16), outbox and database (F-20 to F-39), leases (F-41 to F-51), publishing
/// (F-52 to F-60), the consuming side (F-71 to F-82).
const KNOWN: &[(&str, &str)] = &[
    ("F-01", "events drained from the aggregate before a save that fails, then a retry"),
    ("F-02", "events not cleared after a good save, or told again by the next"),
    ("F-03", "side effects of domain handlers happen although the transaction later fails"),
    ("F-04", "events recorded by handlers during dispatch are ignored"),
    ("F-05", "infinite cascade"),
    ("F-06", "a handler saves or commits by itself and splits the unit of work"),
    ("F-07", "a retry after a conflict runs handlers again on dirty in-memory state"),
    ("F-08", "ambiguous commit: it reached the server, the answer did not reach us"),
    ("F-09", "a cancelled begin leaves an open transaction in the pool"),
    ("F-10", "a future dropped in mid-transaction: rollback is queued, not awaited"),
    ("F-11", "a savepoint is rolled back but its announced events survive"),
    ("F-12", "one event path bypasses the outbox"),
    ("F-13", "a handler's future is not awaited before the write"),
    ("F-14", "pool self-deadlock: code inside a transaction takes a second connection"),
    ("F-15", "two instances in one process share static state"),
    ("F-16", "a panicking handler kills dispatch, poisons a lock or leaves a transaction open"),
    ("F-20", "an auto-increment id used as a cursor skips rows that commit late"),
    ("F-21", "gap-waiting heuristics"),
    ("F-22", "ordering by transaction id reorders one aggregate"),
    ("F-24", "a visibility horizon stalls on any open writing transaction of the cluster"),
    ("F-26", "the backlog is loaded into memory, or reading degrades with millions of rows"),
    ("F-28", "deadlocks between cleaning, claiming and inserting"),
    ("F-29", "MariaDB: claims lock the whole pending set; gap locks"),
    ("F-30", "MariaDB: auto-increment order is not commit order"),
    ("F-31", "SQLite: a deferred transaction's upgrade is BUSY at once; several processes write"),
    ("F-32", "an event is published whose commit was never durable"),
    ("F-34", "LISTEN/NOTIFY lost at reconnect, failover, notifier crash"),
    ("F-35", "NOTIFY inside the user's transaction serialises all commits"),
    ("F-36", "a pooler in transaction mode: LISTEN, session locks, prepared statements, SET"),
    ("F-38", "the relay runs under the database's default isolation"),
    ("F-39", "time zones and naive timestamps in schedules and leases"),
    ("F-41", "two relays read the same pending rows"),
    ("F-42", "a lease shorter than the work"),
    ("F-43", "a stale owner completes work that it no longer owns"),
    ("F-44", "stale leadership never heals"),
    ("F-45", "lease expiry judged with another machine's clock"),
    ("F-46", "orphaned claims after a crash are stuck for hours"),
    ("F-47", "a key stays locked for ever when an item reaches its last attempt or its connection drops"),
    ("F-49", "a recovery agent grabs rows that are being processed right now"),
    ("F-50", "retry cadence multiplies with relays; attempt counters race"),
    ("F-51", "a worker that does not know a type discards it"),
    ("F-52", "settled although the broker never confirmed"),
    ("F-53", "a confirm is lost, and the message is stored"),
    ("F-54", "publishing, confirming or connecting never ends"),
    ("F-55", "RabbitMQ acknowledges a message that it could not route"),
    ("F-56", "the broker blocks publishers"),
    ("F-57", "after a reconnect only the first message is sent"),
    ("F-60", "JetStream's duplicate window is no guarantee"),
    ("F-71", "ack before the effect is committed"),
    ("F-72", "two copies handled at the same time: both see an empty inbox"),
    ("F-73", "inbox check and effect not in one transaction"),
    ("F-74", "inbox window shorter than the redelivery horizon"),
    ("F-75", "inbox key without the subscription's name"),
    ("F-76", "a slow subscriber hits the broker's delivery time-out"),
    ("F-77", "unknown type or newer schema during a rolling upgrade"),
    ("F-78", "poison JSON, bad bytes"),
    ("F-79", "a subscription lost its channel but looks alive; dropping it hangs"),
    ("F-80", "a replay triggers external side effects again"),
    ("F-81", "a projection's checkpoint is not atomic with its rows; rebuild skips events in flight"),
    ("F-82", "delayed deliveries come twice near \"now\""),
];

/// The known failure modes that no function is named after.
pub(super) fn untested(tree: &Tree) -> Vec<(&'static str, &'static str)> {
    let tested = |id: &str| {
        let prefix = format!("{}_", id.to_lowercase().replace('-', "_"));
        let ours = tree.sources.iter().filter(|source| !source.path.starts_with("xtask/"));
        ours.flat_map(|source| super::source::words(source.tokens.clone()))
            .any(|word| word.starts_with(&prefix))
    };
    KNOWN.iter().copied().filter(|(id, _)| !tested(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_named_after_a_failure_mode_covers_it() {
        let tree = Tree::of([("crates/a/tests/x.rs", "suite! { fn f_05_a_cascade_ends() {} } // f_04_no")]);
        let ids: Vec<&str> = untested(&tree).iter().map(|(id, _)| *id).collect();
        assert!(!ids.contains(&"F-05"));
        assert!(ids.contains(&"F-04"));
        assert_eq!(ids.len(), KNOWN.len() - 1);
    }
}
