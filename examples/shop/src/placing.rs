//! Placing orders: purchases are read in a thread, dealt to lanes by customer, and placed many at a time.
//!
//! A purchase of the same customer is never overtaken by a later one. What is read is placed: a bad line ends the
//! reading, and what came before it is committed. An order that is there already stays as it is.

use std::collections::HashSet;
use std::io;
use std::thread;

use factum::{BoxError, UnitOfWork, Work};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::kernel::{Money, OrderId};
use crate::ordering::application::{PlaceOrder, Placing, place_order};
use crate::ordering::domain::{Buyer, BuyerId, LineItem, Order};
use crate::patience::{Patience, outlast};
use crate::pipeline::Pipeline;
use crate::purchases::{InputError, Purchase};
use crate::service::ServiceStore;
use crate::tally::Tally;
use crate::{Failure, ordering};

/// Orders of different customers are placed side by side.
const LANES: usize = 4;
/// Orders that share a commit at most: waiting for the disk at every one would take the longest.
const ORDERS_A_COMMIT: usize = 256;
/// Purchases that are read ahead of a lane.
const READ_AHEAD: usize = 2 * ORDERS_A_COMMIT;
/// Orders on their way at most: placing waits for the services, and the outboxes stay small.
const UNDER_WAY_MAX: u64 = 10_000;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// All purchases.
    pub tally: Tally,
    /// Their ids.
    pub orders: HashSet<OrderId>,
    /// Their customers.
    pub customers: HashSet<u64>,
}

impl Input {
    fn count(&mut self, purchase: &Purchase) {
        self.tally.add(purchase.cds.into(), Money::from_cents(purchase.amount_cents));
        self.orders.insert(purchase.id.into());
        self.customers.insert(purchase.customer);
    }
}

/// What placing has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Orders that were placed now.
    pub now: u64,
    /// Orders that were there already.
    pub before: u64,
    /// Domain events that were dispatched by it.
    pub dispatched: u64,
}

impl Placed {
    /// Orders that are there.
    pub fn orders(&self) -> u64 {
        self.now + self.before
    }

    fn add(&mut self, other: Self) {
        self.now += other.now;
        self.before += other.before;
        self.dispatched += other.dispatched;
    }
}

/// Places an order for every purchase, as fast as the pipeline takes them. `look` is called now and then with
/// what was placed so far.
///
/// # Errors
///
/// Bad input, after all before it is placed; or the store.
pub async fn place_all<S: ServiceStore>(
    work: &Work<S>,
    pipeline: &Pipeline<S>,
    purchases: impl Iterator<Item = Result<Purchase, InputError>> + Send + 'static,
    mut look: impl FnMut(Placed),
) -> Result<(Input, Placed), Failure> {
    let (report, mut reports) = mpsc::channel(LANES);
    let (mut lanes, mut tasks) = (Vec::new(), JoinSet::new());
    for _ in 0..LANES {
        let (lane, purchases) = mpsc::channel(READ_AHEAD);
        lanes.push(lane);
        tasks.spawn(run_lane(work.clone(), purchases, report.clone()));
    }
    drop(report);
    let read = read(purchases, lanes)?;
    let mut placed = Placed::default();
    while let Some(more) = reports.recv().await {
        placed.add(more);
        look(placed);
        let mut patience = Patience::default();
        while under_way(placed, pipeline) > UNDER_WAY_MAX {
            if patience.is_worn() {
                pipeline.recount().await?;
            }
            patience.wait().await;
            look(placed);
        }
    }
    while let Some(ended) = tasks.join_next().await {
        let outcome = ended.map_err(BoxError::from).and_then(|outcome| outcome);
        outcome.map_err(Failure::of(ordering::NAME))?;
    }
    match read.await {
        Ok((input, Ok(()))) => Ok((input, placed)),
        Ok((_, Err(bad_input))) => Err(bad_input.into()),
        Err(gone) => Err(Failure::of(ordering::NAME)(gone)),
    }
}

/// Orders placed in this run that are not closed yet and still can be.
fn under_way<S: ServiceStore>(placed: Placed, pipeline: &Pipeline<S>) -> u64 {
    placed.now.saturating_sub(pipeline.closed_now() + pipeline.done().stuck)
}

type Read = (Input, Result<(), InputError>);

/// Reads in a thread of its own: a pipe may have nothing to say for a long time.
fn read(
    purchases: impl Iterator<Item = Result<Purchase, InputError>> + Send + 'static,
    lanes: Vec<mpsc::Sender<Purchase>>,
) -> Result<oneshot::Receiver<Read>, Failure> {
    let (done, read) = oneshot::channel();
    let deal = move || {
        let mut input = Input::default();
        let outcome = deal(purchases, &lanes, &mut input);
        // Whoever does not want to hear it any more has failed, and says so.
        let _ = done.send((input, outcome));
    };
    thread::Builder::new()
        .name("purchases".into())
        .spawn(deal)
        .map_err(|source: io::Error| Failure::System { what: "start the thread that reads", source })?;
    Ok(read)
}

fn deal(
    purchases: impl Iterator<Item = Result<Purchase, InputError>>,
    lanes: &[mpsc::Sender<Purchase>],
    input: &mut Input,
) -> Result<(), InputError> {
    for purchase in purchases {
        let purchase = purchase?;
        input.count(&purchase);
        let lane = &lanes[purchase.customer as usize % lanes.len()];
        if lane.blocking_send(purchase).is_err() {
            // The lane has failed, and its task says why.
            return Ok(());
        }
    }
    Ok(())
}

async fn run_lane<S: ServiceStore>(
    work: Work<S>,
    mut purchases: mpsc::Receiver<Purchase>,
    report: mpsc::Sender<Placed>,
) -> Result<(), BoxError> {
    let mut chunk = Vec::with_capacity(ORDERS_A_COMMIT);
    while purchases.recv_many(&mut chunk, ORDERS_A_COMMIT).await > 0 {
        let placed = place_chunk(&work, &chunk).await?;
        chunk.clear();
        if report.send(placed).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Places a chunk in one unit of work. Where nobody knows whether it was committed it is placed again, and what is there
/// already stays as it is.
async fn place_chunk<S: ServiceStore>(work: &Work<S>, chunk: &[Purchase]) -> Result<Placed, BoxError> {
    let run = || async move {
        let committed = work.run_with_changes(async |uow| place(chunk, uow).await).await?;
        let (placed, changes) = committed.into_inner();
        Ok::<_, BoxError>(Placed { dispatched: changes.dispatched as u64, ..placed })
    };
    outlast(work.store(), ordering::NAME, run).await
}

async fn place<S: ServiceStore>(chunk: &[Purchase], uow: &mut UnitOfWork<S>) -> Result<Placed, BoxError> {
    uow.preload::<Order>(chunk.iter().map(|purchase| purchase.id.into())).await?;
    uow.preload::<Buyer>(chunk.iter().map(|purchase| BuyerId(purchase.customer))).await?;
    let mut placed = Placed::default();
    for purchase in chunk {
        match place_order(command(purchase), uow).await? {
            Placing::Placed => placed.now += 1,
            Placing::PlacedBefore => placed.before += 1,
        }
    }
    Ok(placed)
}

fn command(purchase: &Purchase) -> PlaceOrder {
    let item = LineItem {
        shelf: purchase.shelf().into(),
        quantity: purchase.cds,
        amount: Money::from_cents(purchase.amount_cents),
    };
    PlaceOrder {
        order: purchase.id.into(),
        buyer: BuyerId(purchase.customer),
        date: purchase.date,
        lines: vec![item],
    }
}
