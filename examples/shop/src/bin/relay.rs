//! The relays of the shop's four services, in a process of their own. What `shop --no-relay` announces leaves from here.
//!
//! It needs nothing of a service but its database: no handler, no subscriber, none of its types. Any number of these may
//! run, beside each other and beside shops that relay for themselves: they share the work, and take over from one that
//! dies.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use factum::EventBus as _;
use factum_runtime::Relay;
use shop::deployment::Deployment;
use shop::{Failure, service};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// How long the bus may take to end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Moves what the four services announce from their databases to the bus, until it is told to end.
#[derive(Debug, Parser)]
#[command(name = "relay", version, max_term_width = 100)]
struct Options {
    #[command(flatten)]
    deployment: Deployment,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse().deployment).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("relay: {failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}

async fn run(deployment: &Deployment) -> Result<(), Failure> {
    deployment.check_relays_elsewhere()?;
    let site = deployment.find()?;
    let (stores, bus) = (site.stores().await?, site.bus().await?);
    let mut relays = JoinSet::new();
    for (name, outbox) in stores.outboxes() {
        let relay = Relay::new(outbox, Arc::clone(&bus)).options(service::relay_options);
        let told_to_end = told_to_end()?;
        relays.spawn(async move { relay.run(told_to_end).await.map_err(Failure::of(name)) });
    }
    eprintln!("relay: at work");
    // Each finishes what is on its way, gives its leases back, and ends.
    let ended = relays.join_all().await.into_iter().collect();
    bus.close(GOODBYE).await;
    ended
}

/// Ends on Ctrl-C and SIGTERM. Killed in any other way it loses nothing either, but its leases run out first.
fn told_to_end() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|source| Failure::System { what: "listen to signals", source });
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
