//! Login Request and Response (RFC 7143 11.12, 11.13). The data segment is text keys.

use nom::Parser;
use nom::number::complete::{be_u16, u8};

use super::wire::{self, BhsWriter, Numbers, Parsed, flag};
use super::{BHS_BYTES, CmdSn, Itt, StatSn, opcode};

const TRANSIT: u8 = 0x80;
const CONTINUE: u8 = 0x40;

/// A login stage: CSG and NSG (RFC 7143 11.12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// SecurityNegotiation.
    Security,
    /// LoginOperationalNegotiation.
    Operational,
    /// FullFeaturePhase.
    FullFeature,
    /// Code 2, which the RFC leaves unused.
    Reserved,
}

/// One step of the initiator's side of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// T: the initiator is ready to leave the current stage.
    pub transit: bool,
    /// C: the text goes on in the next request.
    pub text_continues: bool,
    /// CSG.
    pub current_stage: Stage,
    /// NSG; meaningful with T only.
    pub next_stage: Stage,
    /// Highest protocol version that the initiator speaks.
    pub version_max: u8,
    /// Lowest protocol version that the initiator speaks.
    pub version_min: u8,
    /// The initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// The target's part of it; zero for a new session.
    pub tsih: u16,
    /// The same for the whole login.
    pub itt: Itt,
    /// Connection identifier.
    pub cid: u16,
    /// The first command number of the session.
    pub cmd_sn: CmdSn,
    /// Meaningful after the first response only.
    pub exp_stat_sn: StatSn,
}

/// One step of the target's side of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// T: the target agrees to leave the current stage.
    pub transit: bool,
    /// C: the text goes on in the next response.
    pub text_continues: bool,
    /// CSG.
    pub current_stage: Stage,
    /// NSG; meaningful with T only.
    pub next_stage: Stage,
    /// Highest protocol version that the target speaks.
    pub version_max: u8,
    /// The version that both use.
    pub version_active: u8,
    /// As in the request.
    pub isid: [u8; 6],
    /// The target's part of the session identifier; not zero in the last response.
    pub tsih: u16,
    /// As in the request.
    pub itt: Itt,
    /// Sequence numbers.
    pub numbers: Numbers,
    /// Status-Class and Status-Detail.
    pub status: LoginStatus,
}

/// Status-Class and Status-Detail (RFC 7143 11.13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoginStatus {
    /// 0 success, 1 redirection, 2 initiator error, 3 target error.
    pub class: u8,
    /// Which one.
    pub detail: u8,
}

impl LoginStatus {
    /// The login goes on, or is complete.
    pub const SUCCESS: Self = Self { class: 0, detail: 0 };
    /// Miscellaneous initiator error.
    pub const INITIATOR_ERROR: Self = Self { class: 2, detail: 0 };
    /// The initiator could not prove who it is.
    pub const AUTHENTICATION_FAILURE: Self = Self { class: 2, detail: 1 };
    /// The initiator may not use this target.
    pub const AUTHORIZATION_FAILURE: Self = Self { class: 2, detail: 2 };
    /// There is no target of that name.
    pub const NOT_FOUND: Self = Self { class: 2, detail: 3 };
    /// The target is gone for good.
    pub const TARGET_REMOVED: Self = Self { class: 2, detail: 4 };
    /// No common protocol version.
    pub const UNSUPPORTED_VERSION: Self = Self { class: 2, detail: 5 };
    /// Too many connections in the session.
    pub const TOO_MANY_CONNECTIONS: Self = Self { class: 2, detail: 6 };
    /// A key that must be there is not.
    pub const MISSING_PARAMETER: Self = Self { class: 2, detail: 7 };
    /// This connection cannot be added to that session.
    pub const CANNOT_INCLUDE: Self = Self { class: 2, detail: 8 };
    /// This session type is not served.
    pub const SESSION_TYPE_NOT_SUPPORTED: Self = Self { class: 2, detail: 9 };
    /// The session to add a connection to is not there.
    pub const NO_SUCH_SESSION: Self = Self { class: 2, detail: 0x0a };
    /// A request that does not fit the state of the login.
    pub const INVALID_DURING_LOGIN: Self = Self { class: 2, detail: 0x0b };
    /// The target is broken.
    pub const TARGET_ERROR: Self = Self { class: 3, detail: 0 };
    /// The target does not serve at the moment.
    pub const SERVICE_UNAVAILABLE: Self = Self { class: 3, detail: 1 };
    /// The target has run out of something.
    pub const OUT_OF_RESOURCES: Self = Self { class: 3, detail: 2 };

    /// Whether it keeps out somebody who may not come in.
    #[must_use]
    pub fn is_denial(self) -> bool {
        self == Self::AUTHENTICATION_FAILURE || self == Self::AUTHORIZATION_FAILURE
    }
}

impl Stage {
    fn of(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Security,
            1 => Self::Operational,
            3 => Self::FullFeature,
            _ => Self::Reserved,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Security => 0,
            Self::Operational => 1,
            Self::Reserved => 2,
            Self::FullFeature => 3,
        }
    }
}

fn stage_flags(transit: bool, text_continues: bool, current: Stage, next: Stage) -> u8 {
    flag(transit, TRANSIT) | flag(text_continues, CONTINUE) | current.bits() << 2 | next.bits()
}

impl LoginRequest {
    /// All of the login of a new session in one request: from the operational stage to the full feature phase.
    #[must_use]
    pub fn new(isid: [u8; 6], cmd_sn: CmdSn) -> Self {
        Self {
            transit: true,
            text_continues: false,
            current_stage: Stage::Operational,
            next_stage: Stage::FullFeature,
            version_max: 0,
            version_min: 0,
            isid,
            tsih: 0,
            itt: Itt(0),
            cid: 0,
            cmd_sn,
            exp_stat_sn: StatSn(0),
        }
    }

    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, isid, tsih, itt, cid, (), cmd_sn, exp_stat_sn)) =
            (wire::start, wire::isid, be_u16, wire::itt, be_u16, wire::reserved(2), wire::cmd_sn, wire::stat_sn)
                .parse(bhs)?;
        let request = Self {
            transit: start.flags & TRANSIT != 0,
            text_continues: start.flags & CONTINUE != 0,
            current_stage: Stage::of(start.flags >> 2),
            next_stage: Stage::of(start.flags),
            version_max: start.byte2,
            version_min: start.byte3,
            isid,
            tsih,
            itt,
            cid,
            cmd_sn,
            exp_stat_sn,
        };
        Ok((rest, request))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        let flags = stage_flags(self.transit, self.text_continues, self.current_stage, self.next_stage);
        // A login request is always immediate.
        BhsWriter::new(opcode::LOGIN_REQUEST, true, flags, self.version_max, self.version_min)
            .bytes(&self.isid)
            .be16(self.tsih)
            .be32(self.itt.0)
            .be16(self.cid)
            .reserved(2)
            .be32(self.cmd_sn.0)
            .be32(self.exp_stat_sn.0)
            .finish()
    }
}

impl LoginResponse {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, isid, tsih, itt, (), numbers, class, detail)) =
            (wire::start, wire::isid, be_u16, wire::itt, wire::reserved(4), wire::numbers, u8, u8).parse(bhs)?;
        let response = Self {
            transit: start.flags & TRANSIT != 0,
            text_continues: start.flags & CONTINUE != 0,
            current_stage: Stage::of(start.flags >> 2),
            next_stage: Stage::of(start.flags),
            version_max: start.byte2,
            version_active: start.byte3,
            isid,
            tsih,
            itt,
            numbers,
            status: LoginStatus { class, detail },
        };
        Ok((rest, response))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        let flags = stage_flags(self.transit, self.text_continues, self.current_stage, self.next_stage);
        BhsWriter::new(opcode::LOGIN_RESPONSE, false, flags, self.version_max, self.version_active)
            .bytes(&self.isid)
            .be16(self.tsih)
            .be32(self.itt.0)
            .reserved(4)
            .numbers(&self.numbers)
            .bytes(&[self.status.class, self.status.detail])
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{request, response, some_numbers};
    use super::super::{Request, Response};
    use super::*;

    #[test]
    fn golden_bytes() {
        request(
            "43870000 00000000 00023d000001 0000 00000001 0005 0000 00000010 00000020 00000000 00000000 00000000 00000000",
            Request::Login(LoginRequest {
                transit: true,
                text_continues: false,
                current_stage: Stage::Operational,
                next_stage: Stage::FullFeature,
                version_max: 0,
                version_min: 0,
                isid: [0, 2, 0x3d, 0, 0, 1],
                tsih: 0,
                itt: Itt(1),
                cid: 5,
                cmd_sn: CmdSn(0x10),
                exp_stat_sn: StatSn(0x20),
            }),
        );
        response(
            "23440000 00000000 00023d000001 0102 00000001 00000000 00000020 00000011 00000090 0203 0000 0000000000000000",
            Response::Login(LoginResponse {
                transit: false,
                text_continues: true,
                current_stage: Stage::Operational,
                next_stage: Stage::Security,
                version_max: 0,
                version_active: 0,
                isid: [0, 2, 0x3d, 0, 0, 1],
                tsih: 0x102,
                itt: Itt(1),
                numbers: some_numbers(),
                status: LoginStatus::NOT_FOUND,
            }),
        );
    }
}
