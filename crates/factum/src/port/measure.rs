//! How a read of an outbox keeps to the bytes that it may bring.

use std::sync::atomic::{AtomicU32, Ordering};

/// After a row that was larger than its share, so many reads sum.
const SUMMED: u32 = 64;

/// How one read does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The data of a row that takes more than its share of them is left out, and the read is made again.
    Share,
    /// Sizes are summed before data is read; that is a third or more of a database's work.
    Sum,
}

/// Chooses how reads keep to their bytes: few outboxes have large data at all, and they have it again and again.
#[derive(Debug, Default)]
pub struct Measures {
    left: AtomicU32,
}

impl Measures {
    /// For the next read.
    pub fn next(&self) -> Measure {
        let less = |left: u32| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Measure::Sum,
            Err(_) => Measure::Share,
        }
    }

    /// A row was larger than its share.
    pub fn is_large(&self) {
        self.left.store(SUMMED, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_large_row_reads_sum_for_a_while() {
        let measures = Measures::default();
        assert_eq!(measures.next(), Measure::Share);
        measures.is_large();
        let sums = std::iter::from_fn(|| Some(measures.next())).take_while(|it| *it == Measure::Sum).count();
        assert_eq!(sums, SUMMED as usize);
        assert_eq!(measures.next(), Measure::Share);
    }
}
