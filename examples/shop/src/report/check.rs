//! Two figures that should be the same, from two places that do not know each other.

use std::fmt;

use super::number::{dollars, grouped};

/// A figure, with its unit: a count never agrees with an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// How many.
    Count(u64),
    /// How much, in cents.
    Cents(i64),
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Figure::Count(count) => f.pad(&grouped(count)),
            Figure::Cents(cents) => f.pad(&dollars(cents)),
        }
    }
}

/// One line of the reconciliation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    what: String,
    expected: Figure,
    found: Figure,
}

impl Check {
    /// Compares two counts.
    pub fn count(what: impl Into<String>, expected: u64, found: u64) -> Self {
        Self { what: what.into(), expected: Figure::Count(expected), found: Figure::Count(found) }
    }

    /// Compares two amounts in cents.
    pub fn cents(what: impl Into<String>, expected: i64, found: i64) -> Self {
        Self { what: what.into(), expected: Figure::Cents(expected), found: Figure::Cents(found) }
    }

    /// What is compared, for a person: `CDs: confirmed orders = read database`.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The figure that is relied on.
    pub fn expected(&self) -> Figure {
        self.expected
    }

    /// The figure that is checked.
    pub fn found(&self) -> Figure {
        self.found
    }

    /// Whether both are the same.
    pub fn agrees(&self) -> bool {
        self.expected == self.found
    }
}
