//! `latency`: from the return of a commit to the arrival at a consumer, in one process and by one clock, at a steady rate
//! of commits: through the unit of work, the relay and a subscription of the bus, and through a loop by hand.

mod by_hand;
mod pace;
mod tap;
mod through;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use factum::Persist;
use factum_store_mysql::MySql;
use factum_store_postgres::Postgres;
use hdrhistogram::Histogram;

use crate::figure::{Line, Rounds, hundredths};
use crate::notes::{self, Note, Notes};
use crate::place::{Bus, Database, Store};
use crate::raw::RawStore;
use crate::{Outcome, fill, ours, raw};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where the database is made
    #[arg(long)]
    store: Store,
    /// The broker
    #[arg(long)]
    bus: Bus,
    /// Commits a second
    #[arg(long, default_values_t = [100, 1_000, 4_000], value_delimiter = ',')]
    rate: Vec<u64>,
    /// Seconds of each side in a round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Rounds; the median counts
    #[arg(long, default_value_t = 3)]
    repeat: usize,
}

/// Clients that commit; each with one transaction at a time.
const WRITERS: u32 = 16;
/// How long a run waits for the last arrival.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an event of ours passes on its way.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Read,
    Published,
}

/// When each event was committed, and when it came, in nanoseconds since the beginning; 0: not yet.
struct Stamps {
    began: Instant,
    committed: Vec<AtomicU64>,
    passed: [Vec<AtomicU64>; 2],
    received: Vec<AtomicU64>,
    arrived: AtomicU64,
}

impl Stamps {
    fn new(events: u64) -> Arc<Self> {
        let blank = || (0..events).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            began: Instant::now(),
            committed: blank(),
            passed: [blank(), blank()],
            received: blank(),
            arrived: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn commit(&self, event: i64) {
        if let Some(stamp) = usize::try_from(event).ok().and_then(|event| self.committed.get(event)) {
            stamp.store(self.now(), Ordering::Release);
        }
    }

    /// The first time counts.
    fn pass(&self, stage: Stage, event: i64) {
        let stamp = usize::try_from(event).ok().and_then(|event| self.passed[stage as usize].get(event));
        if let Some(stamp) = stamp {
            let _ = stamp.compare_exchange(0, self.now(), Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// The first arrival counts.
    fn receive(&self, event: i64) {
        let Some(stamp) = usize::try_from(event).ok().and_then(|event| self.received.get(event)) else {
            return;
        };
        if stamp.compare_exchange(0, self.now(), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.arrived.fetch_add(1, Ordering::AcqRel);
        }
    }

    async fn all_arrived(&self) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while self.arrived.load(Ordering::Acquire) < self.received.len() as u64 {
            if Instant::now() > deadline {
                let arrived = self.arrived.load(Ordering::Acquire);
                return Err(format!("{arrived} events of {} have arrived", self.received.len()).into());
            }
            looks.tick().await;
        }
        Ok(())
    }

    /// Milliseconds at three quantiles and the commits a second, without the first `skipped` events.
    fn figures(&self, skipped: usize) -> Outcome<([f64; 3], f64)> {
        let times = Self::between(&self.committed, &self.received, skipped)?;
        let stamp = |stamp: &AtomicU64| stamp.load(Ordering::Acquire);
        let committed: Vec<u64> = self.committed.iter().skip(skipped).map(stamp).collect();
        let first = committed.iter().min().copied().unwrap_or(0);
        let last = committed.iter().max().copied().unwrap_or(0);
        let rate = committed.len() as f64 / Duration::from_nanos(last.saturating_sub(first)).as_secs_f64();
        Ok(([0.5, 0.99, 0.999].map(|share| milliseconds(&times, share)), rate))
    }

    /// From the commit to the read that shows it, from there to the bus, and from there to the consumer: milliseconds,
    /// the median and the 99th percentile of each.
    fn stages(&self, skipped: usize) -> Outcome<[[f64; 2]; 3]> {
        let [read, published] = &self.passed;
        let mut stages = [[0.0; 2]; 3];
        let ends = [(&self.committed, read), (read, published), (published, &self.received)];
        for (stage, (from, to)) in stages.iter_mut().zip(ends) {
            let times = Self::between(from, to, skipped)?;
            *stage = [0.5, 0.99].map(|share| milliseconds(&times, share));
        }
        Ok(stages)
    }

    fn between(from: &[AtomicU64], to: &[AtomicU64], skipped: usize) -> Outcome<Histogram<u64>> {
        let mut times = Histogram::new(3)?;
        for (from, to) in from.iter().zip(to).skip(skipped) {
            // It may come before the commit has returned to whoever asked for it: that is no time at all.
            times.record(to.load(Ordering::Acquire).saturating_sub(from.load(Ordering::Acquire)))?;
        }
        Ok(times)
    }
}

fn milliseconds(times: &Histogram<u64>, share: f64) -> f64 {
    times.value_at_quantile(share) as f64 / 1e6
}

#[derive(Default)]
struct Side {
    quantiles: [Rounds; 3],
    stages: [[Rounds; 2]; 3],
    rate: Rounds,
}

impl Side {
    fn note(&mut self, stamps: &Stamps, skipped: usize) -> Outcome<()> {
        let (quantiles, rate) = stamps.figures(skipped)?;
        self.quantiles.iter_mut().zip(quantiles).for_each(|(rounds, quantile)| rounds.note(quantile));
        self.rate.note(rate);
        for (rounds, stage) in self.stages.iter_mut().zip(stamps.stages(skipped)?) {
            rounds.iter_mut().zip(stage).for_each(|(rounds, quantile)| rounds.note(quantile));
        }
        Ok(())
    }
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let database = Database::create(&options.store).await?;
    let ended = match &database.store {
        Store::Postgres(url) => {
            in_database::<Postgres, raw::postgres::Postgres>(options, &database, url).await
        }
        Store::MySql(url) => in_database::<MySql, raw::mysql::MySql>(options, &database, url).await,
    };
    database.drop().await?;
    ended
}

async fn in_database<S: Notes, R: RawStore>(options: &Options, database: &Database, url: &str) -> Outcome<()>
where
    Note: Persist<S>,
{
    ours::migrate(&database.store).await?;
    fill::create_raw(&database.store).await?;
    database.store.run(notes::TABLE).await?;
    for &rate in &options.rate {
        let (mut ours, mut by_hand) = (Side::default(), Side::default());
        for round in 0..options.repeat {
            // A quarter more, to become warm.
            let skipped = (rate * options.seconds / 4) as usize;
            let stamps = || Stamps::new(rate * options.seconds + skipped as u64);
            for turn in 0..2 {
                database.store.run("TRUNCATE TABLE notes").await?;
                let stamps = stamps();
                if (turn + round) % 2 == 0 {
                    through::run::<S>(url, &options.bus, rate, &stamps).await?;
                    ours.note(&stamps, skipped)?;
                } else {
                    by_hand::run::<S, R>(url, &options.bus, rate, &stamps).await?;
                    by_hand.note(&stamps, skipped)?;
                }
            }
        }
        line(options, rate, &ours, &by_hand).print();
    }
    Ok(())
}

fn line(options: &Options, rate: u64, ours: &Side, by_hand: &Side) -> Line {
    let mut line = Line::of("latency", Some(options.store.name()), Some(options.bus.name()));
    line.rates("ordered", &ours.rate, &by_hand.rate);
    line.put("payload", notes::payload(1).len()).put("relays", 1).put("rate", rate);
    for (n, name) in ["p50", "p99", "p999"].into_iter().enumerate() {
        line.put(&format!("{name}_ms"), hundredths(ours.quantiles[n].median()));
        line.put(&format!("limit_{name}_ms"), hundredths(by_hand.quantiles[n].median()));
    }
    for (stage, name) in ours.stages.iter().zip(["read", "handed_over", "received"]) {
        line.put(&format!("{name}_p50_ms"), hundredths(stage[0].median()));
        line.put(&format!("{name}_p99_ms"), hundredths(stage[1].median()));
    }
    // Here smaller is better: how many times the loop's time.
    for (n, name) in [(0, "p50"), (1, "p99")] {
        line.put(
            &format!("{name}_ratio"),
            hundredths(ours.quantiles[n].over(&by_hand.quantiles[n]).median()),
        );
    }
    line
}
