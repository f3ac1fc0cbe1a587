//! How the totals of a database are added up: from committed documents, page by page.

use std::ops::AddAssign;

use factum::{Document, Documents, Error, UnitOfWork};

use crate::kernel::Money;

/// Documents that are in memory at once.
const PAGE: usize = 1_000;

/// So many orders, with so many CDs, for so much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// How many CDs in all.
    pub cds: u64,
    /// For how much in all.
    pub amount: Money,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, cds: u64, amount: Money) {
        *self += Self { count: 1, cds, amount };
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.cds += other.cds;
        self.amount += other.amount;
    }
}

/// Shows every document of a kind to `count`, in the order of their ids.
///
/// # Errors
///
/// The store.
pub async fn each<A: Document, S: Documents>(
    uow: &mut UnitOfWork<S>,
    mut count: impl FnMut(A::State),
) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let page = uow.scan::<A>(&after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after.clone_from(last);
        page.into_iter().for_each(|(_, state)| count(state));
    }
}
