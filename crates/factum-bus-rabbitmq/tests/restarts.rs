//! A broker of our own is killed and started again, and nothing is lost.

mod support;

use std::sync::Arc;
use std::time::Duration;

use factum::EventBus;
use factum_bus_rabbitmq::{QueueKind, RabbitMq};
use factum_conformance::bus::{BusFixture, cases, run};
use factum_launcher as launcher;
use tokio::sync::Mutex;

use support::Namespace;

/// A broker that belongs to one case.
struct Private<const CLASSIC: bool> {
    server: Mutex<launcher::RabbitMq>,
    bus: RabbitMq,
}

impl<const CLASSIC: bool> BusFixture for Private<CLASSIC> {
    const PATIENCE: Duration = Duration::from_secs(120);

    async fn open() -> Self {
        let server = launcher::RabbitMq::start().await.unwrap();
        let namespace = std::mem::ManuallyDrop::new(Namespace::on(server.url()));
        let kind = if CLASSIC { QueueKind::Classic } else { QueueKind::Quorum };
        let bus = namespace.options().queue_kind(kind).connect().await.unwrap();
        Self { server: server.into(), bus }
    }

    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    async fn restart(&self) -> bool {
        let mut server = self.server.lock().await;
        // RabbitMQ 3.10 keeps the name of a new quorum queue in memory for up to three seconds. Killed meanwhile, it
        // forgets what was in the queue, and nobody leads it; that is not what is tested here.
        // tidy: allow(sleep): there is nothing to wait for: the broker tells nobody
        tokio::time::sleep(Duration::from_secs(4)).await;
        server.kill().unwrap();
        server.start_again().await.unwrap();
        true
    }
}

fn is_installed(test: &str) -> bool {
    let found = std::path::Path::new("/usr/lib/rabbitmq/bin").exists();
    let required = std::env::var("FACTUM_REQUIRE").is_ok_and(|required| required == "all");
    assert!(
        found || !required,
        "{test}: no RabbitMQ here to start; FACTUM_REQUIRE says that it must be there"
    );
    if !found {
        eprintln!(
            "SKIPPED: {test}: no RabbitMQ here to start; install it by `apt-get install rabbitmq-server`"
        );
    }
    found
}

#[test]
fn nothing_is_lost_when_the_broker_is_killed_twice() {
    const NAME: &str = "nothing_is_lost_when_the_broker_is_killed_twice";
    if is_installed(NAME) {
        let case = cases::redelivery::nothing_is_lost_when_the_broker_restarts_twice::<Private<false>>;
        run::<Private<false>, _>(NAME, case);
    }
}

#[test]
fn nothing_is_lost_from_classic_queues_when_the_broker_is_killed_twice() {
    const NAME: &str = "nothing_is_lost_from_classic_queues_when_the_broker_is_killed_twice";
    if is_installed(NAME) {
        let case = cases::redelivery::nothing_is_lost_when_the_broker_restarts_twice::<Private<true>>;
        run::<Private<true>, _>(NAME, case);
    }
}
