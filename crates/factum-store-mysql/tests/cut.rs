//! A connection that is cut at any byte, either way: what is said of a save is true, and the store goes on.

mod support;

use std::time::Duration;

use factum::port::OutboxStore as _;
use factum::{Dispatcher, Error};
use factum_conformance::service;
use factum_conformance::store::notes::Notes as _;
use factum_launcher::{End, Proxy, Way};
use factum_store_mysql::Options;
use support::{ALL, Database, NoteWritten, announce, work, write_note};

/// What became of saves.
#[derive(Debug, Default)]
struct Tally {
    saved: usize,
    refused: usize,
    unknown_and_kept: usize,
    unknown_and_lost: usize,
}

async fn cut_everywhere(way: Way, end: End, test: &str) -> Option<Tally> {
    let url = service::MYSQL.url_or_skip(test)?;
    let database = Database::on(&url);
    let _ = database.store().await;
    let address = std::net::ToSocketAddrs::to_socket_addrs(&format!(
        "{}:{}",
        database.server().get_host(),
        database.server().get_port()
    ));
    let proxy = Proxy::to(address.unwrap().next().unwrap()).await.unwrap();
    let through = database.server().host("127.0.0.1").port(proxy.address().port());
    let store = Options::with(through).connections(1).connect().await.unwrap();
    let work = work(&store, Dispatcher::new().on::<NoteWritten>(announce));
    let mut tally = Tally::default();
    // Prepares the statements, so that all rounds are alike.
    write_note::<Database>(&work, "the first").await.unwrap();
    for bytes in (0..).step_by(3) {
        let id = format!("cut {bytes}");
        let cut = proxy.counts().cut;
        proxy.cut_after(way, bytes, end);
        let result = write_note::<Database>(&work, &id).await;
        proxy.heal();
        // Waits for whatever the server has not noticed yet.
        database.assert_nobody_writes().await;
        let is_there = database.has_note(&id).await;
        let events = format!("SELECT count(*) FROM factum_outbox WHERE partitionkey = '{id}'");
        assert_eq!(database.number(&events).await, if is_there { 2 } else { 0 }, "half of {id} is there");
        match (result, is_there) {
            (Ok(()), true) => tally.saved += 1,
            (Err(Error::Store(_)), false) => tally.refused += 1,
            (Err(Error::OutcomeUnknown(_)), true) => tally.unknown_and_kept += 1,
            (Err(Error::OutcomeUnknown(_)), false) => tally.unknown_and_lost += 1,
            (result, is_there) => panic!("{id}: {result:?}, and it is there: {is_there}"),
        }
        if proxy.counts().cut == cut {
            break;
        }
        write_note::<Database>(&work, &format!("after {bytes}")).await.unwrap();
    }
    eprintln!("{way:?}, {end:?}: {tally:?}");
    Some(tally)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_request_that_is_cut_at_any_byte_is_told_truly() {
    let name = "f_08_a_request_that_is_cut_at_any_byte_is_told_truly";
    let Some(tally) = cut_everywhere(Way::ToServer, End::Reset, name).await else { return };
    assert!(tally.refused > 5 && tally.unknown_and_lost > 0, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_an_answer_that_is_cut_at_any_byte_is_told_truly() {
    let name = "f_08_an_answer_that_is_cut_at_any_byte_is_told_truly";
    let Some(tally) = cut_everywhere(Way::ToClient, End::Reset, name).await else { return };
    assert!(tally.refused > 5 && tally.unknown_and_kept > 0, "{tally:?}");
}

/// As behind a firewall that has forgotten a connection: nobody waits for ever, and what comes after is as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_34_a_connection_that_is_swallowed_is_given_up() {
    let Some(url) = service::MYSQL.url_or_skip("f_34_a_connection_that_is_swallowed_is_given_up") else {
        return;
    };
    let database = Database::on(&url);
    let _ = database.store().await;
    let server = format!("{}:{}", database.server().get_host(), database.server().get_port());
    let address = std::net::ToSocketAddrs::to_socket_addrs(&server).unwrap().next().unwrap();
    let proxy = Proxy::to(address).await.unwrap();
    let through = database.server().host("127.0.0.1").port(proxy.address().port());
    let options = Options::with(through).connections(1).own_connections(1).wait(Duration::from_millis(300));
    let store = options.connect().await.unwrap();
    let work = work(&store, Dispatcher::new());
    write_note::<Database>(&work, "before").await.unwrap();
    assert_eq!(store.read(ALL).await.unwrap().rows.len(), 1);
    let mut uow = work.begin().await.unwrap();
    support::insert(uow.connection().await.unwrap(), "committing", "well").await.unwrap();
    for way in Way::BOTH {
        proxy.swallow(way, true);
    }
    let limit = Duration::from_secs(20);
    let read = tokio::time::timeout(limit, store.read(ALL)).await.expect("it is given up");
    assert!(read.unwrap_err().to_string().contains("has not answered"));
    let saved = tokio::time::timeout(limit, uow.save_changes()).await.expect("it is given up");
    let error = saved.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    proxy.heal();
    let began = std::time::Instant::now();
    while store.read(ALL).await.is_err() || write_note::<Database>(&work, "after").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not come back");
    }
    assert_eq!(database.counts().await, (2, 2), "what was swallowed was not committed");
}
