//! The bus on NATS JetStream passes the suite of buses.

mod support;

use std::sync::Arc;
use std::time::Duration;

use factum::EventBus;
use factum_bus_nats::Nats;
use factum_conformance::bus::BusFixture;
use factum_conformance::service::{self, Server};
use support::Namespace;
use tokio::sync::Mutex;

/// A namespace on the shared server.
struct OnNats {
    bus: Nats,
    namespace: Namespace,
}

impl BusFixture for OnNats {
    /// The stream keeps what nobody takes yet.
    const TELLS_UNROUTABLE: bool = false;
    const SERVER: Option<Server> = Some(service::NATS);

    async fn open() -> Self {
        let namespace = Namespace::on(&service::NATS.url());
        Self { bus: namespace.bus().await, namespace }
    }

    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    async fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        Some(Arc::new(self.namespace.bus().await))
    }
}

factum_conformance::bus_suite!(OnNats);

/// A server of its own, to be restarted.
struct OnItsOwn {
    bus: Nats,
    server: Mutex<factum_launcher::Nats>,
}

impl BusFixture for OnItsOwn {
    const TELLS_UNROUTABLE: bool = false;

    async fn open() -> Self {
        let server = factum_launcher::Nats::start().await.unwrap();
        let options = Nats::options(server.url()).lease(Duration::from_secs(5));
        Self { bus: options.connect().await.unwrap(), server: Mutex::new(server) }
    }

    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    async fn restart(&self) -> bool {
        let mut server = self.server.lock().await;
        server.kill().unwrap();
        server.start_again().await.unwrap();
        true
    }
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_twice() {
    use factum_conformance::bus::{cases, run};
    let name = "nothing_is_lost_when_the_server_is_killed_twice";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = runtime.block_on(factum_launcher::Nats::start());
    if factum_launcher::or_skip(name, started).is_none() {
        return;
    }
    let case = cases::redelivery::nothing_is_lost_when_the_broker_restarts_twice::<OnItsOwn>;
    run::<OnItsOwn, _>(name, case);
}
