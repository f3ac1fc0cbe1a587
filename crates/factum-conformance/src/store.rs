//! The store suite: what a transaction, an outbox, an inbox and dead letters owe to whoever builds on them.
//!
//! An adapter passes it with one file: it implements [`StoreFixture`] and calls [`store_suite!`](crate::store_suite). It
//! refuses to know how a store works: every case speaks through the ports and through units of work.

pub mod cancellation;
pub mod claims;
pub mod concurrency;
pub mod dead_letters;
pub mod documents;
mod drop_after;
pub mod drops;
pub mod faults;
pub mod leases;
pub mod model;
pub mod notes;
pub mod outbox;
pub mod parking;
pub mod saving;
mod support;

use std::future::Future;
use std::time::Duration;

use factum::integration::Inspect;
use factum::port::{InboxStore, Mark, OutboxStore};
use factum::{Documents, Store};

pub use self::drop_after::DropAfter;
use crate::service::Server;

/// What the suite asks of a store: all the ports.
pub trait WholeStore: Store + Documents + OutboxStore + InboxStore + Inspect {}

impl<S: Store + Documents + OutboxStore + InboxStore + Inspect> WholeStore for S {}

/// How the suite gets at a store, and at what no port offers.
pub trait StoreFixture: Send + Sync {
    /// The store.
    type Store: WholeStore;

    /// The server that it needs, if any: where it is missing, its cases skip themselves aloud, or fail.
    fn server(&self) -> Option<Server> {
        None
    }

    /// An empty store of its own. What it needs in the file system lives as long as the fixture.
    fn fresh(&self) -> impl Future<Output = Self::Store> + Send;

    /// What this store can be asked for.
    fn capabilities(&self) -> StoreCapabilities;

    /// How far a projection is in a source: its events so far and the last of them.
    fn checkpoint(
        &self,
        store: &Self::Store,
        projection: &str,
        source: &str,
    ) -> impl Future<Output = Option<Mark>> + Send;

    /// Lets leases, and the presence of relays, grow older by `by`, without waiting for it.
    fn age_leases(&self, store: &Self::Store, by: Duration) -> impl Future<Output = ()> + Send;

    /// Lets leases, and the presence of relays, end later by `by`, as when the store's clock is set back. `false`: its
    /// clock cannot be.
    fn postpone_leases(&self, store: &Self::Store, by: Duration) -> impl Future<Output = bool> + Send {
        let _ = (store, by);
        async { false }
    }

    /// Prepares the store so that the next statement on this connection may end its transaction, runs such a statement,
    /// and swallows the error, as a careless handler would. Asked only where
    /// [`breaks_transactions`](StoreCapabilities::breaks_transactions) says so.
    fn break_transaction(
        &self,
        store: &Self::Store,
        connection: &mut <Self::Store as Store>::Connection,
    ) -> impl Future<Output = ()> + Send;

    /// Lets the next commit fail, once. Asked only where [`fails_commits`](StoreCapabilities::fails_commits) says so.
    fn fail_next_commit(&self, store: &Self::Store, how: FailingCommit) -> impl Future<Output = ()> + Send;
}

/// What a store can be asked for. Cases that it cannot answer say so on standard error, and pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreCapabilities {
    /// Two transactions can have written and not committed at the same time.
    pub concurrent_writers: bool,
    /// [`StoreFixture::break_transaction`] works.
    pub breaks_transactions: bool,
    /// [`StoreFixture::fail_next_commit`] works.
    pub fails_commits: bool,
}

/// How a commit is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailingCommit {
    /// Rolled back for good.
    RolledBack,
    /// The answer is lost, and nothing was committed.
    UnknownAndLost,
    /// The answer is lost, and everything was committed.
    UnknownAndKept,
}

/// Runs one case on a runtime of its own, where the server that it needs is there.
///
/// # Panics
/// The case has failed, or was not done within two minutes.
pub fn run<F: StoreFixture, C: Future<Output = ()>>(name: &str, fixture: F, case: impl FnOnce(F) -> C) {
    if fixture.server().is_none_or(|server| server.is_there_or_skip(name)) {
        run_case(case(fixture));
    }
}

fn run_case(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let watched = async { tokio::time::timeout(Duration::from_secs(120), case).await };
    runtime.expect("a runtime").block_on(watched).expect("the case was not done within two minutes");
}

/// Expands into one test for each case of the suite. The argument makes a [`StoreFixture`]; it is evaluated anew for
/// every case.
///
/// ```ignore
/// factum_conformance::store_suite!(MyFixture::new());
/// ```
#[macro_export]
macro_rules! store_suite {
    ($fixture:expr) => {
        $crate::store_cases! { $fixture =>
            documents: a_document_is_inserted_changed_and_removed,
                a_stale_version_changes_nothing_and_is_a_conflict,
                a_twin_cannot_be_inserted,
                a_collection_is_scanned_in_the_order_of_ids,
                the_same_id_is_the_same_instance,
                a_read_only_unit_of_work_sees_one_snapshot_and_refuses_changes;
            saving: a_rollback_leaves_no_trace,
                a_dropped_unit_of_work_leaves_no_trace,
                a_handler_that_fails_at_any_depth_leaves_no_trace_and_the_next_run_succeeds,
                a_handler_sees_in_the_tables_what_was_changed_before_it_ran,
                message_is_taken_back_when_the_save_fails,
                an_observer_sees_all_of_a_commit_or_none,
                a_conflict_is_run_again_and_a_domain_error_is_not,
                f_01_a_save_that_is_run_again_tells_every_event_once,
                f_07_a_save_that_is_run_again_begins_with_what_is_in_the_tables;
            outbox: envelopes_stand_in_the_order_in_which_they_were_announced,
                a_read_takes_the_buckets_it_was_asked_for_and_no_other,
                a_read_begins_above_the_floor,
                a_read_leaves_out_what_the_caller_has_in_hand,
                a_read_stops_at_so_many_rows_and_so_many_bytes,
                every_attribute_and_every_byte_survives_the_round_trip,
                a_commit_that_announces_gives_a_hint;
            leases: one_relay_holds_a_bucket_until_it_lets_go,
                an_expired_lease_changes_hands_under_a_higher_epoch,
                settling_deletes_what_is_listed_and_nothing_else,
                a_late_relay_settles_nothing,
                refused_tries_are_counted,
                relays_that_come_and_go_share_the_buckets,
                a_relay_that_has_died_is_no_longer_counted,
                f_45_a_lease_that_ends_too_far_ahead_has_expired;
            dead_letters: a_parked_key_waits_and_others_go_on,
                a_skipped_envelope_lets_its_key_go_on,
                a_halted_outbox_gives_nothing_until_a_person_acts,
                a_requeued_envelope_goes_before_what_waited_behind_it,
                a_discarded_envelope_frees_its_key,
                a_read_tells_that_something_was_put_back_or_discarded,
                a_dead_letter_keeps_every_attribute;
            claims: f_74_an_event_is_a_duplicate_however_much_came_after_it,
                an_event_is_first_once_and_a_duplicate_ever_after,
                f_75_every_subscription_has_an_inbox_of_its_own,
                f_73_a_claim_that_was_rolled_back_can_be_made_again,
                several_deliveries_commit_or_fail_as_one,
                a_repeated_reception_announces_under_the_same_ids,
                attempts_are_counted_by_subscription_and_event,
                f_81_a_checkpoint_moves_with_the_rows_of_its_projection;
            parking: what_follows_a_dead_letter_waits_and_other_keys_do_not,
                a_repeated_delivery_does_not_wait_twice,
                giving_up_twice_is_giving_up_once,
                a_requeued_delivery_releases_the_others_in_order,
                a_released_delivery_that_fails_again_holds_its_key,
                a_discarded_delivery_frees_its_key,
                a_skipped_delivery_holds_nothing,
                a_halt_lasts_until_a_person_acts,
                waiting_is_rolled_back_with_its_transaction;
            concurrency: concurrent_increments_all_count,
                f_72_two_receptions_of_one_event_never_both_take_effect,
                f_72_a_claim_in_flight_is_never_committed_twice,
                writers_that_met_are_told_apart;
            faults: f_03_what_handlers_did_is_taken_back_when_the_commit_fails,
                f_08_an_unknown_outcome_is_not_run_again,
                a_swallowed_fatal_error_cannot_commit,
                what_is_written_after_a_swallowed_fatal_error_is_not_kept;
            cancellation: f_08_a_dropped_save_is_whole_or_nothing,
                f_09_a_dropped_begin_leaves_no_transaction_open,
                f_10_a_dropped_run_leaves_no_transaction_open,
                f_10_a_dropped_reception_is_whole_or_nothing;
        }
    };
}

/// The list behind [`store_suite!`](crate::store_suite).
#[doc(hidden)]
#[macro_export]
macro_rules! store_cases {
    ($fixture:expr => $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[test]
            fn $case() {
                $crate::store::run(stringify!($case), $fixture, async |fixture| {
                    $crate::store::$module::$case(&fixture).await
                });
            }
        )+)+
    };
}

#[cfg(test)]
mod tests {
    //! A case that is written and not listed would never run.

    #[test]
    fn every_case_is_listed() {
        let listed = include_str!("store.rs");
        let modules = [
            include_str!("store/cancellation.rs"),
            include_str!("store/claims.rs"),
            include_str!("store/concurrency.rs"),
            include_str!("store/dead_letters.rs"),
            include_str!("store/documents.rs"),
            include_str!("store/faults.rs"),
            include_str!("store/leases.rs"),
            include_str!("store/outbox.rs"),
            include_str!("store/parking.rs"),
            include_str!("store/saving.rs"),
        ];
        let cases: Vec<_> = modules
            .iter()
            .flat_map(|module| module.split("pub async fn ").skip(1))
            .map(|rest| rest.split('<').next().unwrap_or_default())
            .collect();
        assert!(cases.len() > 40, "{cases:?}");
        for case in cases {
            let is_listed = [",", ";"].iter().any(|end| listed.contains(&format!("{case}{end}")));
            assert!(is_listed, "`{case}` is in no list of `store_suite!`");
        }
    }
}
