//! Broker and database are each killed once in the middle of the work, and come back: the shop waits for them, and goes
//! on by itself.

use std::time::Duration;

use factum_launcher::{MariaDb, Nats, Postgres, Process, RabbitMq, Server, or_skip};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection};
use tokio::time::timeout;

use crate::place::{Place, TRIALS};

const LIMIT: &str = "1500";
const WATCHDOG: Duration = Duration::from_secs(300);

/// One number of a service's database, asked over a connection of its own: the one before may have been killed.
async fn number(place: &Place, service: &str, from: &str) -> Option<i64> {
    let database = format!("{}_{service}", place.namespace.replace('-', "_"));
    let query = AssertSqlSafe(format!("SELECT count(*) FROM {database}.{from}"));
    let asked = async {
        match place.store.split(':').next() {
            Some("postgres") => {
                let mut db = PgConnection::connect(&place.store).await?;
                sqlx::query_scalar(query).fetch_one(&mut db).await
            }
            _ => {
                let mut db = MySqlConnection::connect(&place.store).await?;
                sqlx::query_scalar(query).fetch_one(&mut db).await
            }
        }
    };
    asked.await.ok()
}

/// Waits until there are so many.
async fn until_there_are(least: i64, place: &Place, service: &str, table: &str, shop: &Process) {
    let counted = async {
        while number(place, service, table).await.is_none_or(|found| found < least) {
            let _ = timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
        }
    };
    let waited = timeout(WATCHDOG, counted).await;
    assert!(waited.is_ok(), "{service}.{table} never had {least} rows; the shop says: {}", shop.log());
}

async fn assert_outlasts(place: Place, store: &mut Server, bus: &mut Server) {
    let mut command = place.shop(&["--limit", LIMIT, "--json"]);
    command.args(TRIALS);
    let mut shop = Process::start(command).unwrap();
    until_there_are(300, &place, "insight", "factum_inbox", &shop).await;
    bus.kill().unwrap();
    // Whatever is told now waits here.
    until_there_are(50, &place, "ordering", "factum_outbox", &shop).await;
    bus.start_again().await.unwrap();
    until_there_are(900, &place, "insight", "factum_inbox", &shop).await;
    store.kill().unwrap();
    store.start_again().await.unwrap();
    let line = timeout(WATCHDOG, shop.line()).await;
    let line = line.unwrap_or_else(|_| panic!("the shop did not end: {}", shop.log()));
    let report: Value = serde_json::from_str(&line.unwrap_or_else(|| panic!("{}", shop.log()))).unwrap();
    assert_eq!((&report["orders_placed"], &report["reconciled"]), (&1_500.into(), &true.into()), "{report}");
    assert_eq!(timeout(WATCHDOG, shop.ended()).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_killed_postgres_and_a_killed_nats_are_waited_for() {
    let test = "a_killed_postgres_and_a_killed_nats_are_waited_for";
    let Some(mut store) = or_skip(test, Postgres::start().await) else { return };
    let Some(mut bus) = or_skip(test, Nats::start().await) else { return };
    let place = Place::at(store.url().into(), bus.url().into());
    assert_outlasts(place, &mut store, &mut bus).await;
}

#[tokio::test]
async fn a_killed_mariadb_and_a_killed_rabbitmq_are_waited_for() {
    let test = "a_killed_mariadb_and_a_killed_rabbitmq_are_waited_for";
    let Some(mut store) = or_skip(test, MariaDb::start().await) else { return };
    let Some(mut bus) = or_skip(test, RabbitMq::start().await) else { return };
    let place = Place::at(store.url().into(), bus.url().into());
    assert_outlasts(place, &mut store, &mut bus).await;
}
