//! What factum costs, beside a hand-written loop on the same servers.

fn main() {}
