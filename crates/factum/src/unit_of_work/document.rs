//! Ready-made persistence: an aggregate's state as JSON in one table, on any store that has one.

use std::fmt::Display;
use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use super::{Loaded, Persist, UnitOfWork, Version, Written};
use crate::port::Store;
use crate::{AggregateRoot, BoxError, Error};

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

    async fn insert(&self, connection: &mut S::Connection) -> Result<Written, BoxError> {
        put::<S, A>(self, connection, None).await
    }

    async fn update(&self, version: Version, connection: &mut S::Connection) -> Result<Written, BoxError> {
        put::<S, A>(self, connection, Some(version)).await
    }

    async fn delete(&self, version: Version, connection: &mut S::Connection) -> Result<Written, BoxError> {
        S::delete(connection, A::COLLECTION, &self.id().to_string(), version).await
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
