//! What a commit proved cannot be put in the place of something else.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

fn swap(proven: &mut Committed<Envelope>, value: Envelope) {
    **proven = value;
}

fn main() {}
