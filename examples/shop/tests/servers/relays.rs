//! Relays in a process of their own, on every store with every bus that reaches another process.

use std::process::Command;

use factum_launcher::Process;
use serde_json::Value;
use tokio::time::timeout;

use crate::place::{Place, TRIALS, WATCHDOG, number, until_there_are};

const LIMIT: &str = "120";

fn relay(place: &Place) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    command.args(place.arguments());
    Process::start(command).unwrap()
}

/// The shop relays nothing: all that it announces leaves by the other process, which ends when it is told to.
async fn assert_relays_elsewhere(test: &str, store: &str, bus: &str) {
    let Some(place) = Place::of(test, store, bus) else { return };
    // A relay looks for databases that are there.
    place.run("1", &[]);
    let mut relay = relay(&place);
    let mut shop = shop(&place);
    let line = timeout(WATCHDOG, shop.line()).await;
    let line = line.unwrap_or_else(|_| panic!("nothing was relayed: {}{}", shop.log(), relay.log()));
    assert_is_done(&line.unwrap_or_else(|| panic!("{}{}", shop.log(), relay.log())));
    relay.terminate().unwrap();
    let ended = timeout(WATCHDOG, relay.ended()).await.expect("the relay ends").unwrap();
    assert_eq!(ended.code(), Some(0), "{}", relay.log());
}

fn shop(place: &Place) -> Process {
    let mut command = place.shop(&["--limit", LIMIT, "--json", "--no-relay"]);
    command.args(TRIALS);
    Process::start(command).unwrap()
}

fn assert_is_done(report: &str) {
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!((&report["orders_placed"], &report["reconciled"]), (&120.into(), &true.into()), "{report}");
}

#[tokio::test]
async fn relays_of_sqlite_and_nats_may_be_elsewhere() {
    assert_relays_elsewhere("relays_of_sqlite_and_nats_may_be_elsewhere", "sqlite", "nats").await;
}

#[tokio::test]
async fn relays_of_sqlite_and_rabbitmq_may_be_elsewhere() {
    assert_relays_elsewhere("relays_of_sqlite_and_rabbitmq_may_be_elsewhere", "sqlite", "amqp").await;
}

#[tokio::test]
async fn relays_of_postgres_and_nats_may_be_elsewhere() {
    assert_relays_elsewhere("relays_of_postgres_and_nats_may_be_elsewhere", "postgres", "nats").await;
}

#[tokio::test]
async fn relays_of_postgres_and_rabbitmq_may_be_elsewhere() {
    assert_relays_elsewhere("relays_of_postgres_and_rabbitmq_may_be_elsewhere", "postgres", "amqp").await;
}

#[tokio::test]
async fn relays_of_mysql_and_nats_may_be_elsewhere() {
    assert_relays_elsewhere("relays_of_mysql_and_nats_may_be_elsewhere", "mysql", "nats").await;
}

#[tokio::test]
async fn relays_of_mysql_and_rabbitmq_may_be_elsewhere() {
    assert_relays_elsewhere("relays_of_mysql_and_rabbitmq_may_be_elsewhere", "mysql", "amqp").await;
}

#[tokio::test]
async fn without_any_relay_nothing_leaves_and_a_later_one_finds_it_all() {
    let test = "without_any_relay_nothing_leaves_and_a_later_one_finds_it_all";
    let Some(place) = Place::of(test, "postgres", "nats") else { return };
    let mut shop = shop(&place);
    until_there_are(120, &place, "ordering", "factum_outbox", &shop).await;
    assert_eq!(number(&place, "ordering", "factum_relay").await, Some(0), "nobody is at work");
    assert_eq!(number(&place, "inventory", "factum_inbox").await, Some(0));
    let relay = relay(&place);
    let line = timeout(WATCHDOG, shop.line()).await;
    assert_is_done(&line.unwrap_or_else(|_| panic!("{}{}", shop.log(), relay.log())).unwrap());
}
