//! An order was placed: all that it needs is held for it, or nothing.
//!
//! Two kinds of aggregate change in one transaction, the reservation and the shelves: that no CD is promised
//! twice must hold at commit.

use factum::{BoxError, Documents, Outcome, Received, Subscriber, Tracked, UnitOfWork};

use super::OrderPlaced;
use crate::chance::Trial;
use crate::inventory::domain::{Demand, Reservation, StockItem};

/// Holds stock for orders.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReserveStock {
    /// Which orders are refused although there is stock.
    pub shortage: Trial,
}

impl<S: Documents> Subscriber<OrderPlaced, S> for ReserveStock {
    async fn receive(&self, placed: &Received<OrderPlaced>, uow: &mut UnitOfWork<S>) -> Outcome {
        let demand = placed.demand();
        if self.shortage.refuses(placed.order) {
            uow.add(Reservation::refuse(placed.order, demand));
            return Ok(());
        }
        let reservation = match reserve(&demand, uow).await? {
            true => Reservation::hold(placed.order, demand),
            false => Reservation::refuse(placed.order, demand),
        };
        uow.add(reservation);
        Ok(())
    }
}

/// Takes from every shelf, or from none where one has too little.
async fn reserve<S: Documents>(demand: &Demand, uow: &mut UnitOfWork<S>) -> Result<bool, BoxError> {
    let mut shelves = Vec::new();
    for (shelf, quantity) in demand.iter() {
        let item = match uow.find::<StockItem>(shelf).await? {
            Some(known) => known,
            None => uow.add(StockItem::open(shelf.clone())),
        };
        shelves.push((item, quantity));
    }
    let all_there = shelves.iter().all(|(item, quantity)| uow[*item].available() >= *quantity);
    if all_there {
        take(&shelves, uow)?;
    }
    Ok(all_there)
}

fn take<S: Documents>(shelves: &[(Tracked<StockItem>, u64)], uow: &mut UnitOfWork<S>) -> Outcome {
    for (item, quantity) in shelves {
        uow[*item].reserve(*quantity)?;
    }
    Ok(())
}
