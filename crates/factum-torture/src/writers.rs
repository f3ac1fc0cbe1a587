//! Several writers at a time, each with keys of its own, so that the order of a key is the order of its commits.

use std::collections::HashMap;

use factum::{BoxError, Dispatcher, Event, Integration, IntegrationEvent, Store, Work};
use serde::{Deserialize, Serialize};

const WRITERS: u64 = 8;

/// The `n`-th of a key. Its data is that number.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Written1 {
    n: u64,
    #[serde(skip)]
    key: u64,
}

impl Event for Written1 {
    type Kind = Integration;
}

/// The type of all that is written.
pub const TYPE: &str = "com.example.torture.written.v1";

impl IntegrationEvent for Written1 {
    const TYPE: &'static str = TYPE;

    fn key(&self) -> Option<String> {
        Some(format!("key {}", self.key))
    }
}

/// How many were committed of each key.
pub type Written = HashMap<String, u64>;

/// Announces the `n`-th event of a key, in a commit of its own.
///
/// # Errors
/// The store failed.
pub async fn write_one<S: Store>(store: &S, key: u64, n: u64) -> Result<(), BoxError> {
    let mut uow = work(store).begin().await?;
    uow.announce(&Written1 { key, n })?;
    let _committed = uow.save_changes().await?;
    Ok(())
}

fn work<S: Store>(store: &S) -> Work<S> {
    Work::new("https://torture.example/writer", store.clone(), Dispatcher::default())
}

/// Announces `of_each` events of each of `keys` keys, `in_one` of them in one commit, and says what is committed.
///
/// # Errors
/// The store failed.
pub async fn write<S: Store>(store: &S, keys: u64, of_each: u64, in_one: u64) -> Result<Written, BoxError> {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS.min(keys) {
        let work = work(store);
        let keys: Vec<u64> = (0..keys).filter(|key| key % WRITERS == writer).collect();
        writers.spawn(async move {
            // Round by round, so that commits hold many keys and keys run through many commits.
            let all: Vec<Written1> =
                (0..of_each).flat_map(|n| keys.iter().map(move |key| Written1 { key: *key, n })).collect();
            for some in all.chunks(usize::try_from(in_one)?.max(1)) {
                let mut uow = work.begin().await?;
                for event in some {
                    uow.announce(event)?;
                }
                let _committed = uow.save_changes().await?;
            }
            Ok::<(), BoxError>(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok((0..keys).map(|key| (format!("key {key}"), of_each)).collect())
}
