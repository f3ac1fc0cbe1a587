//! Several processes share one file: writers, a relay and two readers, for `FACTUM_SOAK_SECONDS` (3 unless it is set).
//! The longest wait for the file is printed.
//!
//! It is a program of its own, because each role has to be a process of its own: without arguments it is the test, with
//! a role it is one of them.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use factum::integration::{Answer, Capabilities, Deliveries, Durability, EventBus, Interest, Publication};
use factum::{
    AggregateRoot, BoxError, BoxFuture, Dispatcher, Document, DomainEvents, IntegrationEvent, Work,
};
use factum_runtime::Relay;
use factum_store_sqlite::{Sqlite, Synchronous};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some(role @ ("writers" | "relay" | "reader")) => play(role, Path::new(&arguments[2])),
        _ if arguments.iter().any(|argument| argument == "--list") => {
            println!("{NAME}: test");
            return ExitCode::SUCCESS;
        }
        // A filter of the test runner that means another test.
        Some(filter) if !filter.starts_with('-') && !NAME.contains(filter) => return ExitCode::SUCCESS,
        _ => return test(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

const NAME: &str = "f_31_four_processes_share_one_file_and_nothing_is_lost";

fn test() -> ExitCode {
    println!("\nrunning 1 test");
    let outcome = share_one_file();
    let (word, passed) = if outcome.is_ok() { ("ok", 1) } else { ("FAILED", 0) };
    println!("test {NAME} ... {word}");
    if let Err(error) = &outcome {
        println!("{error}");
    }
    let failed = 1 - passed;
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
    );
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seconds() -> u64 {
    std::env::var("FACTUM_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Starts the four, kills the relay once half-way and starts it again, and compares what was acknowledged to the
/// writers with what arrived.
fn share_one_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = |role| start(role, folder.path());
    let mut relay = start("relay")?;
    let others = [start("writers")?, start("reader")?, start("reader")?];
    std::thread::sleep(Duration::from_secs(seconds()) / 2); // tidy: allow(sleep): the middle of a run of fixed length
    relay.kill()?;
    relay.wait()?;
    let relay = start("relay")?;
    for child in others.into_iter().chain([relay]) {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    let acknowledged = lines(&folder.path().join("acknowledged"))?;
    let published = lines(&folder.path().join("published"))?;
    let lost: Vec<_> = acknowledged.iter().filter(|id| !published.contains(*id)).collect();
    println!("{} acknowledged, {} published", acknowledged.len(), published.len());
    println!("longest wait for the file: {:?}", Waits::longest(folder.path())?);
    if acknowledged.is_empty() || !lost.is_empty() {
        return Err(format!("lost: {lost:?}").into());
    }
    runtime()?.block_on(check(&folder.path().join(FILE), &published))
}

/// The file is whole, nothing waits in it, and nothing was published that it does not have.
async fn check(file: &Path, published: &std::collections::BTreeSet<String>) -> Result<()> {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut db = sqlx::SqliteConnection::connect_with(&options).await?;
    let integrity: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut db).await?;
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM factum_outbox").fetch_one(&mut db).await?;
    let orders: Vec<String> = sqlx::query_scalar("SELECT id FROM factum_document WHERE collection = 'order'")
        .fetch_all(&mut db)
        .await?;
    let phantoms: Vec<_> = published.iter().filter(|id| !orders.contains(id)).collect();
    if integrity != "ok" || waiting != 0 || !phantoms.is_empty() {
        return Err(format!("integrity: {integrity}; {waiting} rows wait; phantoms: {phantoms:?}").into());
    }
    Ok(())
}

fn lines(file: &Path) -> Result<std::collections::BTreeSet<String>> {
    Ok(std::fs::read_to_string(file)?.lines().map(str::to_owned).collect())
}

fn start(role: &str, folder: &Path) -> Result<Child> {
    let this = std::env::current_exe()?;
    Ok(Command::new(this).arg(role).arg(folder).stderr(Stdio::piped()).spawn()?)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

// -- the roles -----------------------------------------------------------------------------------------------------------

const FILE: &str = "ordering.db";
const WRITERS: usize = 4;

fn play(role: &str, folder: &Path) -> Result<()> {
    runtime()?.block_on(async {
        // A flush that takes ten seconds, as on a machine that is busy elsewhere, is a wait that no turn makes shorter. Of
        // processes that die, files keep everything without one.
        let store = Sqlite::options(folder.join(FILE)).synchronous(Synchronous::Off).open().await?;
        let work = Work::new("https://shop.example/ordering", store.clone(), Dispatcher::new());
        let until = Instant::now() + Duration::from_secs(seconds());
        match role {
            "writers" => write(work, folder, until).await,
            "relay" => {
                let look = tokio::spawn(look_in(work, Waits::note_in(folder)?));
                let relayed = relay(store, folder, until).await;
                look.abort();
                relayed
            }
            _ => read(work, until).await,
        }
    })
}

#[derive(Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
struct OrderPlaced {
    order: String,
}

#[derive(AggregateRoot)]
struct Order {
    id: String,
    events: DomainEvents,
}

impl Document for Order {
    const COLLECTION: &'static str = "order";
    type State = String;
    fn state(&self) -> String {
        self.id.clone()
    }
    fn restore(id: String) -> Self {
        Self { id, events: DomainEvents::new() }
    }
}

/// How many orders there are: written in the transaction of each.
#[derive(AggregateRoot)]
struct Total {
    id: String,
    orders: usize,
    events: DomainEvents,
}

impl Document for Total {
    const COLLECTION: &'static str = "total";
    type State = usize;
    fn state(&self) -> usize {
        self.orders
    }
    fn restore(orders: usize) -> Self {
        Self { id: "all".into(), orders, events: DomainEvents::new() }
    }
}

/// How long the file was waited for, a line for each wait that was longer than all before it: whoever is killed has
/// written it by then.
#[derive(Clone)]
struct Waits(Arc<Mutex<(Duration, File)>>);

impl Waits {
    fn note_in(folder: &Path) -> Result<Self> {
        Ok(Self(Arc::new(Mutex::new((Duration::ZERO, append_to(&folder.join("waits"))?)))))
    }

    async fn connection(&self, uow: &mut factum::UnitOfWork<Sqlite>) -> std::result::Result<(), BoxError> {
        let asked = Instant::now();
        uow.connection().await?;
        let mut waits = self.0.lock().map_err(|_| "somebody panicked")?;
        if asked.elapsed() > waits.0 {
            waits.0 = asked.elapsed();
            let micros = waits.0.as_micros();
            writeln!(waits.1, "{micros}")?;
        }
        Ok(())
    }

    fn longest(folder: &Path) -> Result<Duration> {
        let waits = lines(&folder.join("waits"))?;
        let waits = waits.iter().map(|micros| micros.parse().map(Duration::from_micros));
        Ok(waits.collect::<std::result::Result<Vec<_>, _>>()?.into_iter().max().unwrap_or_default())
    }
}

/// Who comes by now and then waits like everybody.
async fn look_in(work: Work<Sqlite>, waits: Waits) -> std::result::Result<(), BoxError> {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    loop {
        pace.tick().await;
        let mut uow = work.begin().await?;
        waits.connection(&mut uow).await?;
        uow.roll_back().await;
    }
}

async fn write(work: Work<Sqlite>, folder: &Path, until: Instant) -> Result<()> {
    let acknowledged = Arc::new(Mutex::new(append_to(&folder.join("acknowledged"))?));
    let waits = Waits::note_in(folder)?;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (work, acknowledged, waits) = (work.clone(), Arc::clone(&acknowledged), waits.clone());
        tasks.spawn(async move {
            for number in 0.. {
                let id = format!("{writer}-{number}");
                let body = async |uow: &mut factum::UnitOfWork<Sqlite>| {
                    waits.connection(uow).await?;
                    place(uow, &id).await
                };
                work.run(body).await?;
                let file = acknowledged.lock();
                writeln!(file.map_err(|_| "a writer panicked")?, "{id}")?;
                if Instant::now() > until {
                    return Ok(());
                }
            }
            Ok::<_, BoxError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn place(uow: &mut factum::UnitOfWork<Sqlite>, id: &str) -> std::result::Result<(), BoxError> {
    let total = match uow.find::<Total>(&"all".into()).await? {
        Some(total) => total,
        None => uow.add(Total::restore(0)),
    };
    uow[total].orders += 1;
    uow.add(Order { id: id.into(), events: DomainEvents::new() });
    uow.announce(&OrderPlaced { order: id.into() })?;
    Ok(())
}

/// Every snapshot that a reader sees is one between two transactions.
async fn read(work: Work<Sqlite>, until: Instant) -> Result<()> {
    let mut looks = 0;
    while Instant::now() < until {
        let mut uow = work.read().await?;
        let total = uow.scan::<Total>("", 1).await?.first().map_or(0, |(_, orders)| *orders);
        let orders: i64 =
            sqlx::query_scalar("SELECT count(*) FROM factum_document WHERE collection = 'order'")
                .fetch_one(uow.connection().await?)
                .await?;
        if orders != i64::try_from(total)? {
            return Err(format!("a reader saw {orders} orders and a total of {total}").into());
        }
        looks += 1;
    }
    if looks == 0 { Err("a reader never looked".into()) } else { Ok(()) }
}

/// Publishes to a file until the writers are done and nothing is left.
async fn relay(store: Sqlite, folder: &Path, until: Instant) -> Result<()> {
    use factum::integration::Inspect as _;
    let bus = FileBus(Mutex::new(append_to(&folder.join("published"))?));
    let outbox = store.clone();
    let done = async move {
        // A writer's last transaction may end after `until`.
        tokio::time::sleep_until((until + Duration::from_secs(2)).into()).await; // tidy: allow(sleep): a run of fixed length
        while outbox.backlog().await.is_ok_and(|backlog| backlog.outbox > 0) {
            tokio::task::yield_now().await;
        }
    };
    let relay = Relay::new(Arc::new(store), Arc::new(bus)).options(|options| {
        options.lease = Duration::from_millis(900);
        options.renew = Duration::from_millis(300);
        options.take_over = Duration::from_millis(300);
    });
    Ok(relay.run(done).await?)
}

fn append_to(file: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(file)?)
}

/// A bus that ends in a file.
struct FileBus(Mutex<File>);

impl EventBus for FileBus {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.durability = Durability::Written;
        capabilities
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, std::result::Result<(), BoxError>> {
        Box::pin(async move {
            for Publication { envelope, confirm } in batch {
                let file = self.0.lock().map_err(|_| "a publisher panicked");
                writeln!(file?, "{}", envelope.ordering_key())?;
                confirm.answer(Answer::Confirmed);
            }
            Ok(())
        })
    }

    fn subscribe<'a>(
        &'a self,
        _: Interest,
    ) -> BoxFuture<'a, std::result::Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async { Err("nobody reads this file".into()) })
    }

    fn close<'a>(&'a self, _: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}
