//! Broker and database are each killed once in the middle of the work, and come back: the shop waits for them, and goes
//! on by itself.

use factum_launcher::{MariaDb, Nats, Postgres, Process, RabbitMq, Server, or_skip};
use serde_json::Value;
use tokio::time::timeout;

use crate::place::{Place, TRIALS, WATCHDOG, until_there_are};

/// So many that plenty is left when the first few hundred are through, however fast the machine is.
const LIMIT: u64 = 4_000;

async fn assert_outlasts(place: Place, store: &mut Server, bus: &mut Server) {
    let mut command = place.shop(&["--limit", &LIMIT.to_string(), "--json"]);
    command.args(TRIALS);
    let mut shop = Process::start(command).unwrap();
    until_there_are(100, &place, "insight", "factum_inbox", &shop).await;
    // It must not come to its end between what is seen and what is done.
    shop.freeze().unwrap();
    bus.kill().unwrap();
    shop.thaw().unwrap();
    // Whatever is told now waits here.
    until_there_are(50, &place, "ordering", "factum_outbox", &shop).await;
    bus.start_again().await.unwrap();
    until_there_are(900, &place, "insight", "factum_inbox", &shop).await;
    shop.freeze().unwrap();
    store.kill().unwrap();
    shop.thaw().unwrap();
    store.start_again().await.unwrap();
    let line = timeout(WATCHDOG, shop.line()).await;
    let line = line.unwrap_or_else(|_| panic!("the shop did not end: {}", shop.log()));
    let report: Value = serde_json::from_str(&line.unwrap_or_else(|| panic!("{}", shop.log()))).unwrap();
    assert_eq!((&report["orders_placed"], &report["reconciled"]), (&LIMIT.into(), &true.into()), "{report}");
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
