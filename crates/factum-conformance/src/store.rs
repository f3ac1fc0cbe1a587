//! Placeholder: the store suite.
