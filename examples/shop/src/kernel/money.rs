//! Amounts in whole cents: no floating point, and no division, because prices do not always divide.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use crate::report::dollars;

/// An amount in US dollars, to the cent. In JSON it is the number of cents.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money {
    cents: i64,
}

impl Money {
    /// So many cents.
    pub const fn from_cents(cents: i64) -> Self {
        Self { cents }
    }

    /// The number of cents.
    pub const fn cents(self) -> i64 {
        self.cents
    }

    /// Whether there is nothing to pay.
    pub const fn is_zero(self) -> bool {
        self.cents == 0
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::from_cents(self.cents + other.cents)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dollars(self.cents))
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up_to_the_cent() {
        let sum: Money = [1_177, 5, 0].map(Money::from_cents).into_iter().sum();
        assert_eq!(sum, Money::from_cents(1_182));
        assert_eq!(sum.to_string(), "$11.82");
    }

    #[test]
    fn in_json_an_amount_is_its_cents() {
        assert_eq!(serde_json::to_string(&Money::from_cents(1_177)).unwrap(), "1177");
    }
}
