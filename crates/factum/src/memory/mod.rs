//! A store and a bus in memory: for a quick start, for tests, and as the first adapter of each port.
