//! What a projection gets to see of a unit of work.

use std::ops::{Index, IndexMut};

use super::{Persist, Tracked, UnitOfWork};
use crate::Error;
use crate::port::Store;

/// The read model, as a projection may change it: it can neither announce nor save.
pub struct View<'a, S: Store>(&'a mut UnitOfWork<S>);

impl<'a, S: Store> View<'a, S> {
    pub(crate) fn of(uow: &'a mut UnitOfWork<S>) -> Self {
        Self(uow)
    }

    /// The connection; queries through it commit together with the checkpoint.
    ///
    /// # Errors
    /// As for [`UnitOfWork::connection`].
    pub async fn connection(&mut self) -> Result<&mut S::Connection, Error> {
        self.0.connection().await
    }

    /// Takes in a new part of the read model.
    pub fn add<A: Persist<S>>(&mut self, part: A) -> Tracked<A> {
        self.0.add(part)
    }

    /// The part of the read model with this id.
    ///
    /// # Errors
    /// As for [`UnitOfWork::load`].
    pub async fn load<A: Persist<S>>(&mut self, id: &A::Id) -> Result<Tracked<A>, Error> {
        self.0.load(id).await
    }

    /// The part of the read model with this id, if there is one.
    ///
    /// # Errors
    /// As for [`UnitOfWork::find`].
    pub async fn find<A: Persist<S>>(&mut self, id: &A::Id) -> Result<Option<Tracked<A>>, Error> {
        self.0.find(id).await
    }
}

impl<S: Store, A: Persist<S>> Index<Tracked<A>> for View<'_, S> {
    type Output = A;
    #[track_caller]
    fn index(&self, key: Tracked<A>) -> &A {
        &self.0[key]
    }
}

impl<S: Store, A: Persist<S>> IndexMut<Tracked<A>> for View<'_, S> {
    #[track_caller]
    fn index_mut(&mut self, key: Tracked<A>) -> &mut A {
        &mut self.0[key]
    }
}
