//! The suite that every store must pass, each case in schemas of its own.

#[path = "support/fixture.rs"]
mod fixture;
mod support;

use fixture::Schemas;

factum_conformance::store_suite!(Schemas::default());
