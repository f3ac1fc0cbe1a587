//! What stands on a shelf, and how much of it is held for orders.
//!
//! Nothing gets lost: what is on hand and what was shipped are together what was there at first and what was
//! reordered.

use factum::{AggregateRoot, DomainEvents};

use super::{Shelf, StockRanLow, StockReordered};

/// CDs on a shelf when it is opened.
pub const INITIAL_STOCK: u64 = 500;
/// A shelf with fewer CDs available is filled up.
pub const REORDER_BELOW: u64 = 100;
/// CDs that come with one reorder.
pub const REORDER_QUANTITY: u64 = 500;

/// How many CDs of a shelf are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockLevels {
    /// There when the shelf was opened.
    pub initial: u64,
    /// On the shelf, reserved ones included.
    pub on_hand: u64,
    /// Held for orders.
    pub reserved: u64,
    /// Gone to buyers, ever.
    pub shipped: u64,
    /// Come by reorders, ever.
    pub reordered: u64,
}

/// What the rules of a shelf forbid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// More than is there.
    #[error("shelf {shelf} has {available} available, {wanted} are wanted")]
    NotEnough {
        /// The shelf.
        shelf: Shelf,
        /// How many are wanted.
        wanted: u64,
        /// How many are there.
        available: u64,
    },
    /// More than was held.
    #[error("shelf {shelf} holds {reserved} for orders, not {wanted}")]
    NotReserved {
        /// The shelf.
        shelf: Shelf,
        /// How many are to be shipped or released.
        wanted: u64,
        /// How many are held.
        reserved: u64,
    },
}

/// The CDs of one shelf.
#[derive(Debug, PartialEq, AggregateRoot)]
pub struct StockItem {
    #[id]
    shelf: Shelf,
    levels: StockLevels,
    events: DomainEvents,
}

impl StockItem {
    /// Opens a shelf, with its initial stock.
    pub fn open(shelf: Shelf) -> Self {
        let (initial, on_hand) = (INITIAL_STOCK, INITIAL_STOCK);
        Self::restore(shelf, StockLevels { initial, on_hand, reserved: 0, shipped: 0, reordered: 0 })
    }

    /// A shelf as the database knows it.
    pub fn restore(shelf: Shelf, levels: StockLevels) -> Self {
        Self { shelf, levels, events: DomainEvents::new() }
    }

    /// How many CDs are where.
    pub fn levels(&self) -> StockLevels {
        self.levels
    }

    /// CDs that are on the shelf and held for nobody.
    pub fn available(&self) -> u64 {
        self.levels.on_hand - self.levels.reserved
    }

    /// Holds CDs for an order.
    ///
    /// # Errors
    ///
    /// [`StockError::NotEnough`].
    pub fn reserve(&mut self, quantity: u64) -> Result<(), StockError> {
        let available = self.available();
        if quantity > available {
            return Err(StockError::NotEnough { shelf: self.shelf.clone(), wanted: quantity, available });
        }
        self.levels.reserved += quantity;
        if self.available() < REORDER_BELOW {
            self.events.record(StockRanLow { shelf: self.shelf.clone(), available: self.available() });
        }
        Ok(())
    }

    /// Fills the shelf up.
    pub fn reorder(&mut self) {
        self.levels.on_hand += REORDER_QUANTITY;
        self.levels.reordered += REORDER_QUANTITY;
        self.events.record(StockReordered { shelf: self.shelf.clone(), quantity: REORDER_QUANTITY });
    }

    /// Sends reserved CDs to a buyer.
    ///
    /// # Errors
    ///
    /// [`StockError::NotReserved`].
    pub fn ship(&mut self, quantity: u64) -> Result<(), StockError> {
        self.release(quantity)?;
        self.levels.on_hand -= quantity;
        self.levels.shipped += quantity;
        Ok(())
    }

    /// Makes reserved CDs available again.
    ///
    /// # Errors
    ///
    /// [`StockError::NotReserved`].
    pub fn release(&mut self, quantity: u64) -> Result<(), StockError> {
        let reserved = self.levels.reserved;
        if quantity > reserved {
            return Err(StockError::NotReserved { shelf: self.shelf.clone(), wanted: quantity, reserved });
        }
        self.levels.reserved -= quantity;
        Ok(())
    }
}
