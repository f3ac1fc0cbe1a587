//! Which orders a trial declines or refuses: decided by a hash, never by a random number generator.
//!
//! The hash takes nothing but the kind of trial, the seed and the order id. So the same orders are hit in
//! every run, after every restart, in whatever order and process they are handled.
//!
//! It is the UUIDv5 of `"<decline|refuse> <seed> <order id>"` in a namespace of its own; its first 48 bits,
//! modulo 100, are the order's lot, and a lot below the percentage is hit. A higher percentage therefore hits
//! all that a lower one did.

use uuid::{Uuid, uuid};

use crate::kernel::OrderId;

const LOTS: Uuid = uuid!("2d9a7e0b-5c41-4f1e-8b7a-90d3c6a1e5f4");

/// So many orders in a hundred, and the seed that chooses which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    seed: u64,
    percent: u8,
}

impl Trial {
    /// A trial that hits `percent` (0..=100) in a hundred orders.
    pub const fn new(seed: u64, percent: u8) -> Self {
        Self { seed, percent }
    }

    /// Whether the payment of this order is declined.
    pub fn declines(&self, order: OrderId) -> bool {
        self.hits("decline", order)
    }

    /// Whether this order is refused for stock.
    pub fn refuses(&self, order: OrderId) -> bool {
        self.hits("refuse", order)
    }

    fn hits(&self, trial: &str, order: OrderId) -> bool {
        lot(trial, self.seed, order) < self.percent
    }
}

/// The order's lot in this kind of trial, 0..=99.
fn lot(trial: &str, seed: u64, order: OrderId) -> u8 {
    let hash = Uuid::new_v5(&LOTS, format!("{trial} {seed} {order}").as_bytes());
    // The first 48 bits come before the version bits, which are not random.
    let first_48_bits = hash.as_u128() >> 80;
    (first_48_bits % 100) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purchases::Purchases;

    fn orders(count: u128) -> impl Iterator<Item = OrderId> {
        (0..count).map(|number| Uuid::from_u128(number).into())
    }

    #[test]
    fn a_lot_is_the_same_in_every_release() {
        let order = Uuid::from_u128(7).into();
        assert_eq!((lot("decline", 3, order), lot("refuse", 3, order)), (31, 36));
    }

    #[test]
    fn nothing_is_hit_at_0_percent_and_all_at_100() {
        let (none, all) = (Trial::new(1, 0), Trial::new(1, 100));
        assert!(orders(1_000).all(|order| !none.declines(order) && !none.refuses(order)));
        assert!(orders(1_000).all(|order| all.declines(order) && all.refuses(order)));
    }

    #[test]
    fn a_higher_percentage_hits_all_that_a_lower_one_did() {
        let (lower, higher) = (Trial::new(5, 7), Trial::new(5, 8));
        assert!(orders(1_000).all(|order| !lower.refuses(order) || higher.refuses(order)));
    }

    #[test]
    fn seeds_and_trials_hit_different_orders() {
        let hit = |trial, seed| orders(1_000).map(|order| lot(trial, seed, order) < 50).collect::<Vec<_>>();
        assert_ne!(hit("decline", 1), hit("decline", 2));
        assert_ne!(hit("decline", 1), hit("refuse", 1));
        assert_eq!(hit("decline", 1), hit("decline", 1));
    }

    #[test]
    fn about_seven_in_a_hundred_real_purchases_are_hit_at_7_percent() {
        let purchases: Vec<_> =
            Purchases::built_in().take(20_000).map(|purchase| purchase.unwrap()).collect();
        let trial = Trial::new(3, 7);
        let count = purchases.iter().filter(|purchase| trial.declines(purchase.id.into())).count();
        let expected = purchases.len() * 7 / 100;
        assert!(count.abs_diff(expected) < expected / 10, "{count} of about {expected}");
    }
}
