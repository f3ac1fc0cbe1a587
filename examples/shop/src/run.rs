//! One run, from the options to the report.
//!
//! It refuses to print: what a run has to say is its result, and `main` shows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use factum::EventBus;
use tokio::runtime::Runtime;

use crate::chance::Trial;
use crate::composition::{Shop, Stores, Trials};
use crate::deployment::{AnyStores, Removed};
use crate::pipeline::Pipeline;
use crate::placing::place_all;
use crate::progress::{Counts, Progress};
use crate::purchases::{InputError, Purchase, Purchases};
use crate::reconciliation::reconcile;
use crate::service::ServiceStore;
use crate::{Failure, Options, Report, crash, failure};

/// How long a bus may take to hand back what this process holds, so that the next one need not wait until it is given up.
const GOODBYE: Duration = Duration::from_secs(5);
/// Exit status of a run whose figures agree.
const RECONCILED: u8 = 0;

/// Runs the shop where the options say.
///
/// # Errors
///
/// Bad input or usage ([`Failure::is_callers`]); what was placed before a bad line stays placed. Or a service that
/// failed.
pub fn run(options: &Options) -> Result<Report, Failure> {
    crash::after(options.crash_after())?;
    let purchases = match &options.purchases {
        Some(path) => Purchases::open(path)?,
        None => Purchases::built_in(),
    };
    if options.no_relay {
        options.deployment.check_relays_elsewhere()?;
    }
    let site = options.deployment.take()?;
    runtime()?.block_on(async {
        let (stores, bus) = (site.stores().await?, site.bus().await?);
        match stores {
            AnyStores::Memory(stores) => run_with(options, stores, bus, purchases).await,
            AnyStores::Sqlite(stores) => run_with(options, stores, bus, purchases).await,
            #[cfg(feature = "full")]
            AnyStores::Postgres(stores) => run_with(options, stores, bus, purchases).await,
            #[cfg(feature = "full")]
            AnyStores::MySql(stores) => run_with(options, stores, bus, purchases).await,
        }
    })
}

/// Removes what runs have left behind where the options say.
///
/// # Errors
///
/// Bad usage, or a server that cannot be reached.
pub fn clean_up(options: &Options) -> Result<Removed, Failure> {
    let site = options.deployment.find()?.taken()?;
    runtime()?.block_on(site.clean_up())
}

fn runtime() -> Result<Runtime, Failure> {
    Runtime::new().map_err(|source| Failure::System { what: "start the runtime", source })
}

/// The kind of store is known from here on.
async fn run_with<S: ServiceStore>(
    options: &Options,
    stores: Stores<S>,
    bus: Arc<dyn EventBus>,
    purchases: Purchases,
) -> Result<Report, Failure> {
    let trials = Trials {
        refuse: Trial::new(options.seed, options.refuse),
        decline: Trial::new(options.seed, options.decline),
    };
    let shop = Shop::new(stores, trials);
    let shop = if options.no_relay { shop.without_relays() } else { shop };
    let limit = options.limit();
    let expected = purchases.lines_expected().map(|lines| lines.min(limit as u64));
    let progress = Progress::new(options.json, expected);
    run_on(shop, bus, purchases.take(limit), progress).await
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
            return Err(wind_up(pipeline, &bus, failure).await);
        }
    };
    progress.set_total(placed.orders());
    pipeline.quiet(|| show(&mut progress, placed.orders())).await?;
    progress.finish();
    let done = pipeline.done();
    pipeline.stop().await?;
    bus.close(GOODBYE).await;
    reconcile(&works, input, (placed, done), || began.elapsed()).await
}

/// What was placed before a bad line is carried to its end. After any other failure nothing is waited for: what is
/// unfinished waits in the outboxes, for the next run.
async fn wind_up<S: ServiceStore>(
    pipeline: Pipeline<S>,
    bus: &Arc<dyn EventBus>,
    failure: Failure,
) -> Failure {
    if failure.is_callers() {
        let ended = async {
            pipeline.quiet(|| ()).await?;
            pipeline.stop().await?;
            bus.close(GOODBYE).await;
            Ok(())
        };
        return ended.await.err().unwrap_or(failure);
    }
    failure
}

/// What the process says to its caller: 0 reconciled, 1 not, 2 bad input.
pub fn exit_status(outcome: &Result<Report, Failure>) -> u8 {
    match outcome {
        Ok(report) if report.is_reconciled() => RECONCILED,
        Ok(_) => failure::NOT_RECONCILED,
        Err(failure) => failure.exit_status(),
    }
}
