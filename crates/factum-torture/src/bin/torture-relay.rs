//! One relay in a process of its own: `torture-relay KIND URL NAME TAP LEASE_MILLIS`. It runs until it gets
//! SIGTERM, shuts down then, and says so; or until it is killed. Whenever the buckets are shared out anew it says how many
//! it works on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use factum::protocol::Backoff;
use factum_runtime::Relay;
use factum_torture::{ATTEMPTS, Database, Kind, TapBus};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, url, name, tap, lease] = arguments.as_slice() else {
        return Err("usage: torture-relay sqlite|postgres|mysql URL NAME TAP LEASE_MILLIS".into());
    };
    let kind = match kind.as_str() {
        "sqlite" => Kind::Sqlite,
        "postgres" => Kind::Postgres,
        "mysql" => Kind::MySql,
        other => return Err(format!("`{other}` is no kind of database").into()),
    };
    let store = Database { kind, url: url.clone(), name: name.clone() }.open().await?;
    let lease = Duration::from_millis(lease.parse()?);
    let relay = Relay::new(store.outbox(), Arc::new(TapBus::to(tap.parse()?))).options(|options| {
        options.lease = lease;
        options.renew = lease / 3;
        options.take_over = options.take_over.min(lease / 3);
        // So that what is refused is given up while a test looks on.
        options.attempts_max = ATTEMPTS;
        options.refused = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(100) };
    });
    let stats = relay.stats();
    println!("ready");
    let mut terminate = signal(SignalKind::terminate())?;
    let told_to_end = async move { _ = terminate.recv().await };
    let telling = async {
        let mut last = stats.now();
        loop {
            last = stats.until(|now| (now.relays, now.buckets) != (last.relays, last.buckets)).await;
            println!("works on {} of {}", last.buckets, last.relays);
        }
    };
    tokio::select! {
        ended = relay.run(told_to_end) => ended?,
        () = telling => {}
    }
    println!("ended {:?}", stats.now());
    Ok(())
}
