//! After the faults stop, the unit serves again without an operator, unless a loss has to be accepted.

/// Healed at some time, not done `now`.
pub(in crate::world) fn progress_is_made(
    now: u64,
    deadline: u64,
    describe: impl FnOnce() -> String,
) -> Result<(), String> {
    if now <= deadline { Ok(()) } else { Err(format!("no progress after healing; {}", describe())) }
}
