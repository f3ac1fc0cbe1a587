//! The totals of the inventory database.

use factum::{Documents, Error, Work};

use super::{ReservationState, StatusState, StockItemState};
use crate::inventory::domain::{Reservation, StockItem};
use crate::tally::each;

/// The totals of the inventory database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Reservations, the refused ones included: orders that were answered.
    pub reservations: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those that were shipped.
    pub fulfilled: u64,
    /// Those that were released.
    pub released: u64,
    /// CDs in shipped reservations.
    pub cds_fulfilled: u64,
    /// Shelves.
    pub shelves: u64,
    /// Shelves where what is on hand and shipped is what was there at first and reordered.
    pub shelves_in_balance: u64,
    /// CDs that shelves hold for orders.
    pub cds_reserved: u64,
    /// CDs that were shipped from shelves.
    pub cds_shipped: u64,
}

/// Adds the database up.
///
/// # Errors
///
/// The store.
pub async fn figures<S: Documents>(work: &Work<S>) -> Result<Figures, Error> {
    let mut figures = Figures::default();
    let mut uow = work.read().await?;
    each::<Reservation, S>(&mut uow, |reservation| figures.count_reservation(&reservation)).await?;
    each::<StockItem, S>(&mut uow, |item| figures.count_shelf(&item)).await?;
    uow.roll_back().await;
    Ok(figures)
}

impl Figures {
    fn count_reservation(&mut self, reservation: &ReservationState) {
        self.reservations += 1;
        match reservation.status {
            StatusState::Held => {}
            StatusState::Refused => self.refused += 1,
            StatusState::Released => self.released += 1,
            StatusState::Fulfilled => {
                self.fulfilled += 1;
                self.cds_fulfilled += reservation.lines.values().sum::<u64>();
            }
        }
    }

    fn count_shelf(&mut self, item: &StockItemState) {
        self.shelves += 1;
        self.shelves_in_balance += u64::from(item.on_hand + item.shipped == item.initial + item.reordered);
        self.cds_reserved += item.reserved;
        self.cds_shipped += item.shipped;
    }
}
