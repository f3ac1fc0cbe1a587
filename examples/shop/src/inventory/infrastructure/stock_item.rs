//! A shelf as a document.

use factum::{Document, Entity};
use serde::{Deserialize, Serialize};

use crate::inventory::domain::{StockItem, StockLevels};

/// What is stored of a shelf.
#[derive(Debug, Serialize, Deserialize)]
pub struct StockItemState {
    /// Its name.
    pub shelf: String,
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

impl Document for StockItem {
    const COLLECTION: &'static str = "stock-items";
    type State = StockItemState;

    fn state(&self) -> StockItemState {
        let StockLevels { initial, on_hand, reserved, shipped, reordered } = self.levels();
        StockItemState { shelf: self.id().to_string(), initial, on_hand, reserved, shipped, reordered }
    }

    fn restore(state: StockItemState) -> Self {
        let StockItemState { shelf, initial, on_hand, reserved, shipped, reordered } = state;
        StockItem::restore(shelf.into(), StockLevels { initial, on_hand, reserved, shipped, reordered })
    }
}
