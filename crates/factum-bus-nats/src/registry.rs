//! What all processes on this bus agree on, in a key-value bucket of its own: the settings of the namespace, and a record
//! for each subscription. A record is only ever replaced at the revision that it was read at.

use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Error;
use crate::names::Names;
use crate::server::{Failure, Server};

const SETTINGS: &str = "settings";
/// How often it is tried again where somebody else was quicker.
const TRIES: usize = 64;

#[derive(Clone)]
pub(crate) struct Registry {
    server: Server,
    store: Store,
}

#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    /// Of this layout.
    version: u32,
    partitions: u8,
}

/// What becomes of a record that was read.
pub(crate) enum Change<T, R> {
    /// It is replaced by this.
    Write(T, R),
    /// It stays.
    Keep(R),
}

impl Registry {
    pub(crate) async fn open(server: &Server, names: &Names, replicas: usize) -> Result<Self, Error> {
        let bucket = names.bucket();
        let what = format!("opening the key-value bucket {bucket}");
        let wanted = json!({
            "name": format!("KV_{bucket}"),
            "description": "factum: settings and subscriptions",
            "subjects": [format!("$KV.{bucket}.>")],
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "max_msgs_per_subject": 1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_consumers": -1,
            "num_replicas": replicas.max(1),
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_direct": true,
        });
        let created = server.ask(format!("STREAM.CREATE.KV_{bucket}"), &wanted).await;
        let opened = server.within(server.jetstream.get_key_value(bucket.clone())).await;
        match (created, opened) {
            (_, Ok(store)) => Ok(Self { server: server.clone(), store }),
            (Err(failure), Err(_)) | (Ok(_), Err(failure)) => Err(failure.over(&what)),
        }
    }

    /// How many partitions this namespace has: what it was first opened with, and that is `wanted` from now on.
    pub(crate) async fn partitions(&self, wanted: u8) -> Result<(), Error> {
        let settings = self
            .change(SETTINGS, |found: Option<Settings>| match found {
                Some(found) => Ok(Change::Keep(found)),
                None => {
                    let settings = || Settings { version: 1, partitions: wanted };
                    Ok(Change::Write(settings(), settings()))
                }
            })
            .await?;
        if settings.version == 1 && settings.partitions == wanted {
            return Ok(());
        }
        Err(Error::Differs {
            what: "the namespace".into(),
            found: format!("layout {} and {} partitions", settings.version, settings.partitions),
            needed: format!("layout 1 and {wanted} partitions"),
        })
    }

    /// The record as it is; `None`: there is none.
    pub(crate) async fn read<T: Serialize + DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.change(key, |found| Ok(Change::Keep(found))).await
    }

    /// Replaces a record by what `change` makes of it. `change` runs again where somebody else was quicker.
    pub(crate) async fn change<T, R>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Result<Change<T, R>, Error>,
    ) -> Result<R, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let what = format!("changing the record {key}");
        for _ in 0..TRIES {
            let entry = self.server.within(self.store.entry(key)).await.map_err(|it| it.over(&what))?;
            let revision = entry.as_ref().map(|entry| entry.revision);
            // A deleted key leaves an entry without a value.
            let found = match entry.filter(|entry| !entry.value.is_empty()) {
                Some(entry) => {
                    Some(serde_json::from_slice(&entry.value).map_err(|error| Error::server(&*what, error))?)
                }
                None => None,
            };
            let (record, result) = match change(found)? {
                Change::Keep(result) => return Ok(result),
                Change::Write(record, result) => (record, result),
            };
            let value = serde_json::to_vec(&record).map_err(|error| Error::server(&*what, error))?;
            if self.replace(key, value.into(), revision).await.map_err(|it| it.over(&what))? {
                return Ok(result);
            }
        }
        Err(Error::server(what, "others changed it all the time"))
    }

    /// Whether nobody was quicker.
    async fn replace(&self, key: &str, value: Bytes, revision: Option<u64>) -> Result<bool, Failure> {
        let replaced = async {
            match revision {
                Some(revision) => match self.store.update(key, value, revision).await {
                    Ok(_) => Ok(true),
                    Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
                    Err(error) => Err(factum::BoxError::from(error)),
                },
                None => match self.store.create(key, value).await {
                    Ok(_) => Ok(true),
                    Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
                    Err(error) => Err(error.into()),
                },
            }
        };
        self.server.within(replaced).await
    }
}
