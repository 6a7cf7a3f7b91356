//! The login phase (RFC 7143 6.3) as states that each request consumes.
//!
//! ```text
//!            first request          T, NSG=1               T, NSG=3
//!  Opening ----------------> Security ------> Operational ----------> Complete -- granted --> full feature phase
//!      \___________________________________________^   \____________________^
//!                 first request with CSG=1               (from Security, too)
//! ```
//! In Security, the initiator proves who it is where that is demanded. Every state can end in a refusal instead. A
//! complete login still waits for the daemon, which first ends the session that it replaces, if there is one (RFC 7143
//! 6.3.5), and hands out the TSIH.

use super::SessionType;
use super::access::{Demand, Denied, Entrance};
use super::chap::Authentication;
use super::event::LoginDenied;
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
    /// Send this and close; the operator may want to know.
    Refuse(LoginAnswer, Option<LoginDenied>),
}

/// Why a login ends.
#[derive(Debug)]
enum Refusal {
    Status(LoginStatus),
    Denied(Denied),
}

/// Where a login goes from a request that was good.
enum Next {
    Stay,
    Operational,
    FullFeature,
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
    /// As whom the initiator has proven itself.
    pub(super) user: Option<String>,
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
    authentication: Authentication,
    /// Text of requests with the C bit, not yet looked at.
    text: Vec<u8>,
    names_checked: bool,
    length_declared: bool,
}

impl From<LoginStatus> for Refusal {
    fn from(status: LoginStatus) -> Self {
        Self::Status(status)
    }
}

impl From<Denied> for Refusal {
    fn from(why: Denied) -> Self {
        Self::Denied(why)
    }
}

impl Login {
    /// Take the next request.
    pub(super) fn handle(
        self,
        portal: &PortalConfig,
        entrance: &Entrance,
        request: &LoginRequest,
        text: &[u8],
    ) -> Step {
        let identity = Identity::of(request);
        let exchange = match self {
            Self::Opening => Exchange::open(identity, entrance, request),
            Self::Negotiating(exchange) if exchange.identity == identity => Ok(exchange),
            Self::Negotiating(_) => Err(LoginStatus::INITIATOR_ERROR),
        };
        let mut exchange = match exchange {
            Ok(exchange) => exchange,
            Err(status) => return Step::Refuse(refusal(request, status), None),
        };
        match exchange.handle(portal, entrance, request, text) {
            Ok((answer, next)) => exchange.go_on(answer, &next),
            Err(Refusal::Status(status)) => Step::Refuse(refusal(request, status), None),
            Err(Refusal::Denied(why)) => {
                let Negotiation { initiator_name, session_type, .. } = exchange.negotiation;
                let denied = initiator_name.map(|initiator| LoginDenied {
                    initiator,
                    session_type: session_type.unwrap_or(SessionType::Normal),
                    why,
                });
                Step::Refuse(refusal(request, why.status()), denied)
            }
        }
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
    fn open(identity: Identity, entrance: &Entrance, request: &LoginRequest) -> Result<Box<Self>, LoginStatus> {
        if entrance.is_full {
            return Err(LoginStatus::SERVICE_UNAVAILABLE);
        }
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
            authentication: Authentication::new(entrance.challenge),
            text: Vec::new(),
            names_checked: false,
            length_declared: false,
        }))
    }

    fn handle(
        &mut self,
        portal: &PortalConfig,
        entrance: &Entrance,
        request: &LoginRequest,
        text: &[u8],
    ) -> Result<(LoginAnswer, Next), Refusal> {
        self.check_stages(request)?;
        if self.text.len() + text.len() > MAX_TEXT_BYTES {
            return Err(LoginStatus::INITIATOR_ERROR.into());
        }
        self.text.extend_from_slice(text);
        let mut response = plain_response(request);
        if request.text_continues {
            return Ok((LoginAnswer { response, text: Vec::new() }, Next::Stay));
        }
        let text = self.answer_keys(portal, entrance)?;
        if request.transit && !self.authentication.may_go_on(self.demand(entrance))? {
            response.transit = false;
            response.next_stage = Stage::Security;
        }
        let next = match request.next_stage {
            _ if !response.transit => Next::Stay,
            Stage::FullFeature => Next::FullFeature,
            _ => Next::Operational,
        };
        Ok((LoginAnswer { response, text }, next))
    }

    fn go_on(mut self: Box<Self>, answer: LoginAnswer, next: &Next) -> Step {
        match next {
            Next::Stay => {}
            Next::Operational => self.stage = TextStage::Operational,
            Next::FullFeature => {
                let Self { negotiation, identity, authentication, .. } = *self;
                let user = authentication.into_user();
                return Step::Complete(Box::new(CompleteLogin { answer, negotiation, identity, user }));
            }
        }
        Step::Answer(Login::Negotiating(self), answer)
    }

    /// What is asked of the initiator, once it has said who it is and what it wants.
    fn demand<'a>(&self, entrance: &'a Entrance) -> Demand<'a> {
        let name = self.negotiation.initiator_name.as_deref().unwrap_or_default();
        entrance.policy.demand(name, self.negotiation.session_type.unwrap_or(SessionType::Normal))
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

    fn answer_keys(&mut self, portal: &PortalConfig, entrance: &Entrance) -> Result<Vec<u8>, Refusal> {
        let keys = parse_keys(&std::mem::take(&mut self.text)).ok_or(LoginStatus::INITIATOR_ERROR)?;
        if keys.len() > MAX_KEYS {
            return Err(LoginStatus::INITIATOR_ERROR.into());
        }
        let mut negotiated = Vec::new();
        for (name, value) in &keys {
            if let Some(answer) = self.negotiation.offer(self.stage, name, value)? {
                emit_key(&mut negotiated, name, &answer);
            }
        }
        let is_first = !std::mem::replace(&mut self.names_checked, true);
        if is_first {
            self.check_names(portal, entrance)?;
        }
        let mut answers = self.authenticate(entrance)?;
        answers.append(&mut negotiated);
        if is_first {
            self.declare_names(portal, &mut answers);
        }
        if self.stage == TextStage::Operational && !self.length_declared {
            self.length_declared = true;
            emit_key(&mut answers, "MaxRecvDataSegmentLength", &MAX_RECV_DATA_SEGMENT_BYTES.to_string());
        }
        Ok(answers)
    }

    /// Only after the names: what is demanded depends on them.
    fn authenticate(&mut self, entrance: &Entrance) -> Result<Vec<u8>, Denied> {
        let demand = self.demand(entrance);
        if self.stage == TextStage::Operational {
            // It may have begun here, and never asked for the stage in which it could prove itself.
            self.authentication.may_go_on(demand)?;
        }
        let keys = std::mem::take(&mut self.negotiation.security);
        let mut answers = Vec::new();
        for (name, value) in self.authentication.handle(keys, demand)? {
            emit_key(&mut answers, name, &value);
        }
        Ok(answers)
    }

    /// The first text must say who speaks, and to which target (RFC 7143 6.3).
    fn check_names(&mut self, portal: &PortalConfig, entrance: &Entrance) -> Result<(), Refusal> {
        let session_type = *self.negotiation.session_type.get_or_insert(SessionType::Normal);
        let Negotiation { initiator_name: Some(initiator), target_name, .. } = &self.negotiation else {
            return Err(LoginStatus::MISSING_PARAMETER.into());
        };
        match (target_name, session_type) {
            (_, SessionType::Discovery) => Ok(()),
            (None, SessionType::Normal) => Err(LoginStatus::MISSING_PARAMETER.into()),
            (Some(name), SessionType::Normal) if *name == portal.target_name => Ok(entrance.check(initiator)?),
            (Some(_), SessionType::Normal) => Err(LoginStatus::NOT_FOUND.into()),
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
