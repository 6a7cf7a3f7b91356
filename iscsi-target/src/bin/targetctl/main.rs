//! Administration of a pair.
fn main() {}
