//! REPORT and SET TARGET PORT GROUPS for the unit (SPC-4 6.37, 6.46); the bytes are the `alua` crate's.

use alua::PortGroups;
use alua::rtpg::{self, Format};
use alua::stpg::{self, StpgError, StpgRequest};

use crate::scsi::Response;
use crate::scsi::sense::{Sense, SenseCode};
use crate::scsi::unit::Verdict;

/// IMPLICIT TRANSITION TIME: a takeover takes well under a second; this leaves room for a slow disk. Linux would wait
/// 60 s if it were not told.
const IMPLICIT_TRANSITION_S: u8 = 10;

/// Answer REPORT TARGET PORT GROUPS.
#[must_use]
pub fn report(groups: &PortGroups, extended: bool, allocation: u32) -> Response {
    let format =
        if extended { Format::Extended { implicit_transition_s: IMPLICIT_TRANSITION_S } } else { Format::LengthOnly };
    Response::parameters(rtpg::encode(groups, format), allocation)
}

/// Decide on SET TARGET PORT GROUPS.
#[must_use]
pub fn set(groups: &PortGroups, length: u32, data: Option<&[u8]>) -> Verdict {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let Some(list) = data.unwrap_or_default().get(..length) else {
        return Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR).into();
    };
    match stpg::decide(list, groups) {
        Ok(StpgRequest::Nothing) => Response::good().into(),
        Ok(StpgRequest::Activate(group)) => Verdict::SwitchTo(group),
        Err(StpgError::Truncated) => Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR).into(),
        Err(StpgError::InvalidField { byte }) => Sense::invalid_parameter(byte).into(),
    }
}

/// The answer after [`Verdict::SwitchTo`]: whether the group is active now.
#[must_use]
pub fn switched(done: bool) -> Response {
    if done { Response::good() } else { Response::check(SenseCode::SET_TARGET_PORT_GROUPS_FAILED) }
}
