//! A run goes on from where the one before it was: after its end, and after a kill at any moment.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use support::{Database, command, report, shop, totals};

mod support;

const LIMIT: &str = "300";
const KILLS: u64 = 10;
/// What a process does, about, before it is at work.
const START_MILLIS: u64 = 150;

fn run(folder: &Path, limit: &str) -> Value {
    let arguments = ["--limit", limit, "--data-dir", "databases", "--decline", "7", "--seed", "3", "--json"];
    report(&shop(&arguments, folder))
}

#[test]
fn the_report_is_one_line_of_json_and_names_what_is_in_the_databases() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(folder.path(), LIMIT);
    assert_eq!(report["purchases"], 300);
    assert_eq!(report["orders_placed"], 300);
    assert_eq!(report["integration_events"], 1_500);
    assert_eq!(report["receipts"], 1_800);
    assert_eq!(report["reconciled"], true);
    assert_eq!(report["outbox_pending"], 0);
    assert_eq!(report["insight"]["orders"], report["orders_confirmed"]);
}

#[test]
fn a_second_run_places_nothing_twice_and_a_longer_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), "100");
    let second = run(folder.path(), "100");
    assert_eq!(second["domain_events"], 0);
    assert_eq!(second["redeliveries_absorbed"], 0);
    assert_eq!(totals(first), totals(second));
    let longer = run(folder.path(), "150");
    assert_eq!(longer["purchases"], 150);
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(totals(longer), totals(run(fresh.path(), "150")));
}

#[test]
fn orders_of_an_earlier_and_longer_file_do_not_make_a_shorter_one_differ() {
    let folder = tempfile::tempdir().unwrap();
    let longer = run(folder.path(), "60");
    let shorter = run(folder.path(), "40");
    assert_eq!(totals(longer), totals(shorter));
}

#[tokio::test]
async fn a_run_that_is_killed_at_any_moment_ends_with_the_same_totals_and_no_double_effect() {
    let whole = tempfile::tempdir().unwrap();
    let uninterrupted = run(whole.path(), LIMIT);
    // So short that the work is not done before the last kill.
    let within = START_MILLIS + uninterrupted["elapsed_ms"].as_u64().unwrap() / 4;

    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let millis = random.below(within);
        match kill % 2 {
            0 => kill_after(folder.path(), Duration::from_millis(millis)),
            _ => crash_after(folder.path(), millis),
        }
        if kill + 1 < KILLS {
            end_leases(&folder.path().join("databases")).await;
        }
    }
    let resumed = run(folder.path(), LIMIT);
    println!("redeliveries absorbed by the last run: {}", resumed["redeliveries_absorbed"]);
    assert_eq!(totals(resumed.clone()), totals(uninterrupted), "seed {}", random.seed);
    assert_no_double_effect(&folder.path().join("databases"), &resumed).await;
}

/// Ends the leases of the dead, so that the next run is killed at its work, and not while it waits for them. The last
/// run does wait.
async fn end_leases(folder: &Path) {
    for service in ["ordering", "inventory", "payment", "insight"] {
        if let Some(mut database) = Database::open_if_any(folder, service).await {
            database.try_execute("UPDATE factum_lease SET until = 0").await;
        }
    }
}

/// One document an order in every service, one inbox row a subscription and event, nothing left anywhere.
async fn assert_no_double_effect(folder: &Path, report: &Value) {
    let closed = 300;
    let services = [
        ("ordering", "orders", 300, 600),
        ("inventory", "reservations", 300, 600),
        ("payment", "payments", 300, 300),
        ("insight", "order-views", closed, 300),
    ];
    for (service, collection, documents, receipts) in services {
        let mut database = Database::open(folder, service).await;
        database.assert_sound().await;
        assert_eq!(database.count(collection).await, documents, "{service}");
        assert_eq!(database.number("SELECT count(*) FROM factum_inbox").await, receipts, "{service}");
        let distinct = "SELECT count(*) FROM (SELECT DISTINCT subscription, source, id FROM factum_inbox)";
        assert_eq!(database.number(distinct).await, receipts, "{service}");
        assert_eq!(database.number("SELECT count(*) FROM factum_outbox").await, 0, "{service}");
        assert_eq!(database.number("SELECT count(*) FROM factum_dead_letter").await, 0, "{service}");
    }
    let mut insight = Database::open(folder, "insight").await;
    assert_eq!(insight.number("SELECT sum(events) FROM factum_checkpoint").await, 300);
    let days = insight.documents("days").await;
    let revenue: i64 = days.iter().map(|day| day["revenue_cents"].as_i64().unwrap()).sum();
    assert_eq!(Value::from(revenue), report["insight"]["revenue_cents"]);
    assert_one_order_a_purchase(folder).await;
}

async fn assert_one_order_a_purchase(folder: &Path) {
    let mut ordering = Database::open(folder, "ordering").await;
    let mut orders: Vec<_> = ordering
        .documents("orders")
        .await
        .iter()
        .map(|order| order["id"].as_str().unwrap().to_owned())
        .collect();
    orders.sort();
    let mut purchases: Vec<_> = shop::purchases::Purchases::built_in()
        .take(300)
        .map(|purchase| purchase.unwrap().id.to_string())
        .collect();
    purchases.sort();
    assert_eq!(orders, purchases);
}

const KILLED: [&str; 9] =
    ["--limit", LIMIT, "--data-dir", "databases", "--decline", "7", "--seed", "3", "--json"];

/// SIGKILL, unless it has ended before.
fn kill_after(folder: &Path, delay: Duration) {
    let mut child = command(&KILLED, folder).stdout(Stdio::piped()).spawn().unwrap();
    let _ = ended(&mut child).recv_timeout(delay);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// It aborts itself, unless it has ended before.
fn crash_after(folder: &Path, millis: u64) {
    let millis = millis.to_string();
    let output = command(&KILLED, folder).args(["--crash-after-ms", &millis]).output().unwrap();
    assert!(output.status.code().is_none_or(|code| code == 0), "{output:?}");
}

/// Hears when a child ends: then its standard output does.
fn ended(child: &mut Child) -> mpsc::Receiver<()> {
    let (ended, receiver) = mpsc::channel();
    let mut stdout = child.stdout.take().unwrap();
    thread::spawn(move || {
        let _ = stdout.read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    receiver
}

/// The xorshift of Marsaglia (2003).
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Self {
        let given = std::env::var("SHOP_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = given.unwrap_or(now) | 1;
        println!("SHOP_TEST_SEED={seed}");
        Self { seed, state: seed }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % end
    }
}
