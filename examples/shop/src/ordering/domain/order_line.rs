//! What is ordered: a line is a child entity of its order and records what happens to it.

use std::fmt;

use factum::{DomainEvents, Entity};

use super::LineAllocated;
use crate::kernel::Money;

/// Where the CDs of a line come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf(String);

impl Shelf {
    /// The shelf's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Shelf {
    fn from(name: T) -> Self {
        Self(name.into())
    }
}

/// So many CDs from a shelf, for so much in all. There is no unit price: amounts do not always divide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineItem {
    /// Where the CDs come from.
    pub shelf: Shelf,
    /// How many CDs.
    pub quantity: u32,
    /// For how much in all.
    pub amount: Money,
}

/// Identifies a line within its order, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineNumber(pub u32);

impl fmt::Display for LineNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One line of an order.
#[derive(Debug, PartialEq, Entity)]
pub struct OrderLine {
    #[id]
    number: LineNumber,
    item: LineItem,
    allocated: bool,
    events: DomainEvents,
}

impl OrderLine {
    pub(super) fn new(number: LineNumber, item: LineItem) -> Self {
        Self::restore(number, item, false)
    }

    /// A line as the database knows it.
    pub fn restore(number: LineNumber, item: LineItem, allocated: bool) -> Self {
        Self { number, item, allocated, events: DomainEvents::new() }
    }

    pub(super) fn allocate(&mut self) {
        self.allocated = true;
        self.events.record(LineAllocated { line: self.number, item: self.item.clone() });
    }

    /// The line's number within its order.
    pub fn number(&self) -> LineNumber {
        self.number
    }

    /// What is ordered.
    pub fn item(&self) -> &LineItem {
        &self.item
    }

    /// Whether stock is held for it.
    pub fn is_allocated(&self) -> bool {
        self.allocated
    }
}
