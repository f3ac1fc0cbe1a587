//! Which orders a trial declines or refuses: decided by a hash, never by a random number generator.
//!
//! The hash takes nothing but the kind of trial, the seed and the order id. So the same orders are hit in
//! every run, after every restart, in whatever order and process they are handled.
//!
//! It is the UUIDv5 of `"<decline|refuse> <seed> <order id>"` in a namespace of its own; its first 48 bits,
//! modulo 100, are the order's lot, and a lot below the percentage is hit. A higher percentage therefore hits
//! all that a lower one did.

use uuid::{Uuid, uuid};

const LOTS: Uuid = uuid!("2d9a7e0b-5c41-4f1e-8b7a-90d3c6a1e5f4");

/// Whether the payment of this order is declined, for `percent` (0..=100) in a hundred orders. An order of
/// $0.00 never is: there is nothing to pay.
pub fn declines(seed: u64, order: Uuid, amount_cents: i64, percent: u8) -> bool {
    amount_cents > 0 && lot("decline", seed, order) < percent
}

/// Whether this order is refused for stock, for `percent` (0..=100) in a hundred orders.
pub fn refuses(seed: u64, order: Uuid, percent: u8) -> bool {
    lot("refuse", seed, order) < percent
}

/// The order's lot in this kind of trial, 0..=99.
fn lot(trial: &str, seed: u64, order: Uuid) -> u8 {
    let hash = Uuid::new_v5(&LOTS, format!("{trial} {seed} {order}").as_bytes());
    // The first 48 bits come before the version bits, which are not random.
    let first_48_bits = hash.as_u128() >> 80;
    (first_48_bits % 100) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purchases::Purchases;

    fn orders(count: u128) -> impl Iterator<Item = Uuid> {
        (0..count).map(Uuid::from_u128)
    }

    #[test]
    fn a_lot_is_the_same_in_every_release() {
        let order = Uuid::from_u128(7);
        assert_eq!((lot("decline", 3, order), lot("refuse", 3, order)), (31, 36));
    }

    #[test]
    fn nothing_is_hit_at_0_percent_and_all_at_100() {
        assert!(orders(1_000).all(|order| !declines(1, order, 100, 0) && !refuses(1, order, 0)));
        assert!(orders(1_000).all(|order| declines(1, order, 100, 100) && refuses(1, order, 100)));
    }

    #[test]
    fn an_order_of_nothing_is_never_declined_but_may_be_refused() {
        assert!(orders(1_000).all(|order| !declines(1, order, 0, 100)));
        assert!(orders(1_000).all(|order| declines(1, order, 1, 100)));
        assert!(orders(1_000).all(|order| refuses(1, order, 100)));
    }

    #[test]
    fn a_higher_percentage_hits_all_that_a_lower_one_did() {
        assert!(orders(1_000).all(|order| !refuses(5, order, 7) || refuses(5, order, 8)));
    }

    #[test]
    fn seeds_and_trials_hit_different_orders() {
        let hit = |trial, seed| orders(1_000).map(|order| lot(trial, seed, order) < 50).collect::<Vec<_>>();
        assert_ne!(hit("decline", 1), hit("decline", 2));
        assert_ne!(hit("decline", 1), hit("refuse", 1));
        assert_eq!(hit("decline", 1), hit("decline", 1));
    }

    #[test]
    fn about_seven_in_a_hundred_real_purchases_are_declined_at_7_percent() {
        let purchases: Vec<_> = Purchases::built_in().map(|purchase| purchase.unwrap()).collect();
        let count = purchases.iter().filter(|it| declines(3, it.id, it.amount_cents, 7)).count();
        let expected = purchases.len() * 7 / 100;
        assert!(count.abs_diff(expected) < expected / 10, "{count} of about {expected}");
    }
}
