//! The login phase (RFC 7143 6.3) as states that each request consumes.
//!
//! ```text
//!            first request          T, NSG=1               T, NSG=3
//!  Opening ----------------> Security ------> Operational ----------> Complete -- granted --> full feature phase
//!      \___________________________________________^   \____________________^
//!                 first request with CSG=1               (from Security, too)
//! ```
//! Every state can end in a refusal instead. A complete login still waits for the daemon, which first ends the session
//! that it replaces, if there is one (RFC 7143 6.3.5), and hands out the TSIH.

use super::SessionType;
use super::keys::{Negotiation, TextStage};
use super::limits::{MAX_ALIAS_BYTES, MAX_KEYS, MAX_RECV_DATA_SEGMENT_BYTES, MAX_TEXT_BYTES};
use super::portal::PortalConfig;
use crate::pdu::login::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::pdu::text::{emit_key, parse_keys};
use crate::pdu::{CmdSn, Itt, Numbers};

/// The only protocol version there is (RFC 7143 11.12.4).
const VERSION: u8 = 0;

/// A login that is not yet complete.
#[derive(Debug)]
pub(super) enum Login {
    /// Nothing was received.
    Opening,
    /// The names are known to be right, or about to be looked at.
    Negotiating(Box<Exchange>),
}

/// What a request led to.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this and wait for the next request.
    Answer(Login, LoginAnswer),
    /// The daemon decides.
    Complete(Box<CompleteLogin>),
    /// Send this and close.
    Refuse(LoginAnswer),
}

/// A login response with its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoginAnswer {
    pub(super) response: LoginResponse,
    pub(super) text: Vec<u8>,
}

/// Everything agreed; only the last response is missing.
#[derive(Debug)]
pub(super) struct CompleteLogin {
    answer: LoginAnswer,
    pub(super) negotiation: Negotiation,
    pub(super) identity: Identity,
}

/// What must stay the same in all requests of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) isid: [u8; 6],
    pub(super) tsih: u16,
    pub(super) cid: u16,
    itt: Itt,
    cmd_sn: CmdSn,
}

/// A login in one of its negotiation stages.
#[derive(Debug)]
pub(super) struct Exchange {
    identity: Identity,
    stage: TextStage,
    negotiation: Negotiation,
    /// Text of requests with the C bit, not yet looked at.
    text: Vec<u8>,
    names_checked: bool,
    length_declared: bool,
}

impl Login {
    /// Take the next request.
    pub(super) fn handle(self, portal: &PortalConfig, request: &LoginRequest, text: &[u8]) -> Step {
        let identity = Identity::of(request);
        let outcome = match self {
            Self::Opening => Exchange::open(identity, request),
            Self::Negotiating(exchange) if exchange.identity == identity => Ok(exchange),
            Self::Negotiating(_) => Err(LoginStatus::INITIATOR_ERROR),
        };
        outcome
            .and_then(|exchange| exchange.handle(portal, request, text))
            .unwrap_or_else(|status| Step::Refuse(refusal(request, status)))
    }
}

/// The answer that ends a login.
pub(super) fn refusal(request: &LoginRequest, status: LoginStatus) -> LoginAnswer {
    let response = LoginResponse {
        transit: false,
        text_continues: false,
        next_stage: Stage::Security,
        status,
        ..plain_response(request)
    };
    LoginAnswer { response, text: Vec::new() }
}

fn plain_response(request: &LoginRequest) -> LoginResponse {
    LoginResponse {
        transit: request.transit,
        text_continues: false,
        current_stage: request.current_stage,
        next_stage: if request.transit { request.next_stage } else { Stage::Security },
        version_max: VERSION,
        version_active: VERSION,
        isid: request.isid,
        tsih: request.tsih,
        itt: request.itt,
        numbers: Numbers::default(),
        status: LoginStatus::SUCCESS,
    }
}

impl Identity {
    fn of(request: &LoginRequest) -> Self {
        Self { isid: request.isid, tsih: request.tsih, cid: request.cid, itt: request.itt, cmd_sn: request.cmd_sn }
    }
}

impl Exchange {
    fn open(identity: Identity, request: &LoginRequest) -> Result<Box<Self>, LoginStatus> {
        if request.version_min > VERSION {
            return Err(LoginStatus::UNSUPPORTED_VERSION);
        }
        let stage = match request.current_stage {
            Stage::Security => TextStage::Security,
            Stage::Operational => TextStage::Operational,
            Stage::FullFeature | Stage::Reserved => return Err(LoginStatus::INVALID_DURING_LOGIN),
        };
        Ok(Box::new(Self {
            identity,
            stage,
            negotiation: Negotiation::default(),
            text: Vec::new(),
            names_checked: false,
            length_declared: false,
        }))
    }

    fn handle(
        mut self: Box<Self>,
        portal: &PortalConfig,
        request: &LoginRequest,
        text: &[u8],
    ) -> Result<Step, LoginStatus> {
        self.check_stages(request)?;
        if self.text.len() + text.len() > MAX_TEXT_BYTES {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        self.text.extend_from_slice(text);
        let response = plain_response(request);
        if request.text_continues {
            let answer = LoginAnswer { response, text: Vec::new() };
            return Ok(Step::Answer(Login::Negotiating(self), answer));
        }
        let text = self.answer_keys(portal)?;
        let answer = LoginAnswer { response, text };
        if !request.transit {
            return Ok(Step::Answer(Login::Negotiating(self), answer));
        }
        if request.next_stage == Stage::FullFeature {
            let Self { negotiation, identity, .. } = *self;
            return Ok(Step::Complete(Box::new(CompleteLogin { answer, negotiation, identity })));
        }
        self.stage = TextStage::Operational;
        Ok(Step::Answer(Login::Negotiating(self), answer))
    }

    /// CSG is where we are; with T, NSG lies ahead; C and T exclude each other (RFC 7143 11.12.1 to 11.12.3).
    fn check_stages(&self, request: &LoginRequest) -> Result<(), LoginStatus> {
        let (current, ahead): (_, &[Stage]) = match self.stage {
            TextStage::Security => (Stage::Security, &[Stage::Operational, Stage::FullFeature]),
            TextStage::Operational | TextStage::FullFeature => (Stage::Operational, &[Stage::FullFeature]),
        };
        if request.current_stage != current {
            return Err(LoginStatus::INVALID_DURING_LOGIN);
        }
        if request.transit && (request.text_continues || !ahead.contains(&request.next_stage)) {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        Ok(())
    }

    fn answer_keys(&mut self, portal: &PortalConfig) -> Result<Vec<u8>, LoginStatus> {
        let keys = parse_keys(&std::mem::take(&mut self.text)).ok_or(LoginStatus::INITIATOR_ERROR)?;
        if keys.len() > MAX_KEYS {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        let mut answers = Vec::new();
        for (name, value) in &keys {
            if let Some(answer) = self.negotiation.offer(self.stage, name, value)? {
                if name == "AuthMethod" && answer == "Reject" {
                    return Err(LoginStatus::AUTHENTICATION_FAILURE);
                }
                emit_key(&mut answers, name, &answer);
            }
        }
        if !self.names_checked {
            self.check_names(portal)?;
            self.names_checked = true;
            self.declare_names(portal, &mut answers);
        }
        if self.stage == TextStage::Operational && !self.length_declared {
            self.length_declared = true;
            emit_key(&mut answers, "MaxRecvDataSegmentLength", &MAX_RECV_DATA_SEGMENT_BYTES.to_string());
        }
        Ok(answers)
    }

    /// The first text must say who speaks, and to which target (RFC 7143 6.3).
    fn check_names(&mut self, portal: &PortalConfig) -> Result<(), LoginStatus> {
        if self.negotiation.initiator_name.is_none() {
            return Err(LoginStatus::MISSING_PARAMETER);
        }
        let session_type = *self.negotiation.session_type.get_or_insert(SessionType::Normal);
        match (&self.negotiation.target_name, session_type) {
            (_, SessionType::Discovery) => Ok(()),
            (None, SessionType::Normal) => Err(LoginStatus::MISSING_PARAMETER),
            (Some(name), SessionType::Normal) if *name == portal.target_name => Ok(()),
            (Some(_), SessionType::Normal) => Err(LoginStatus::NOT_FOUND),
        }
    }

    /// The first answer names the portal group (RFC 7143 13.9), in a normal session.
    fn declare_names(&self, portal: &PortalConfig, answers: &mut Vec<u8>) {
        if self.negotiation.session_type != Some(SessionType::Normal) {
            return;
        }
        emit_key(answers, "TargetPortalGroupTag", &portal.target_portal_group_tag.to_string());
        let alias = &portal.target_alias;
        if !alias.is_empty() && alias.len() <= MAX_ALIAS_BYTES {
            emit_key(answers, "TargetAlias", alias);
        }
    }
}

impl CompleteLogin {
    /// The last response of a login that the daemon grants.
    pub(super) fn granted(self, tsih: u16) -> (LoginAnswer, Negotiation, Identity) {
        let mut answer = self.answer;
        answer.response.tsih = tsih;
        (answer, self.negotiation, self.identity)
    }

    /// The last response of a login that the daemon refuses.
    pub(super) fn refused(self, status: LoginStatus) -> LoginAnswer {
        let response = LoginResponse { transit: false, next_stage: Stage::Security, status, ..self.answer.response };
        LoginAnswer { response, text: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
