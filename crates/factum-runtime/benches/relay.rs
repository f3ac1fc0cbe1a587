//! What a relay itself costs for an envelope, beside store and bus: both answer at once here. One JSON line for the
//! machine alone, one for the machine with its driver.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use factum::integration::{Answer, Capabilities, Deliveries, Interest, Publication};
use factum::port::{Asked, Found, Lease, Leased, OutboxRow, OutboxStore, Read, Settlement, read_back};
use factum::protocol::relay::{Input, Options, Output, Relay as Machine, Row, Summary};
use factum::{BoxError, BoxFuture, Envelope, EventBus};
use factum_runtime::Relay;
use tokio::sync::Notify;

const ROWS: i64 = 400_000;
const KEYS: i64 = 10_000;
const BATCH: i64 = 1_000;

fn row(seq: i64) -> OutboxRow {
    let mut envelope = Envelope::new(
        format!("0193-{seq}"),
        "https://bench.example/here",
        "com.example.bench.v1",
        vec![b'x'; 200],
    );
    envelope.partitionkey = Some(format!("key {}", seq % KEYS).into());
    let (bucket, source) = (envelope.bucket(), envelope.source.clone());
    OutboxRow { seq, bucket, attempts: 0, envelope: read_back(envelope, source) }
}

fn leased() -> Leased {
    Leased { leases: (0..64).map(|bucket| Lease { bucket, epoch: 1 }).collect(), relays: 1 }
}

/// The machine, with rows that were made before.
fn machine() -> Duration {
    let mut summary = Summary::default();
    let mut batches: Vec<Vec<Row>> = (0..ROWS / BATCH)
        .map(|batch| (batch * BATCH + 1..=(batch + 1) * BATCH).map(|seq| summary.of(&row(seq))).collect())
        .collect();
    batches.reverse();
    let mut relay = Machine::new(Options::default());
    let began = Instant::now();
    let mut inputs = std::collections::VecDeque::from([Input::Tick]);
    let mut settled = 0;
    let mut out = Vec::new();
    while settled < ROWS as usize {
        let Some(input) = inputs.pop_front() else {
            inputs.push_back(Input::Tick);
            continue;
        };
        relay.on(began.elapsed(), input, &mut out);
        for output in out.drain(..) {
            match output {
                Output::Lease(_) => inputs.push_back(Input::Leased(leased())),
                Output::Read(_) => {
                    let rows = batches.pop().unwrap_or_default();
                    inputs.push_back(Input::Found { rows, floor: i64::MAX, generation: 0 });
                }
                Output::Publish(batch) => {
                    let answers = batch.iter().map(|sent| (sent.ticket, Answer::Confirmed)).collect();
                    inputs.push_back(Input::Answered(answers));
                }
                Output::Settle(_, settlement) => {
                    settled += settlement.confirmed.len();
                    inputs.push_back(Input::Settled(settlement.confirmed.len()));
                }
                Output::CleanUp => inputs.push_back(Input::CleanedUp(false)),
                other => drop(black_box(other)),
            }
        }
    }
    began.elapsed()
}

struct Instant0 {
    batches: Mutex<Vec<Vec<OutboxRow>>>,
    settled: Mutex<usize>,
    done: Notify,
}

impl OutboxStore for Instant0 {
    fn lease<'a>(&'a self, _: &'a str, _: Asked) -> BoxFuture<'a, Result<Leased, BoxError>> {
        Box::pin(async { Ok(leased()) })
    }

    fn release<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async { Ok(()) })
    }

    fn read<'a>(&'a self, _: Read) -> BoxFuture<'a, Result<Found, BoxError>> {
        Box::pin(async {
            let rows = self.batches.lock().map_err(|_| "poisoned")?.pop().unwrap_or_default();
            Ok(Found { rows, floor: i64::MAX, generation: 0 })
        })
    }

    fn settle<'a>(
        &'a self,
        _: &'a str,
        _: &'a [Lease],
        settlement: &'a Settlement,
    ) -> BoxFuture<'a, Result<usize, BoxError>> {
        Box::pin(async {
            let mut settled = self.settled.lock().map_err(|_| "poisoned")?;
            *settled += settlement.confirmed.len();
            if *settled == ROWS as usize {
                self.done.notify_one();
            }
            Ok(settlement.confirmed.len())
        })
    }

    fn hint(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

struct Yes;

impl EventBus for Yes {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async {
            for Publication { envelope, confirm } in batch {
                black_box(envelope);
                confirm.answer(Answer::Confirmed);
            }
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, _: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async { Err("nobody subscribes here".into()) })
    }

    fn close<'a>(&'a self, _: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

fn driven() -> Duration {
    let mut batches: Vec<Vec<OutboxRow>> =
        (0..ROWS / BATCH).map(|batch| (batch * BATCH + 1..=(batch + 1) * BATCH).map(row).collect()).collect();
    batches.reverse();
    let store =
        Arc::new(Instant0 { batches: Mutex::new(batches), settled: Mutex::new(0), done: Notify::new() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let began = Instant::now();
        let waiting = Arc::clone(&store);
        let relay = Relay::new(store, Arc::new(Yes));
        relay.run(async move { waiting.done.notified().await }).await.expect("it runs");
        began.elapsed()
    })
}

fn main() {
    for (what, run) in [("machine", machine as fn() -> Duration), ("machine and driver", driven)] {
        let mut times: Vec<Duration> = (0..5).map(|_| run()).collect();
        times.sort();
        let ns = times[2].as_nanos() as f64 / ROWS as f64;
        println!(
            "{{\"bench\":\"relay alone\",\"what\":\"{what}\",\"keys\":{KEYS},\"ns_per_envelope\":{ns:.0}}}"
        );
    }
}
