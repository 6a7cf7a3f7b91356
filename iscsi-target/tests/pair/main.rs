//! What only two real heads can show: processes that are killed, LUNs that move.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod copy;
mod endings;
mod heads;
mod sanitize;
mod wire;
mod writes;
