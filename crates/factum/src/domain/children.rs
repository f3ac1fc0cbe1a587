//! Child entities, kept so that no event of theirs is lost with them.

use std::fmt;

use super::{DomainEvents, Entity, Records, Visit};

/// The child entities of an aggregate. One that is removed leaves its pending events behind until they are collected.
///
/// It gives no slice: `children[0] = other` would drop a child with all that it recorded.
#[derive(Clone, PartialEq, Eq)]
pub struct Children<T> {
    present: Vec<T>,
    of_removed: DomainEvents,
}

impl<T> Children<T> {
    /// No children yet.
    pub const fn new() -> Self {
        Self { present: Vec::new(), of_removed: DomainEvents::new() }
    }

    /// The children, in the order in which they were added.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.present.iter()
    }

    /// The children, to call business methods on.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.present.iter_mut()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.present.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }
}

impl<T: Entity<Id: PartialEq> + Records> Children<T> {
    /// Puts a child behind the others.
    pub fn add(&mut self, child: T) {
        self.present.push(child);
    }

    /// The child with this id.
    pub fn get(&self, id: &T::Id) -> Option<&T> {
        self.iter().find(|child| child.id() == id)
    }

    /// The child with this id, to call business methods on.
    pub fn get_mut(&mut self, id: &T::Id) -> Option<&mut T> {
        self.iter_mut().find(|child| child.id() == id)
    }

    /// Takes the child out; the events that it has recorded stay.
    pub fn remove(&mut self, id: &T::Id) -> Option<T> {
        let place = self.iter().position(|child| child.id() == id)?;
        let mut child = self.present.remove(place);
        self.of_removed.append(&mut child.collect_events());
        Some(child)
    }

    /// Removes the children for which `stays` is false; the events that they have recorded stay.
    pub fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        let Self { present, of_removed } = self;
        for mut child in present.extract_if(.., |child| !stays(child)) {
            of_removed.append(&mut child.collect_events());
        }
    }

    /// Removes all children; the events that they have recorded stay.
    pub fn clear(&mut self) {
        self.retain(|_| false);
    }
}

impl<T> Default for Children<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> FromIterator<T> for Children<T> {
    fn from_iter<I: IntoIterator<Item = T>>(children: I) -> Self {
        Self { present: children.into_iter().collect(), of_removed: DomainEvents::new() }
    }
}

impl<'a, T> IntoIterator for &'a Children<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Children<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T: fmt::Debug> fmt::Debug for Children<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.present).finish()
    }
}

impl<T: Records> Records for Children<T> {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.of_removed.each_events(visit);
        self.present.each_events(visit);
    }
}
