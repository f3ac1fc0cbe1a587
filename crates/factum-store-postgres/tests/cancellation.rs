//! Every future of the store is dropped at every poll, under notes in a table of the tests' own.

mod support;

factum_conformance::drops_suite!(support::Schema);
