//! The composition root: a store for each service, and the bus between them. It is the one place that names all four
//! services.

use std::path::Path;
use std::sync::Arc;

use factum::memory::MemoryStore;
use factum::{EventBus, Work};
use factum_store_sqlite::Sqlite;

use crate::chance::Trial;
use crate::pipeline::Pipeline;
use crate::service::{Service, ServiceStore};
use crate::{Failure, insight, inventory, ordering, payment};

/// A store for each service.
pub struct Stores<S> {
    /// Ordering's.
    pub ordering: S,
    /// Inventory's.
    pub inventory: S,
    /// Payment's.
    pub payment: S,
    /// Insight's.
    pub insight: S,
}

/// The services' names, in the order in which they are told of everywhere.
pub const NAMES: [&str; 4] = [ordering::NAME, inventory::NAME, payment::NAME, insight::NAME];

impl<S> Stores<S> {
    /// Opens one for each service, by the service's name.
    ///
    /// # Errors
    ///
    /// The first that cannot be opened.
    pub async fn open(open: impl AsyncFn(&'static str) -> Result<S, Failure>) -> Result<Self, Failure> {
        Ok(Self {
            ordering: open(ordering::NAME).await?,
            inventory: open(inventory::NAME).await?,
            payment: open(payment::NAME).await?,
            insight: open(insight::NAME).await?,
        })
    }

    /// Each with the service's name, in the order of [`NAMES`].
    pub fn named(self) -> [(&'static str, S); 4] {
        let Self { ordering, inventory, payment, insight } = self;
        [
            (ordering::NAME, ordering),
            (inventory::NAME, inventory),
            (payment::NAME, payment),
            (insight::NAME, insight),
        ]
    }
}

impl Stores<Sqlite> {
    /// Opens a database for each service in a folder: `ordering.db`, `inventory.db`, `payment.db`, `insight.db`.
    ///
    /// # Errors
    ///
    /// [`Failure::Database`].
    pub async fn in_folder(folder: &Path) -> Result<Self, Failure> {
        Self::open(async |name| {
            let path = folder.join(name).with_extension("db");
            Sqlite::open(&path).await.map_err(|source| Failure::Database { path, source: source.into() })
        })
        .await
    }
}

impl Stores<MemoryStore> {
    /// Four empty stores in memory.
    pub fn in_memory() -> Self {
        Self {
            ordering: MemoryStore::new(),
            inventory: MemoryStore::new(),
            payment: MemoryStore::new(),
            insight: MemoryStore::new(),
        }
    }
}

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trials {
    /// Which orders inventory refuses.
    pub refuse: Trial,
    /// Which payments the bank declines.
    pub decline: Trial,
}

/// The units of work of the four services.
pub struct Works<S: ServiceStore> {
    /// Ordering's.
    pub ordering: Work<S>,
    /// Inventory's.
    pub inventory: Work<S>,
    /// Payment's.
    pub payment: Work<S>,
    /// Insight's.
    pub insight: Work<S>,
}

/// The four services, not started yet.
pub struct Shop<S: ServiceStore> {
    ordering: Service<S>,
    inventory: Service<S>,
    payment: Service<S>,
    insight: Service<S>,
    relays: bool,
}

impl<S: ServiceStore> Shop<S> {
    /// The four services on their stores.
    pub fn new(stores: Stores<S>, trials: Trials) -> Self {
        Self {
            ordering: ordering::service(stores.ordering),
            inventory: inventory::service(stores.inventory, trials.refuse),
            payment: payment::service(stores.payment, trials.decline),
            insight: insight::service(stores.insight),
            relays: true,
        }
    }

    /// Their units of work.
    pub fn works(&self) -> Works<S> {
        Works {
            ordering: self.ordering.work.clone(),
            inventory: self.inventory.work.clone(),
            payment: self.payment.work.clone(),
            insight: self.insight.work.clone(),
        }
    }

    /// Leaves their relays to another process.
    #[must_use]
    pub fn without_relays(mut self) -> Self {
        self.relays = false;
        self
    }

    /// Subscribes all of them, then starts them.
    ///
    /// # Errors
    ///
    /// The bus or a store.
    pub async fn start(self, bus: &Arc<dyn EventBus>) -> Result<Pipeline<S>, Failure> {
        let Self { ordering, inventory, payment, insight, relays } = self;
        Pipeline::start([ordering, inventory, payment, insight], bus, relays).await
    }
}
