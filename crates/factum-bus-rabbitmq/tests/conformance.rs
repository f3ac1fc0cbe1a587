//! The bus on RabbitMQ passes the suite of buses.

mod support;

use std::sync::Arc;

use factum::EventBus;
use factum_bus_rabbitmq::{Options, QueueKind, RabbitMq};
use factum_conformance::bus::BusFixture;
use factum_conformance::service::{self, Server};

use support::Namespace;

/// Few, so that making and removing them does not take longer than the cases.
const PARTITIONS: u8 = 4;

struct Quorum {
    bus: RabbitMq,
    namespace: Namespace,
}

fn options(namespace: &Namespace) -> Options {
    namespace.options().partitions(PARTITIONS)
}

impl BusFixture for Quorum {
    const SERVER: Option<Server> = Some(service::RABBITMQ);

    async fn open() -> Self {
        let namespace = Namespace::new();
        Self { bus: options(&namespace).connect().await.unwrap(), namespace }
    }

    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    async fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
        Some(Arc::new(options(&self.namespace).connect().await.unwrap()))
    }
}

factum_conformance::bus_suite!(Quorum);

/// The same on classic queues, without the count of attempts.
mod classic {
    use super::*;

    struct Classic {
        bus: RabbitMq,
        namespace: Namespace,
    }

    fn options(namespace: &Namespace) -> Options {
        super::options(namespace).queue_kind(QueueKind::Classic)
    }

    impl BusFixture for Classic {
        const SERVER: Option<Server> = Some(service::RABBITMQ);

        async fn open() -> Self {
            let namespace = Namespace::new();
            Self { bus: options(&namespace).connect().await.unwrap(), namespace }
        }

        fn bus(&self) -> Arc<dyn EventBus> {
            Arc::new(self.bus.clone())
        }

        async fn elsewhere(&self) -> Option<Arc<dyn EventBus>> {
            Some(Arc::new(options(&self.namespace).connect().await.unwrap()))
        }
    }

    factum_conformance::bus_suite!(Classic);
}
