//! When to remove what nobody needs: now and then, by whoever holds bucket 0, so that one relay does it at a time; at
//! once again while there is more.

use std::time::Duration;

use super::Options;

/// Whoever holds this bucket cleans.
const BUCKET: u8 = 0;

#[derive(Debug, Default)]
pub(super) struct Cleaning {
    at: Duration,
    is_at_it: bool,
}

impl Cleaning {
    /// Whether it is time to; if so, it is taken as begun.
    pub(super) fn begin(&mut self, now: Duration, may: bool) -> bool {
        let due = may && !self.is_at_it && now >= self.at;
        self.is_at_it |= due;
        due
    }

    pub(super) fn done(&mut self, now: Duration, more: bool, options: &Options) {
        self.is_at_it = false;
        let pause = if more { options.poll_most } else { options.clean_up };
        self.at = now.saturating_add(pause.max(options.poll_least));
    }

    pub(super) fn wake_at(&self, may: bool) -> Duration {
        if may && !self.is_at_it { self.at } else { Duration::MAX }
    }
}

impl super::Relay {
    pub(super) fn may_clean(&self) -> bool {
        !self.is_closing() && self.leases.buckets().contains(BUCKET)
    }
}
