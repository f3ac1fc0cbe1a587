//! What a test asserts of a world. Every message lists what did happen.

use std::fmt::Debug;

use factum::IntegrationEvent;

use crate::World;

impl World {
    /// Asserts which domain events were dispatched and committed, by name and in order.
    ///
    /// # Panics
    /// If it is not so; the message lists what did happen.
    #[track_caller]
    pub fn assert_dispatched(&self, names: &[&str]) {
        let story = self.story();
        let dispatched = story.dispatched();
        assert!(
            dispatched == names,
            "expected {names:?} to be dispatched, found {dispatched:?}; this happened:\n{story}"
        );
    }

    /// Asserts which integration events of a type were announced, in order.
    ///
    /// # Panics
    /// If it is not so; the message lists what did happen.
    #[track_caller]
    pub fn assert_announced<E: IntegrationEvent + PartialEq + Debug>(&self, events: &[E]) {
        let story = self.story();
        let announced = story.announced::<E>();
        assert!(
            announced == events,
            "expected {events:?} to be announced, found {announced:?}; this happened:\n{story}"
        );
    }

    /// Asserts how many events a subscription has handled, repeats not counted.
    ///
    /// # Panics
    /// If it is not so; the message lists what did happen.
    #[track_caller]
    pub fn assert_handled(&self, subscription: &str, times: usize) {
        let story = self.story();
        let handled = story.handled(subscription);
        assert!(
            handled == times,
            "expected {subscription} to handle {times} events, found {handled}; this happened:\n{story}"
        );
    }

    /// Asserts how many events of one type a subscription has handled, repeats not counted.
    ///
    /// # Panics
    /// If it is not so; the message lists what did happen.
    #[track_caller]
    pub fn assert_handled_of<E: IntegrationEvent>(&self, subscription: &str, times: usize) {
        let story = self.story();
        let handled = story.handled_of::<E>(subscription);
        assert!(
            handled == times,
            "expected {subscription} to handle {times} {}, found {handled}; this happened:\n{story}",
            E::TYPE
        );
    }

    /// Asserts that no save and no delivery was rolled back, be it that a later attempt succeeded.
    ///
    /// # Panics
    /// If it is not so; the message lists what did happen.
    #[track_caller]
    pub fn assert_no_failures(&self) {
        let story = self.story();
        let failures = story.failures();
        assert!(failures.is_empty(), "expected no failures, found {failures:#?}; this happened:\n{story}");
    }
}
