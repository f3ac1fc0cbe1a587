//! Where the shop lives: on which databases, on which bus, and under which name on servers that it shares with others.
//!
//! The URLs choose the adapters, and nothing else in the shop knows which they are. They may hold passwords: nothing here
//! prints one, whole or in part.

mod bus;
mod cleanup;
mod namespace;
#[cfg(feature = "full")]
mod servers;
mod stores;
mod url;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use factum::EventBus;

pub use cleanup::Removed;
pub use namespace::Namespace;
pub use stores::AnyStores;
pub use url::Url;

use self::bus::Bus;
use self::stores::Store;
use crate::Failure;
use crate::data_dir::{self, DataDir};

/// What is typed the same for every program that is a part of one shop.
#[derive(Clone, Debug, clap::Args)]
pub struct Deployment {
    /// Keep the databases here: sqlite: (files in the data folder), postgres://HOST/DATABASE or mysql://HOST
    ///
    /// On a server each service has a schema or a database of its own. Servers need a build with --features full. A
    /// password is better in the environment: others can read a command line.
    #[arg(
        long,
        value_name = "URL",
        env = "SHOP_STORE",
        hide_env_values = true,
        default_value = "sqlite:",
        help_heading = "Where it lives"
    )]
    pub store: Url,

    /// Carry the events by this: memory: (in this process), nats://HOST or amqp://HOST
    ///
    /// Servers need a build with --features full. A password is better in the environment.
    #[arg(
        long,
        value_name = "URL",
        env = "SHOP_BUS",
        hide_env_values = true,
        default_value = "memory:",
        help_heading = "Where it lives"
    )]
    pub bus: Url,

    /// What everything of this run is called on servers: schemas or databases, streams, queues
    ///
    /// 1 to 30 lower-case letters, digits and `-`, the first a letter. By default it comes from the path of the data
    /// folder, so that the next run there goes on where this one was.
    #[arg(long, value_name = "NAME", env = "SHOP_NAMESPACE", help_heading = "Where it lives")]
    pub namespace: Option<Namespace>,

    /// Keep the databases in DIR, and go on from what is in there; by default the shop makes a fresh temporary folder
    #[arg(long, value_name = "DIR", help_heading = "Where it lives")]
    pub data_dir: Option<PathBuf>,
}

/// A deployment whose place is known.
pub struct Site {
    store: Store,
    bus: Bus,
    namespace: Namespace,
    folder: PathBuf,
    /// Keeps other runs out of the folder.
    _taken: Option<DataDir>,
}

impl Deployment {
    /// The place for a run. Nobody else runs in its folder meanwhile. Where the caller did not say which place it is,
    /// standard error does.
    ///
    /// # Errors
    ///
    /// URLs that mean nothing here; the folder.
    pub fn take(&self) -> Result<Site, Failure> {
        let (store, bus) = self.adapters()?;
        let in_folder = store.is_in_folder();
        if let Some(namespace) = self.namespace.clone().filter(|_| !in_folder) {
            return Ok(Site { store, bus, namespace, folder: PathBuf::new(), _taken: None });
        }
        let taken = DataDir::take(self.data_dir.as_deref())?;
        let folder = taken.path().to_owned();
        let namespace = self.namespace.clone().unwrap_or_else(|| Namespace::of(&folder));
        if in_folder && self.data_dir.is_none() {
            say(&format!("databases: {}", folder.display()));
        }
        if self.namespace.is_none() && (store.is_served() || bus.is_served()) {
            say(&format!("namespace: {namespace}"));
        }
        Ok(Site { store, bus, namespace, folder, _taken: Some(taken) })
    }

    /// The place of a run that is under way in another process, or has been. It is not taken.
    ///
    /// # Errors
    ///
    /// URLs that mean nothing here, a folder that is not there, or nothing that says which run it is.
    pub fn find(&self) -> Result<Site, Failure> {
        let (store, bus) = self.adapters()?;
        let (folder, namespace) = match (&self.data_dir, &self.namespace) {
            (Some(folder), None) => {
                let folder = data_dir::find(folder)?;
                let namespace = Namespace::of(&folder);
                (folder, namespace)
            }
            (Some(folder), Some(namespace)) if store.is_in_folder() => {
                (data_dir::find(folder)?, namespace.clone())
            }
            (_, Some(namespace)) if !store.is_in_folder() => (PathBuf::new(), namespace.clone()),
            (None, _) if store.is_in_folder() => {
                let why = "say in which folder the databases are".into();
                return Err(Failure::Usage { option: "--data-dir", why });
            }
            _ => {
                let why = "say which run it is, by this or by --data-dir".into();
                return Err(Failure::Usage { option: "--namespace", why });
            }
        };
        Ok(Site { store, bus, namespace, folder, _taken: None })
    }

    /// Says whether relays can be in one process, and services in another.
    ///
    /// # Errors
    ///
    /// They cannot.
    pub fn check_relays_elsewhere(&self) -> Result<(), Failure> {
        let why = "memory: is in one process; with relays in another it has to be nats:// or amqp://";
        match self.adapters()?.1.is_served() {
            true => Ok(()),
            false => Err(Failure::Usage { option: "--bus", why: why.into() }),
        }
    }

    fn adapters(&self) -> Result<(Store, Bus), Failure> {
        let (store, bus) = (Store::of(&self.store)?, Bus::of(&self.bus)?);
        if store.is_volatile() && bus.is_served() {
            let why = "memory: goes with bus memory: only, or what is on the bus would outlive its source";
            return Err(Failure::Usage { option: "--store", why: why.into() });
        }
        Ok((store, bus))
    }
}

impl Site {
    /// Keeps other runs out of its folder, if it has one.
    ///
    /// # Errors
    ///
    /// One is at work there.
    pub fn taken(mut self) -> Result<Self, Failure> {
        if !self.folder.as_os_str().is_empty() {
            self._taken = Some(DataDir::take(Some(&self.folder))?);
        }
        Ok(self)
    }

    /// Opens a store for each service, and makes its tables as needed.
    ///
    /// # Errors
    ///
    /// A database that cannot be opened.
    pub async fn stores(&self) -> Result<AnyStores, Failure> {
        self.store.open(&self.folder, &self.namespace).await
    }

    /// Connects to the bus.
    ///
    /// # Errors
    ///
    /// It cannot be reached.
    pub async fn bus(&self) -> Result<Arc<dyn EventBus>, Failure> {
        self.bus.open(&self.namespace).await
    }

    /// Removes all that runs in this place have left behind, in the databases and on the bus.
    ///
    /// # Errors
    ///
    /// What cannot be reached or removed. What is left then is found by the next call.
    pub async fn clean_up(&self) -> Result<Removed, Failure> {
        cleanup::clean_up(self).await
    }
}

/// Losing this line is no reason to stop: the run does not depend on it.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
