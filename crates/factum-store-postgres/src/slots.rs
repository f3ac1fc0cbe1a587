//! Who has which connection: as many places as there may be connections, taken and given back without a task or a trip.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Slot, OwnedSemaphorePermit, Semaphore};

use crate::session::Session;

/// A place for a connection; empty until it is needed.
pub(crate) type Place = Arc<Slot<Option<Session>>>;

/// All places, and which of them are free. The last one given back is the next one taken: what is needed at quiet times
/// stays warm, and the rest grows old.
#[derive(Debug)]
pub(crate) struct Slots {
    places: Vec<Place>,
    free: Mutex<Vec<usize>>,
    permits: Arc<Semaphore>,
}

impl Slots {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let most = most.max(1);
        Arc::new(Self {
            places: (0..most).map(|_| Place::default()).collect(),
            free: Mutex::new((0..most).rev().collect()),
            permits: Arc::new(Semaphore::new(most)),
        })
    }

    pub(crate) fn most(&self) -> usize {
        self.places.len()
    }

    /// Waits for a free place. `None`: there is none any more, ever.
    pub(crate) async fn ticket(self: &Arc<Self>) -> Option<Ticket> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let at = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let place = Arc::clone(self.places.get(at)?);
        Some(Ticket { slots: Arc::clone(self), at, place, _permit: permit })
    }
}

/// The right to one place. Dropped, it gives it back.
#[derive(Debug)]
pub(crate) struct Ticket {
    slots: Arc<Slots>,
    at: usize,
    pub(crate) place: Place,
    /// Given back after the place.
    _permit: OwnedSemaphorePermit,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.slots.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.at);
    }
}
