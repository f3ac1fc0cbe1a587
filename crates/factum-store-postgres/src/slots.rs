//! Who has which connection: as many places as there may be connections, taken and given back without a task or a trip.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
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
        Some(Ticket { slots: Arc::clone(self), at, place, permit: Some(permit), is_dirty: false })
    }
}

/// The right to one place. Dropped, it gives it back: at once, or after what its borrower has left there is cleaned up.
#[derive(Debug)]
pub(crate) struct Ticket {
    slots: Arc<Slots>,
    at: usize,
    pub(crate) place: Place,
    /// Given back after the place; `None`: somebody else has the right now.
    permit: Option<OwnedSemaphorePermit>,
    pub(crate) is_dirty: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let (slots, place) = (Arc::clone(&self.slots), Arc::clone(&self.place));
        let given_back = Self { slots, at: self.at, place, permit: Some(permit), is_dirty: false };
        if !self.is_dirty {
            return given_back.give_back();
        }
        let mut cleaning = Cleaning { ticket: given_back, is_done: false };
        // Its locks are not to wait for the next borrower.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { cleaning.run().await })),
            Err(_) => drop(cleaning),
        }
    }
}

impl Ticket {
    fn give_back(mut self) {
        self.slots.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.at);
        self.permit = None;
    }
}

/// Cleans a place up. Dropped before that is done, with its runtime, it closes the connection, which rolls back too.
struct Cleaning {
    ticket: Ticket,
    is_done: bool,
}

impl Cleaning {
    async fn run(&mut self) {
        let mut slot = Arc::clone(&self.ticket.place).lock_owned().await;
        if let Some(session) = &mut *slot
            && !session.is_clean_soon().await
        {
            *slot = None;
        }
        self.is_done = true;
    }
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        if !self.is_done
            && let Ok(mut slot) = self.ticket.place.try_lock()
        {
            *slot = None;
        }
    }
}
