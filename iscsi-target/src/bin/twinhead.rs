//! The daemon of one head.
fn main() {}
