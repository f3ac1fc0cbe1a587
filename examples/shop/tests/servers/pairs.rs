//! Every store with every bus.

use std::process::Stdio;
use std::thread;

use serde_json::Value;

use crate::place::{Place, TRIALS};
use crate::support::{report, shop, totals};

const LIMIT: &str = "120";

/// What comes of the same purchases when everything is embedded.
fn embedded() -> Value {
    totals(Place::at("sqlite:".into(), "memory:".into()).run(LIMIT, &[]))
}

/// A run reconciles, a second one goes on from where it was, and what both have left can be removed.
fn assert_runs_on(test: &str, store: &str, bus: &str) {
    let Some(place) = Place::of(test, store, bus) else { return };
    let first = place.run(LIMIT, &[]);
    let second = place.run(LIMIT, &[]);
    assert_eq!(second["domain_events"], 0, "{second}");
    assert_eq!(totals(first), embedded());
    assert_eq!(totals(second), embedded());
    let removed = place.clean_up();
    assert!(
        removed.lines().count() >= 4 && removed.lines().all(|line| line.starts_with("removed ")),
        "{removed}"
    );
    assert_eq!(place.clean_up(), "nothing was there to be removed\n");
    assert_eq!(place.run("1", &[])["purchases"], 1, "a fresh one begins anew");
}

#[test]
fn the_shop_runs_on_sqlite_and_nats() {
    assert_runs_on("the_shop_runs_on_sqlite_and_nats", "sqlite", "nats");
}

#[test]
fn the_shop_runs_on_sqlite_and_rabbitmq() {
    assert_runs_on("the_shop_runs_on_sqlite_and_rabbitmq", "sqlite", "amqp");
}

#[test]
fn the_shop_runs_on_postgres_and_memory() {
    assert_runs_on("the_shop_runs_on_postgres_and_memory", "postgres", "memory");
}

#[test]
fn the_shop_runs_on_postgres_and_nats() {
    assert_runs_on("the_shop_runs_on_postgres_and_nats", "postgres", "nats");
}

#[test]
fn the_shop_runs_on_postgres_and_rabbitmq() {
    assert_runs_on("the_shop_runs_on_postgres_and_rabbitmq", "postgres", "amqp");
}

#[test]
fn the_shop_runs_on_mysql_and_memory() {
    assert_runs_on("the_shop_runs_on_mysql_and_memory", "mysql", "memory");
}

#[test]
fn the_shop_runs_on_mysql_and_nats() {
    assert_runs_on("the_shop_runs_on_mysql_and_nats", "mysql", "nats");
}

#[test]
fn the_shop_runs_on_mysql_and_rabbitmq() {
    assert_runs_on("the_shop_runs_on_mysql_and_rabbitmq", "mysql", "amqp");
}

#[test]
fn two_namespaces_on_the_same_servers_know_nothing_of_each_other() {
    let test = "two_namespaces_on_the_same_servers_know_nothing_of_each_other";
    let Some(one) = Place::of(test, "postgres", "nats") else { return };
    let other = Place::at(one.store.clone(), one.bus.clone());
    let (longer, shorter) = thread::scope(|scope| {
        let longer = scope.spawn(|| one.run(LIMIT, &[]));
        let shorter = other.run("40", &[]);
        (longer.join().unwrap(), shorter)
    });
    assert_eq!((&longer["orders_placed"], &shorter["orders_placed"]), (&120.into(), &40.into()));
    one.clean_up();
    assert_eq!(other.run("40", &[])["domain_events"], 0, "the other's is still there");
}

#[test]
fn without_a_namespace_the_next_run_in_a_folder_goes_on_and_is_told_what_it_is_called() {
    let test = "without_a_namespace_the_next_run_in_a_folder_goes_on_and_is_told_what_it_is_called";
    let Some(place) = Place::of(test, "postgres", "nats") else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = |further: &[&str]| {
        let place = ["--store", &place.store, "--bus", &place.bus, "--data-dir", "folder"];
        shop(&[&place, further].concat(), folder.path())
    };
    let (first, second) = (run(&["--limit", "5", "--json"]), run(&["--limit", "5", "--json"]));
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(said.starts_with("namespace: shop-") && first.stderr == second.stderr, "{said}");
    assert_eq!(report(&second)["domain_events"], 0);
    let removed = String::from_utf8(run(&["--cleanup"]).stdout).unwrap();
    assert!(removed.contains("removed schema shop_"), "{removed}");
}

#[test]
fn a_run_on_servers_that_is_killed_goes_on_when_it_is_started_again() {
    let test = "a_run_on_servers_that_is_killed_goes_on_when_it_is_started_again";
    let Some(place) = Place::of(test, "postgres", "nats") else { return };
    for millis in ["150", "300", "450", "700"] {
        let mut shop = place.shop(&["--limit", LIMIT, "--crash-after-ms", millis, "--json"]);
        let killed = shop.args(TRIALS).stdout(Stdio::null()).status().unwrap();
        assert!(killed.code().is_none_or(|code| code == 0), "{killed}");
    }
    assert_eq!(totals(place.run(LIMIT, &[])), embedded());
}
