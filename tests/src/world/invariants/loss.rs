//! Data that is lost is reported, not served; and nothing is reported lost without two failures at once. (That it is not
//! served is seen by whoever reads.)

/// Both heads say that the unit is unavailable.
pub(in crate::world) fn loss_has_a_reason(
    double_faults: bool,
    describe: impl FnOnce() -> String,
) -> Result<(), String> {
    if double_faults { Ok(()) } else { Err(format!("a loss without two failures: {}", describe())) }
}
