//! The databases that a URL means.

use std::path::Path;
use std::sync::Arc;

use factum::memory::MemoryStore;
use factum::port::OutboxStore;
use factum_store_sqlite::Sqlite;

use super::{Namespace, Url, cleanup};
use crate::Failure;
use crate::composition::Stores;

const OPTION: &str = "--store";

/// Databases that this build knows.
pub(super) enum Store {
    Memory,
    Sqlite,
    #[cfg(feature = "full")]
    Postgres(Url),
    #[cfg(feature = "full")]
    MySql(Url),
}

/// A store for each service, of a kind that was chosen by a URL. Whoever goes on from here is generic over the kind.
pub enum AnyStores {
    /// In memory: gone with the process.
    Memory(Stores<MemoryStore>),
    /// Files.
    Sqlite(Stores<Sqlite>),
    /// Schemas of a PostgreSQL database.
    #[cfg(feature = "full")]
    Postgres(Stores<factum_store_postgres::Postgres>),
    /// Databases of a MariaDB server.
    #[cfg(feature = "full")]
    MySql(Stores<factum_store_mysql::MySql>),
}

impl Store {
    pub(super) fn of(url: &Url) -> Result<Self, Failure> {
        let unusable = |why: String| Failure::Usage { option: OPTION, why };
        match url.scheme() {
            "memory" if url.rest().is_empty() => Ok(Self::Memory),
            "sqlite" if url.rest().is_empty() => Ok(Self::Sqlite),
            "sqlite" => Err(unusable("sqlite: has no path here; --data-dir says where the files are".into())),
            #[cfg(feature = "full")]
            "postgres" | "postgresql" => Ok(Self::Postgres(url.clone())),
            #[cfg(feature = "full")]
            "mysql" | "mariadb" => Ok(Self::MySql(url.clone())),
            #[cfg(not(feature = "full"))]
            "postgres" | "postgresql" | "mysql" | "mariadb" => Err(Failure::not_compiled_in(OPTION, url)),
            _ => {
                let expected = "expected sqlite:, postgres://HOST/DATABASE or mysql://HOST";
                Err(unusable(format!("{expected}; found {}", url.shown())))
            }
        }
    }

    /// Whether it is gone when the process ends.
    pub(super) fn is_volatile(&self) -> bool {
        matches!(self, Self::Memory)
    }

    /// Whether it is files in the data folder.
    pub(super) fn is_in_folder(&self) -> bool {
        matches!(self, Self::Sqlite)
    }

    /// Whether it is on a server.
    pub(super) fn is_served(&self) -> bool {
        !self.is_volatile() && !self.is_in_folder()
    }

    pub(super) async fn open(&self, folder: &Path, namespace: &Namespace) -> Result<AnyStores, Failure> {
        let _ = namespace; // An embedded one needs no name.
        match self {
            Self::Memory => Ok(AnyStores::Memory(Stores::in_memory())),
            Self::Sqlite => Ok(AnyStores::Sqlite(Stores::in_folder(folder).await?)),
            #[cfg(feature = "full")]
            Self::Postgres(url) => {
                let open = async |service| super::servers::postgres(url, namespace, service).await;
                Ok(AnyStores::Postgres(Stores::open(open).await?))
            }
            #[cfg(feature = "full")]
            Self::MySql(url) => {
                let open = async |service| super::servers::mysql(url, namespace, service).await;
                Ok(AnyStores::MySql(Stores::open(open).await?))
            }
        }
    }

    /// Removes the databases of the services; answers which there were.
    pub(super) async fn clean_up(
        &self,
        folder: &Path,
        namespace: &Namespace,
    ) -> Result<Vec<String>, Failure> {
        let _ = namespace;
        match self {
            Self::Memory => Ok(Vec::new()),
            Self::Sqlite => cleanup::from_folder(folder),
            #[cfg(feature = "full")]
            Self::Postgres(url) => super::servers::drop_schemas(url, namespace).await,
            #[cfg(feature = "full")]
            Self::MySql(url) => super::servers::drop_databases(url, namespace).await,
        }
    }
}

impl AnyStores {
    /// What relays see of them, with the services' names.
    pub fn outboxes(self) -> [(&'static str, Arc<dyn OutboxStore>); 4] {
        fn of<S: OutboxStore + 'static>(stores: Stores<S>) -> [(&'static str, Arc<dyn OutboxStore>); 4] {
            stores.named().map(|(name, store)| (name, Arc::new(store) as Arc<dyn OutboxStore>))
        }
        match self {
            Self::Memory(stores) => of(stores),
            Self::Sqlite(stores) => of(stores),
            #[cfg(feature = "full")]
            Self::Postgres(stores) => of(stores),
            #[cfg(feature = "full")]
            Self::MySql(stores) => of(stores),
        }
    }
}
