//! Trouble between a relay and its database at the worst moment.

use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use factum::integration::Side;
use factum::protocol::Backoff;
use factum_launcher::{End, Proxy, Way};
use factum_runtime::Relay;
use factum_torture::{Database, Kind, Say, Tap, TapBus};
use tokio::sync::{Notify, oneshot};

const PATIENCE: Duration = Duration::from_secs(120);
const ATTEMPTS: u32 = 3;

/// Where a server listens, out of its URL.
fn address(url: &str) -> std::net::SocketAddr {
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.to_socket_addrs().expect("host and port").next().expect("an address")
}

/// Nothing gets through, until so many have tried in vain.
const IN_VAIN: usize = 3;

async fn cut_off(proxy: &Proxy) {
    for _ in 0..IN_VAIN {
        let accepted = proxy.counts().accepted;
        proxy.until(|counts| counts.accepted > accepted).await;
        proxy.end_all(End::Reset);
    }
    proxy.heal();
}

/// The connection to the database breaks exactly when an envelope is refused for the last time, and for a while there
/// is no other.
async fn the_last_attempt(kind: Kind, test: &str) {
    let Some(database) = Database::fresh(kind, test).await.expect("a database") else { return };
    let proxy = Arc::new(Proxy::to(address(&database.url)).await.expect("a proxy"));
    let through = Database { url: proxy.instead_of(&database.url), ..database.clone() };
    let (refused, is_mended) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let broke = Arc::new(Notify::new());
    let tap = Tap::saying({
        let (proxy, refused, is_mended) = (Arc::clone(&proxy), Arc::clone(&refused), Arc::clone(&is_mended));
        let broke = Arc::clone(&broke);
        move |arrival| {
            if arrival.key != "key 0" || is_mended.load(Ordering::SeqCst) {
                return Say::Confirmed;
            }
            if refused.fetch_add(1, Ordering::SeqCst) + 1 == ATTEMPTS {
                Way::BOTH.into_iter().for_each(|way| proxy.swallow(way, true));
                proxy.end_all(End::Reset);
                broke.notify_one();
            }
            Say::Refused
        }
    });
    let tap = tap.await.expect("a tap");
    let store = database.open().await.expect("a store");
    let broken = through.open().await.expect("a store through the proxy");
    let relay = Relay::new(broken.outbox(), Arc::new(TapBus::to(tap.address()))).options(|options| {
        options.attempts_max = ATTEMPTS;
        // No lease that is lost heals what is left behind.
        options.lease = Duration::from_secs(600);
        options.refused = Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(50) };
    });
    let (end, ended) = oneshot::channel::<()>();
    let relaying = tokio::spawn(relay.run(async { _ = ended.await }));

    let cutting = tokio::spawn(async move {
        broke.notified().await;
        cut_off(&proxy).await;
        proxy
    });
    let written = store.write(16, 10, 16).await.expect("they are committed");
    tap.until("all other keys", PATIENCE, |history| history.distinct() == 15 * 10).await;
    let parked = store.until(|backlog| backlog.dead_letters == 1).await.expect("it is given up, visibly");
    assert!(parked.outbox_parked <= 9, "{parked:?}");
    let dead = store.inspect().dead_letters(10).await.expect("dead letters");
    assert_eq!((&dead[0].side, dead[0].attempts), (&Side::Relay, ATTEMPTS));

    assert!(refused.load(Ordering::SeqCst) >= ATTEMPTS, "the connection never broke");
    let proxy = cutting.await.expect("it heals");
    is_mended.store(true, Ordering::SeqCst);
    let (source, id) = (dead[0].envelope.source.as_str(), &dead[0].envelope.id);
    assert!(store.inspect().requeue(&Side::Relay, source, id).await.expect("it is put back"));
    store.settled().await.expect("the key goes on");
    tap.history().check(&written);
    drop(end);
    relaying.await.expect("the relay").expect("it ends");
    drop((store, broken, proxy));
    database.remove().await.expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_47_a_connection_to_postgres_that_breaks_at_the_last_attempt_leaves_no_key_behind() {
    the_last_attempt(Kind::Postgres, "the last attempt on PostgreSQL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_47_a_connection_to_mariadb_that_breaks_at_the_last_attempt_leaves_no_key_behind() {
    the_last_attempt(Kind::MySql, "the last attempt on MariaDB").await;
}
