//! One run, from the options to the report.
//!
//! It refuses to print: what a run has to say is its result, and `main` shows it.

use std::sync::Arc;
use std::time::Instant;

use factum::EventBus;
use factum_runtime::memory_bus;

use crate::chance::Trial;
use crate::composition::{Shop, Stores, Trials};
use crate::data_dir::DataDir;
use crate::pipeline::Pipeline;
use crate::placing::place_all;
use crate::progress::{Counts, Progress};
use crate::purchases::{InputError, Purchase, Purchases};
use crate::reconciliation::reconcile;
use crate::service::ServiceStore;
use crate::{Failure, Options, Report, crash};

/// Exit status of a run whose figures agree.
const RECONCILED: u8 = 0;
/// Exit status of a run whose figures differ, or that failed on the way.
const NOT_RECONCILED: u8 = 1;
/// Exit status of a run that the caller has to change: bad input or bad usage. The parser of options uses the
/// same.
const BAD_INPUT: u8 = 2;

/// Runs the shop on SQLite, in a folder of its own.
///
/// # Errors
///
/// Bad input ([`Failure::is_callers`]); what was placed before the bad line stays placed. Or a service that
/// failed.
pub fn run(options: &Options) -> Result<Report, Failure> {
    crash::after(options.crash_after())?;
    let purchases = match &options.purchases {
        Some(path) => Purchases::open(path)?,
        None => Purchases::built_in(),
    };
    let folder = DataDir::take(options.data_dir.as_deref())?;
    let limit = options.limit();
    let expected = purchases.lines_expected().map(|lines| lines.min(limit as u64));
    let progress = Progress::new(options.json, expected);
    let trials = Trials {
        refuse: Trial::new(options.seed, options.refuse),
        decline: Trial::new(options.seed, options.decline),
    };
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|source| Failure::System { what: "start the runtime", source })?;
    runtime.block_on(async {
        let stores = Stores::open(folder.path()).await?;
        run_on(Shop::new(stores, trials), Arc::new(memory_bus()), purchases.take(limit), progress).await
    })
}

/// Runs a shop, on any stores and any bus: places an order for every purchase, waits until all are closed, and reconciles.
///
/// # Errors
///
/// As for [`run`].
pub async fn run_on<S: ServiceStore>(
    shop: Shop<S>,
    bus: Arc<dyn EventBus>,
    purchases: impl Iterator<Item = Result<Purchase, InputError>> + Send + 'static,
    mut progress: Progress,
) -> Result<Report, Failure> {
    let began = Instant::now();
    let works = shop.works();
    let pipeline = shop.start(&bus).await?;
    let show = |progress: &mut Progress, placed| {
        progress.show(Counts { placed, closed: pipeline.closed() });
    };
    let placing = place_all(&works.ordering, &pipeline, purchases, |placed| {
        show(&mut progress, placed.orders());
    })
    .await;
    let (input, placed) = match placing {
        Ok(placed) => placed,
        Err(failure) => {
            progress.give_up();
            return Err(wind_up(pipeline, failure).await);
        }
    };
    progress.set_total(placed.orders());
    pipeline.quiet(|| show(&mut progress, placed.orders())).await?;
    progress.finish();
    let done = pipeline.done();
    pipeline.stop().await?;
    reconcile(&works, input, (placed, done), || began.elapsed()).await
}

/// What was placed before a bad line is carried to its end. After any other failure nothing is waited for: what is
/// unfinished waits in the outboxes, for the next run.
async fn wind_up<S: ServiceStore>(pipeline: Pipeline<S>, failure: Failure) -> Failure {
    if failure.is_callers() {
        let ended = async {
            pipeline.quiet(|| ()).await?;
            pipeline.stop().await
        };
        return ended.await.err().unwrap_or(failure);
    }
    failure
}

/// What the process says to its caller: 0 reconciled, 1 not, 2 bad input.
pub fn exit_status(outcome: &Result<Report, Failure>) -> u8 {
    match outcome {
        Ok(report) if report.is_reconciled() => RECONCILED,
        Ok(_) => NOT_RECONCILED,
        Err(failure) if failure.is_callers() => BAD_INPUT,
        Err(_) => NOT_RECONCILED,
    }
}
