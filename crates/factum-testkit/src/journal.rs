//! Takes notes of the units of work of a world, in the order in which they ended.

use std::sync::{Mutex, MutexGuard, PoisonError};

use factum::Error;
use factum::port::{Observer, Saved};

/// One unit of work that ended.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Committed(Saved),
    Failed(String),
}

/// Takes notes.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Vec<Entry>>);

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many units of work have ended.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }
}

impl Observer for Journal {
    fn committed(&self, saved: &Saved) {
        self.lock().push(Entry::Committed(saved.clone()));
    }

    fn failed(&self, error: &Error) {
        self.lock().push(Entry::Failed(error.to_string()));
    }
}
