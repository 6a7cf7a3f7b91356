//! The initiator's side of a login (RFC 7143 6.3): security stage, with one-way CHAP for who has an account, then the
//! operational stage.
//!
//! ```text
//!  start: Security --T--> Operational --T--> FullFeature
//! ```
//! A target that does not agree to leave a stage is asked again, a few times.

use super::{SessionError, SessionOptions};
use crate::pdu::binary;
use crate::pdu::digest::Digests;
use crate::pdu::login::{LoginResponse, LoginStatus, Stage};
use crate::pdu::text::{emit_key, parse_keys};
use crate::session::Algorithm;
use crate::session::access::Account;

/// MaxRecvDataSegmentLength that this side declares, and MaxBurstLength that it offers.
pub(super) const MAX_DATA_BYTES: u32 = 256 << 10;
/// Requests in one login, and bytes of one answer that goes on over several PDUs.
const MAX_ROUNDS: u32 = 16;
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Bytes of a challenge (RFC 7143 12.1.3).
const MAX_CHALLENGE_BYTES: usize = 1024;

/// What the two sides agreed on; at first the defaults of RFC 7143 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) digests: Digests,
    pub(super) initial_r2t: bool,
    pub(super) immediate_data: bool,
    pub(super) first_burst_length: u32,
    pub(super) max_burst_length: u32,
    /// What the target takes in one data segment.
    pub(super) max_send_data_segment_length: u32,
}

/// The next request of the login.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) transit: bool,
    pub(super) current_stage: Stage,
    pub(super) next_stage: Stage,
    pub(super) text: Vec<u8>,
}

/// What an answer led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Ask(Step),
    Done(Parameters),
}

#[derive(Debug)]
pub(super) struct Login {
    stage: Stage,
    parameters: Parameters,
    rounds: u32,
    /// What came so far of an answer that goes on.
    text: Vec<u8>,
    proof: Proof,
}

/// How far the proof is of who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// The target has not said what it wants.
    Offered,
    /// It wants CHAP.
    Wanted,
    /// It was sent, or none is wanted.
    Given,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            initial_r2t: true,
            immediate_data: true,
            first_burst_length: 64 << 10,
            max_burst_length: 256 << 10,
            max_send_data_segment_length: 8 << 10,
        }
    }
}

impl Login {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Security,
            parameters: Parameters::default(),
            rounds: 0,
            text: Vec::new(),
            proof: Proof::Offered,
        }
    }

    /// The first request.
    pub(super) fn start(&self, options: &SessionOptions) -> Step {
        let mut text = Vec::new();
        emit_key(&mut text, "InitiatorName", &options.initiator_name);
        match &options.target_name {
            Some(name) => {
                emit_key(&mut text, "SessionType", "Normal");
                emit_key(&mut text, "TargetName", name);
            }
            None => emit_key(&mut text, "SessionType", "Discovery"),
        }
        let methods = if options.account.is_some() { "CHAP,None" } else { "None" };
        emit_key(&mut text, "AuthMethod", methods);
        if options.account.is_some() { self.stay(text) } else { self.step(text) }
    }

    /// The target's answer.
    pub(super) fn handle_response(
        &mut self,
        response: &LoginResponse,
        data: &[u8],
        options: &SessionOptions,
    ) -> Result<Progress, SessionError> {
        if response.status != LoginStatus::SUCCESS {
            return Err(SessionError::LoginRefused(response.status));
        }
        self.rounds += 1;
        self.text.extend_from_slice(data);
        if self.rounds > MAX_ROUNDS || self.text.len() > MAX_TEXT_BYTES || response.current_stage != self.stage {
            return Err(SessionError::Login("the target does not get on with the login"));
        }
        if response.text_continues {
            return Ok(Progress::Ask(self.stay(Vec::new())));
        }
        let text = std::mem::take(&mut self.text);
        let keys = parse_keys(&text).ok_or(SessionError::Login("the text of a login response makes no sense"))?;
        for (name, value) in &keys {
            self.take_key(name, value)?;
        }
        if self.stage == Stage::Security
            && let Some(step) = self.prove(options.account.as_ref(), &keys)?
        {
            return Ok(Progress::Ask(step));
        }
        match (response.transit, response.next_stage, self.stage) {
            (false, ..) => Ok(Progress::Ask(self.step(Vec::new()))),
            (true, Stage::Operational, Stage::Security) => {
                self.stage = Stage::Operational;
                Ok(Progress::Ask(self.step(operational_keys(options))))
            }
            (true, Stage::FullFeature, Stage::Operational) => Ok(Progress::Done(self.parameters)),
            _ => Err(SessionError::Login("the target goes to a stage that it was not asked for")),
        }
    }

    fn step(&self, text: Vec<u8>) -> Step {
        let next_stage = if self.stage == Stage::Security { Stage::Operational } else { Stage::FullFeature };
        Step { transit: true, current_stage: self.stage, next_stage, text }
    }

    /// More of the same stage.
    fn stay(&self, text: Vec<u8>) -> Step {
        Step { transit: false, current_stage: self.stage, next_stage: self.stage, text }
    }

    /// The next step of the proof, if one is due.
    fn prove(&mut self, account: Option<&Account>, keys: &[(String, String)]) -> Result<Option<Step>, SessionError> {
        const NO_SENSE: SessionError = SessionError::Login("the target's challenge makes no sense");
        let value = |name: &str| keys.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let mut text = Vec::new();
        match (self.proof, value("AuthMethod"), account) {
            (Proof::Offered, Some("CHAP"), Some(_)) => {
                self.proof = Proof::Wanted;
                let numbers = Algorithm::BY_STRENGTH.map(|algorithm| algorithm.number().to_string());
                emit_key(&mut text, "CHAP_A", &numbers.join(","));
                Ok(Some(self.stay(text)))
            }
            (_, Some(method), _) if method != "None" => Err(SessionError::Login("the target wants authentication")),
            (Proof::Wanted, _, Some(account)) => {
                let number = value("CHAP_A").and_then(|number| number.parse().ok());
                let algorithm = Algorithm::BY_STRENGTH.into_iter().find(|of| Some(of.number()) == number);
                let identifier = value("CHAP_I").and_then(|identifier| identifier.parse().ok());
                let challenge = value("CHAP_C").and_then(|challenge| binary::parse(challenge, MAX_CHALLENGE_BYTES));
                let algorithm = algorithm.ok_or(NO_SENSE)?;
                let (identifier, challenge) = identifier.zip(challenge).ok_or(NO_SENSE)?;
                self.proof = Proof::Given;
                let response = algorithm.response(identifier, account.secret.expose(), &challenge);
                emit_key(&mut text, "CHAP_N", &account.user);
                emit_key(&mut text, "CHAP_R", &binary::emit(&response));
                Ok(Some(self.step(text)))
            }
            _ => {
                self.proof = Proof::Given;
                Ok(None)
            }
        }
    }

    fn take_key(&mut self, name: &str, value: &str) -> Result<(), SessionError> {
        let parameters = &mut self.parameters;
        match name {
            "HeaderDigest" => parameters.digests.header = value == "CRC32C",
            "DataDigest" => parameters.digests.data = value == "CRC32C",
            "InitialR2T" => parameters.initial_r2t = value == "Yes",
            "ImmediateData" => parameters.immediate_data = value == "Yes",
            "FirstBurstLength" => parameters.first_burst_length = length(value)?,
            "MaxBurstLength" => parameters.max_burst_length = length(value)?,
            "MaxRecvDataSegmentLength" => parameters.max_send_data_segment_length = length(value)?,
            _ => {}
        }
        Ok(())
    }
}

/// A length of 512 to 2^24-1 (RFC 7143 13.12 to 13.14).
fn length(value: &str) -> Result<u32, SessionError> {
    let hexadecimal = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
    let parsed = hexadecimal.map_or_else(|| value.parse(), |digits| u32::from_str_radix(digits, 16));
    let in_range = parsed.ok().filter(|length| (512..1 << 24).contains(length));
    in_range.ok_or(SessionError::Login("a length in a login response is out of range"))
}

fn operational_keys(options: &SessionOptions) -> Vec<u8> {
    let digest = |wanted| if wanted { "CRC32C,None" } else { "None" };
    let max_data = MAX_DATA_BYTES.to_string();
    let mut keys = vec![
        ("HeaderDigest", digest(options.digests.header)),
        ("DataDigest", digest(options.digests.data)),
        ("MaxRecvDataSegmentLength", &max_data),
        ("DefaultTime2Wait", "2"),
        ("DefaultTime2Retain", "0"),
        ("ErrorRecoveryLevel", "0"),
    ];
    let first_burst = options.first_burst_length.to_string();
    if options.target_name.is_some() {
        keys.extend([
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxBurstLength", &max_data),
            ("FirstBurstLength", &first_burst),
            ("MaxConnections", "1"),
            ("MaxOutstandingR2T", "1"),
            ("DataPDUInOrder", "Yes"),
            ("DataSequenceInOrder", "Yes"),
        ]);
    }
    let mut text = Vec::new();
    for (name, value) in keys {
        emit_key(&mut text, name, value);
    }
    text
}
