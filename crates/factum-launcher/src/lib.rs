//! Private servers for tests, ours to kill and freeze, and a TCP proxy that breaks connections.
