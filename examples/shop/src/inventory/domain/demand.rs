//! What an order needs, shelf by shelf.

use std::collections::BTreeMap;
use std::fmt;

/// Where CDs of one price stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shelf(String);

impl<T: Into<String>> From<T> for Shelf {
    fn from(name: T) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many CDs from which shelves, each shelf once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand(BTreeMap<Shelf, u64>);

impl Demand {
    /// The shelves and the quantities, sorted by shelf.
    pub fn iter(&self) -> impl Iterator<Item = (&Shelf, u64)> {
        self.0.iter().map(|(shelf, quantity)| (shelf, *quantity))
    }
}

impl FromIterator<(Shelf, u64)> for Demand {
    fn from_iter<I: IntoIterator<Item = (Shelf, u64)>>(lines: I) -> Self {
        let mut demand = BTreeMap::new();
        for (shelf, quantity) in lines {
            *demand.entry(shelf).or_insert(0) += quantity;
        }
        Self(demand)
    }
}
