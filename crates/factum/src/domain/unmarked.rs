//! How the derives of `Entity` and `AggregateRoot` ask about a field that they do not visit, without knowing its type.
//!
//! Nobody else needs it: it is public only because derived code names it.

use std::marker::PhantomData;

use super::Records;

/// A field of this type.
#[derive(Debug)]
pub struct Field<T: ?Sized>(PhantomData<T>);

impl<T: ?Sized + Records> Field<T> {
    /// Found first, where it applies.
    pub const HOLDS_RECORDED_EVENTS: bool = true;
}

/// What is found where the constant of the type itself does not apply.
pub trait Otherwise {
    /// No.
    const HOLDS_RECORDED_EVENTS: bool = false;
}

impl<T: ?Sized> Otherwise for Field<T> {}

/// The compiler cannot infer `Answer` for a type that holds recorded events, because there are two.
pub trait MarkItChildren<Answer> {
    /// Compiles if the answer is known.
    fn check() {}
}

/// Every type has this answer ..
#[derive(Debug)]
pub struct NeedsNoMark;

/// .. and who holds recorded events has this one as well.
#[derive(Debug)]
pub struct HoldsRecordedEvents;

impl<T: ?Sized> MarkItChildren<NeedsNoMark> for T {}
impl<T: ?Sized + Records> MarkItChildren<HoldsRecordedEvents> for T {}
