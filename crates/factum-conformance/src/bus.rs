//! Placeholder: the bus suite.
