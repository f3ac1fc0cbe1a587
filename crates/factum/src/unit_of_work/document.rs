//! Ready-made persistence: an aggregate's state as JSON in one table, on any store that has one.

use std::fmt::Display;
use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use super::persist::Change;
use super::{Loaded, Persist, UnitOfWork, Version, Written};
use crate::port::Store;
use crate::{AggregateRoot, BoxError, BoxFuture, Error};

/// An aggregate whose state is kept as one JSON document, by collection and id.
///
/// The domain stays free of serialisation: the state is a type of its own, next to the other infrastructure.
pub trait Document: AggregateRoot<Id: Display> + Sized + Send + Sync + 'static {
    /// The collection's name: 1 to 64 bytes. It is stored; renaming it loses what was stored under the old one.
    const COLLECTION: &'static str;

    /// What is stored.
    type State: Serialize + DeserializeOwned + Send;

    /// The state of an aggregate.
    fn state(&self) -> Self::State;

    /// The aggregate of a state. It records nothing.
    fn restore(state: Self::State) -> Self;
}

/// A store that keeps documents.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not known to keep documents",
    note = "an aggregate that is a `Document` needs a store that is `Documents`: say so of a type parameter, `S: Documents`",
    note = "on any other store an aggregate root implements `Persist<{Self}>`"
)]
pub trait Documents: Store {
    /// The document and its version.
    fn get(
        connection: &mut Self::Connection,
        collection: &'static str,
        id: &str,
    ) -> impl Future<Output = Result<Option<(Vec<u8>, Version)>, BoxError>> + Send;

    /// Inserts a document as version 1 (`expected` is `None`), or replaces version `expected` by the next.
    fn put(
        connection: &mut Self::Connection,
        collection: &'static str,
        id: &str,
        expected: Option<Version>,
        document: Vec<u8>,
    ) -> impl Future<Output = Result<Written, BoxError>> + Send;

    /// The documents of a collection whose ids come after `after`, in the order of their ids (bytewise), at most `most`.
    fn scan(
        connection: &mut Self::Connection,
        collection: &'static str,
        after: &str,
        most: usize,
    ) -> impl Future<Output = Result<Vec<(String, Vec<u8>)>, BoxError>> + Send;

    /// Deletes version `expected` of a document.
    fn delete(
        connection: &mut Self::Connection,
        collection: &'static str,
        id: &str,
        expected: Version,
    ) -> impl Future<Output = Result<Written, BoxError>> + Send;

    /// Several documents of a collection, in any order, with their ids and versions; those that are not there are left
    /// out. One after the other, unless the store knows better.
    fn get_many(
        connection: &mut Self::Connection,
        collection: &'static str,
        ids: Vec<String>,
    ) -> impl Future<Output = Result<Vec<(String, Vec<u8>, Version)>, BoxError>> + Send {
        async move {
            let mut found = Vec::new();
            for id in ids {
                if let Some((document, version)) = Self::get(connection, collection, &id).await? {
                    found.push((id, document, version));
                }
            }
            Ok(found)
        }
    }

    /// Writes several documents, in the order given, and answers for each in that order. One after the other, unless
    /// the store knows better.
    fn write_many(
        connection: &mut Self::Connection,
        changes: Vec<DocumentChange>,
    ) -> impl Future<Output = Result<Vec<Written>, BoxError>> + Send {
        async move {
            let mut written = Vec::with_capacity(changes.len());
            for DocumentChange { collection, id, expected, document } in changes {
                written.push(match (document, expected) {
                    (Some(document), expected) => {
                        Self::put(connection, collection, &id, expected, document).await?
                    }
                    (None, Some(expected)) => Self::delete(connection, collection, &id, expected).await?,
                    (None, None) => Written::Fresh,
                });
            }
            Ok(written)
        }
    }
}

/// One document to insert, replace or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentChange {
    /// Its collection.
    pub collection: &'static str,
    /// Its id.
    pub id: String,
    /// The version that it has; `None`: it is new.
    pub expected: Option<Version>,
    /// What to store; `None`: delete it.
    pub document: Option<Vec<u8>>,
}

impl<S: Documents> UnitOfWork<S> {
    /// The states of all documents of a kind, as the tables have them: what is tracked here and not written yet is not
    /// seen. Page by page; each holds at most `most`, and `after` is the id at which the last one ended (`""` to begin).
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn scan<A: Document>(
        &mut self,
        after: &str,
        most: usize,
    ) -> Result<Vec<(String, A::State)>, Error> {
        let connection = self.connection().await?;
        let page = S::scan(connection, A::COLLECTION, after, most).await.map_err(Error::Store)?;
        page.into_iter()
            .map(|(id, document)| match read::<A>(&id, &document) {
                Ok(state) => Ok((id, state)),
                Err(error) => Err(Error::Store(error)),
            })
            .collect()
    }
}

fn read<A: Document>(id: &str, document: &[u8]) -> Result<A::State, BoxError> {
    serde_json::from_slice(document).map_err(|error| {
        format!("{} {id}: the stored document is not its state: {error}", A::COLLECTION).into()
    })
}

impl<S: Documents, A: Document> Persist<S> for A {
    async fn load(id: &A::Id, connection: &mut S::Connection) -> Result<Option<Loaded<A>>, BoxError> {
        let id = id.to_string();
        let Some((document, version)) = S::get(connection, A::COLLECTION, &id).await? else {
            return Ok(None);
        };
        let state = read::<A>(&id, &document)?;
        Ok(Some(Loaded::new(A::restore(state), version)))
    }

    async fn load_many(ids: &[A::Id], connection: &mut S::Connection) -> Result<Vec<Loaded<A>>, BoxError> {
        let ids = ids.iter().map(ToString::to_string).collect();
        let found = S::get_many(connection, A::COLLECTION, ids).await?;
        let restored = found.into_iter().map(|(id, document, version)| {
            let state = read::<A>(&id, &document)?;
            Ok(Loaded::new(A::restore(state), version))
        });
        restored.collect()
    }

    async fn insert(&self, connection: &mut S::Connection) -> Result<Written, BoxError> {
        put::<S, A>(self, connection, None).await
    }

    async fn update(&self, version: Version, connection: &mut S::Connection) -> Result<Written, BoxError> {
        put::<S, A>(self, connection, Some(version)).await
    }

    async fn delete(&self, version: Version, connection: &mut S::Connection) -> Result<Written, BoxError> {
        S::delete(connection, A::COLLECTION, &self.id().to_string(), version).await
    }

    fn document_change(&self, change: Change) -> Option<Result<DocumentChange, BoxError>> {
        let expected = match change {
            Change::None | Change::Gone => return None,
            Change::Insert => None,
            Change::Update(version) | Change::Delete(version) => Some(version),
        };
        let document = match change {
            Change::Delete(_) => Ok(None),
            _ => serde_json::to_vec(&self.state()).map(Some),
        };
        let (collection, id) = (A::COLLECTION, self.id().to_string());
        Some(match document {
            Ok(document) => Ok(DocumentChange { collection, id, expected, document }),
            Err(error) => Err(error.into()),
        })
    }

    fn write_documents(
        connection: &mut S::Connection,
        changes: Vec<DocumentChange>,
    ) -> BoxFuture<'_, Result<Vec<Written>, BoxError>> {
        Box::pin(S::write_many(connection, changes))
    }
}

/// Encoded before anything is awaited, so that no state has to live across an await.
fn put<'a, S: Documents, A: Document>(
    aggregate: &A,
    connection: &'a mut S::Connection,
    expected: Option<Version>,
) -> impl Future<Output = Result<Written, BoxError>> + Send + use<'a, S, A> {
    let id = aggregate.id().to_string();
    let document = serde_json::to_vec(&aggregate.state());
    async move { S::put(connection, A::COLLECTION, &id, expected, document?).await }
}
