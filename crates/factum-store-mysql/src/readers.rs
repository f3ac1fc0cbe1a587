//! From where a read has to begin so that its caller misses nothing, although transactions commit out of `seq` order.
//!
//! Of each caller it is kept up to which `seq` he has been shown all that will ever be there: the part of the horizon, as
//! it was *before* a read, that this read has walked over. A caller is known by the clone of the store that he uses,
//! and by his buckets.

use std::sync::Mutex;
use std::sync::PoisonError;

use factum::port::BucketSet;

use crate::horizon::Horizon;

/// So many sets of buckets are remembered.
const CALLERS: usize = 8;

/// What one clone of a store has shown.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<Callers>);

#[derive(Debug, Default)]
struct Callers {
    shown: Vec<(BucketSet, i64)>,
    /// How often the horizon had gone back when it was looked at last.
    returns: usize,
}

impl Clone for Readers {
    /// Another caller, who was shown nothing.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Readers {
    /// Up to where everything was shown of these buckets.
    pub(crate) fn shown(&self, buckets: BucketSet) -> i64 {
        let callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = callers.shown.iter().filter(|(known, _)| buckets.without(*known).is_empty());
        of.map(|(_, shown)| *shown).max().unwrap_or_default()
    }

    /// A read of these buckets began above `above` and has shown all up to `end`; `horizon` was final before it.
    pub(crate) fn read(&self, buckets: BucketSet, above: i64, end: i64, horizon: i64) -> i64 {
        let before = self.shown(buckets);
        let shown = if above <= before { before.max(horizon.min(end)) } else { before };
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        callers.shown.retain(|(known, _)| *known != buckets);
        callers.shown.insert(0, (buckets, shown));
        callers.shown.truncate(CALLERS);
        shown
    }

    /// Goes back as far as the horizon did.
    pub(crate) fn follow(&self, horizon: &Horizon) {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(low) = horizon.lowered_since(&mut callers.returns) {
            callers.shown.iter_mut().for_each(|(_, shown)| *shown = low.min(*shown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_walked_over_after_it_was_final_counts_as_shown() {
        let readers = Readers::default();
        let (all, one) = (BucketSet::ALL, BucketSet::from_iter([1]));
        assert_eq!(readers.read(all, 0, 100, 40), 40);
        assert_eq!(readers.read(all, 0, 50, 90), 50, "it ended before the horizon");
        assert_eq!(readers.read(all, 60, 100, 90), 50, "it began too high");
        assert_eq!(readers.read(all, 50, i64::MAX, 90), 90);
        assert_eq!(readers.shown(one), 90);
        assert_eq!(readers.read(one, 90, i64::MAX, 120), 120);
        assert_eq!(readers.shown(all), 90, "the other buckets were not looked at");
        assert_eq!(readers.clone().shown(all), 0);
        let mut horizon = Horizon::new(std::time::Duration::ZERO);
        horizon.appeared(100);
        for again in [99, 120] {
            readers.follow(&horizon);
            assert_eq!((readers.shown(one), readers.shown(all)), (again, 90.min(again)));
            readers.read(one, 90, i64::MAX, 120);
        }
    }
}
