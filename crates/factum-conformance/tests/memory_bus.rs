//! The bus in memory passes the suite of buses.

use std::sync::Arc;

use factum::EventBus;
use factum::memory::{MemoryBus, MemoryBusOptions};
use factum_conformance::bus::BusFixture;
use factum_runtime::TokioTimer;

/// Small queues, so that every case with more than that many events waits for room.
const QUEUE_BOUND: usize = 64;

struct InMemory(MemoryBus);

impl BusFixture for InMemory {
    async fn open() -> Self {
        Self(MemoryBus::with(TokioTimer::new(), MemoryBusOptions::default().queue_bound(QUEUE_BOUND)))
    }

    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.0.clone())
    }

    fn queue_bound(&self) -> Option<usize> {
        Some(QUEUE_BOUND)
    }
}

factum_conformance::bus_suite!(InMemory);
