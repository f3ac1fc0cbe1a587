//! The suite that every event bus must pass: what subscribers and the relay rely on, a case each.
//!
//! An adapter adds one file of tests: a [`BusFixture`] that opens its bus, and [`bus_suite!`](crate::bus_suite) with
//! it. A case that needs what the bus does not declare in its [`Capabilities`] says so and passes; a bus that
//! declares what it cannot do fails. Nothing here waits for time to pass: cases wait for counted arrivals, and what
//! must *not* come is judged when something later has.
//!
//! Sixteen of the cases check what Watermill's suite for publishers and subscribers checks, in this library's terms.

mod answers;
#[doc(hidden)]
pub mod cases;
mod readers;
mod stage;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use factum::EventBus;
use factum::integration::Capabilities;

use crate::service::Server;

/// How the suite gets at a bus.
pub trait BusFixture: Sized + Send + Sync + 'static {
    /// How long a case waits before it fails. Only failures take that long.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// Whether it answers `Unroutable` where there is no subscription for a type.
    const TELLS_UNROUTABLE: bool = true;

    /// The server that it needs, if any: where it is missing, its cases skip themselves aloud, or fail.
    const SERVER: Option<Server> = None;

    /// A bus that no other case disturbs; names are drawn at random, so that they may share a broker.
    fn open() -> impl Future<Output = Self> + Send;

    /// A handle of the bus. Two calls may give the same connection or two.
    fn bus(&self) -> Arc<dyn EventBus>;

    /// A handle as another process has it: closing it leaves the other handles alone. `None` if the bus is closed as
    /// a whole.
    fn elsewhere(&self) -> impl Future<Output = Option<Arc<dyn EventBus>>> + Send {
        async { None }
    }

    /// Restarts the broker, and says whether there is one to restart.
    fn restart(&self) -> impl Future<Output = bool> + Send {
        async { false }
    }

    /// How many envelopes a subscription that nobody reads holds before publishing waits. `None` if it never does.
    fn queue_bound(&self) -> Option<usize> {
        None
    }
}

/// How large the cases are: `FACTUM_SUITE=full` makes them so, otherwise they are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A second or two for all cases.
    Short,
    /// The numbers of the original.
    Full,
}

impl Size {
    /// What the environment asks for.
    pub fn of_this_run() -> Self {
        match std::env::var("FACTUM_SUITE").as_deref() {
            Ok("full") => Self::Full,
            _ => Self::Short,
        }
    }

    /// One number or the other.
    pub fn pick(self, short: usize, full: usize) -> usize {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// Runs one case on a runtime of its own, where the server that it needs is there. [`bus_suite!`](crate::bus_suite) calls it.
///
/// # Panics
/// When the case fails or does not end, or the runtime cannot be built.
pub fn run<F: BusFixture, C: Future<Output = ()>>(name: &str, case: impl FnOnce() -> C) {
    if F::SERVER.is_some_and(|server| !server.is_there_or_skip(name)) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime
        .expect("a runtime for the case")
        .block_on(async { tokio::time::timeout(F::PATIENCE * 10, case()).await });
    ended.expect("the case did not end");
}

/// Expands into one test for each case of the suite, against the fixture.
///
/// ```ignore
/// factum_conformance::bus_suite!(MyFixture);
/// ```
#[macro_export]
macro_rules! bus_suite {
    ($fixture:ty) => {
        $crate::bus_suite! { @cases $fixture;
            arrival::everything_published_arrives_as_it_was_sent
            arrival::competing_consumers_together_get_everything
            arrival::many_types_at_once_each_reach_their_own_subscription
            arrival::a_type_does_not_leak_into_the_subscription_of_another
            arrival::publishers_that_go_away_lose_nothing
            arrival::a_subscription_gets_what_is_published_from_its_beginning_on
            arrival::two_subscriptions_get_the_complete_set_each
            arrival::the_same_id_of_another_source_is_another_event
            arrival::what_is_published_while_no_consumer_is_there_waits_for_one
            content::attributes_and_extensions_arrive_unchanged
            content::attributes_that_are_not_there_stay_away
            content::data_of_any_bytes_arrives_unchanged
            content::the_largest_data_is_taken_and_one_byte_more_is_refused
            redelivery::what_is_handed_back_comes_again
            redelivery::consumers_that_only_hand_back_use_nothing_up
            redelivery::a_delivery_that_is_dropped_comes_again
            redelivery::a_consumer_that_dies_leaves_what_it_held_to_the_next
            redelivery::consumers_that_come_and_go_lose_nothing
            redelivery::a_storm_of_consumers_leaves_the_subscription_usable
            redelivery::what_is_rejected_does_not_come_again_and_its_key_goes_on
            redelivery::each_delivery_tells_which_attempt_it_is
            redelivery::what_is_handed_back_for_later_does_not_come_before
            redelivery::a_delivery_in_progress_stays_with_its_consumer
            redelivery::nothing_is_lost_when_the_broker_restarts_twice
            order::the_next_of_a_key_waits_for_the_acknowledgement_and_other_keys_do_not
            order::each_key_keeps_its_order_across_competing_consumers
            order::each_key_keeps_its_order_when_consumers_hand_back_and_die
            order::a_key_keeps_its_order_across_the_types_of_a_subscription
            order::what_is_handed_back_for_later_holds_up_its_key_and_no_other
            answer::each_publication_is_answered_once
            answer::it_is_confirmed_when_every_subscription_has_handled_it_and_not_before
            answer::what_nobody_takes_is_unroutable_until_somebody_subscribes
            answer::what_comes_behind_a_refused_one_of_its_key_does_not_get_ahead_of_it
            answer::an_event_published_twice_is_confirmed_twice
            answer::publishing_waits_when_nobody_consumes_and_goes_on_when_somebody_does
            ending::after_closing_it_takes_no_more
            ending::closing_waits_for_what_is_out
            ending::closing_ends_at_its_deadline
            ending::a_delivery_does_not_outlive_its_bus
            cancel::next_may_be_dropped_at_every_poll
            cancel::publish_may_be_dropped_at_every_poll
        }
    };
    (@cases $fixture:ty; $($group:ident :: $case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::bus::run::<$fixture, _>(stringify!($case), $crate::bus::cases::$group::$case::<$fixture>);
            }
        )*
    };
}

pub(crate) fn say_skipped(missing: &str, capabilities: Capabilities) {
    println!("does not apply: the bus has no {missing}; it declares {capabilities:?}");
}
