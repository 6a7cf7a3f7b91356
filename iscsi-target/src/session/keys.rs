//! The text keys (RFC 7143 13): one table row each, and the one function that answers an offer.

use std::ops::RangeInclusive;

use super::SessionType;
use super::chap::SecurityKeys;
use super::limits::{
    FIRST_BURST_BYTES, LOGIN_DATA_SEGMENT_BYTES, MAX_BURST_BYTES, MAX_NAME_BYTES, MAX_OUTSTANDING_R2T,
    MIN_DATA_SEGMENT_BYTES,
};
use crate::pdu::digest::Digests;
use crate::pdu::login::LoginStatus;

const REJECT: &str = "Reject";
const IRRELEVANT: &str = "Irrelevant";
const NOT_UNDERSTOOD: &str = "NotUnderstood";

/// What a session has agreed on. The defaults are those of the RFC, in force for keys that nobody offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) digests: Digests,
    pub(super) initial_r2t: bool,
    pub(super) immediate_data: bool,
    /// The initiator's: how much it takes in one PDU.
    pub(super) max_recv_data_segment_length: u32,
    pub(super) max_burst_length: u32,
    pub(super) first_burst_length: u32,
    pub(super) max_outstanding_r2t: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            initial_r2t: true,
            immediate_data: true,
            max_recv_data_segment_length: LOGIN_DATA_SEGMENT_BYTES,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            max_outstanding_r2t: 1,
        }
    }
}

/// What the initiator said about itself, and what was agreed so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Negotiation {
    pub(super) parameters: Parameters,
    pub(super) initiator_name: Option<String>,
    pub(super) initiator_alias: Option<String>,
    pub(super) target_name: Option<String>,
    pub(super) session_type: Option<SessionType>,
    /// What was said about authentication and not looked at yet.
    pub(super) security: SecurityKeys,
    /// Rows of the table that were used, with the offer: a key is negotiated once.
    seen: Vec<(&'static str, String)>,
}

/// Where a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextStage {
    Security,
    Operational,
    FullFeature,
}

/// When a key may be sent (the column "Use" of RFC 7143 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// In either stage of a login.
    Login,
    Security,
    Operational,
    OperationalAndFullFeature,
    Always,
}

/// How an offer is answered.
enum Rule {
    /// The initiator only tells: no answer.
    Declaration(fn(&mut Negotiation, &str) -> Result<(), LoginStatus>),
    /// A step of the authentication, which knows the answer.
    Security(fn(&mut SecurityKeys) -> &mut Option<String>),
    /// Only targets send it.
    FromTarget,
    /// The first of the initiator's list that we support.
    List { supported: &'static [&'static str], chosen: fn(&mut Parameters, &str) },
    /// Yes if either says Yes.
    Or { ours: bool, set: fn(&mut Parameters, bool) },
    /// Yes if both say Yes.
    And { ours: bool, set: fn(&mut Parameters, bool) },
    /// The smaller number.
    Minimum { range: RangeInclusive<u32>, ours: u32, set: fn(&mut Parameters, u32) },
    /// The same answer to any number.
    Number { range: RangeInclusive<u32>, answer: &'static str },
    /// The same answer to anything.
    Answer(&'static str),
}

/// One row.
struct Key {
    name: &'static str,
    usable: Use,
    /// Whether it means anything in a discovery session.
    in_discovery: bool,
    rule: Rule,
}

const fn key(name: &'static str, usable: Use, rule: Rule) -> Key {
    Key { name, usable, in_discovery: true, rule }
}

/// A key about SCSI data: irrelevant in a discovery session.
const fn data_key(name: &'static str, rule: Rule) -> Key {
    Key { name, usable: Use::Operational, in_discovery: false, rule }
}

const LENGTHS: RangeInclusive<u32> = MIN_DATA_SEGMENT_BYTES..=(1 << 24) - 1;
const DIGESTS: &[&str] = &["CRC32C", "None"];

static KEYS: &[Key] = &[
    key("InitiatorName", Use::Login, Rule::Declaration(initiator_name)),
    key("InitiatorAlias", Use::Always, Rule::Declaration(initiator_alias)),
    key("TargetName", Use::Login, Rule::Declaration(target_name)),
    key("SessionType", Use::Login, Rule::Declaration(session_type)),
    key("TargetAlias", Use::Always, Rule::FromTarget),
    key("TargetAddress", Use::Always, Rule::FromTarget),
    key("TargetPortalGroupTag", Use::Login, Rule::FromTarget),
    key("AuthMethod", Use::Security, Rule::Security(|keys| &mut keys.auth_method)),
    key("CHAP_A", Use::Security, Rule::Security(|keys| &mut keys.chap_a)),
    key("CHAP_I", Use::Security, Rule::Security(|keys| &mut keys.chap_i)),
    key("CHAP_C", Use::Security, Rule::Security(|keys| &mut keys.chap_c)),
    key("CHAP_N", Use::Security, Rule::Security(|keys| &mut keys.chap_n)),
    key("CHAP_R", Use::Security, Rule::Security(|keys| &mut keys.chap_r)),
    key(
        "HeaderDigest",
        Use::Operational,
        Rule::List { supported: DIGESTS, chosen: |to, digest| to.digests.header = digest == "CRC32C" },
    ),
    key(
        "DataDigest",
        Use::Operational,
        Rule::List { supported: DIGESTS, chosen: |to, digest| to.digests.data = digest == "CRC32C" },
    ),
    key("MaxRecvDataSegmentLength", Use::OperationalAndFullFeature, Rule::Declaration(max_recv_data_segment_length)),
    data_key("MaxConnections", Rule::Minimum { range: 1..=65_535, ours: 1, set: |_, _| () }),
    data_key("InitialR2T", Rule::Or { ours: false, set: |to, yes| to.initial_r2t = yes }),
    data_key("ImmediateData", Rule::And { ours: true, set: |to, yes| to.immediate_data = yes }),
    data_key(
        "MaxBurstLength",
        Rule::Minimum { range: LENGTHS, ours: MAX_BURST_BYTES, set: |to, length| to.max_burst_length = length },
    ),
    data_key(
        "FirstBurstLength",
        Rule::Minimum { range: LENGTHS, ours: FIRST_BURST_BYTES, set: |to, length| to.first_burst_length = length },
    ),
    data_key(
        "MaxOutstandingR2T",
        Rule::Minimum { range: 1..=65_535, ours: MAX_OUTSTANDING_R2T, set: |to, n| to.max_outstanding_r2t = n },
    ),
    data_key("DataPDUInOrder", Rule::Or { ours: true, set: |_, _| () }),
    data_key("DataSequenceInOrder", Rule::Or { ours: true, set: |_, _| () }),
    // The RFC's answer is the larger value. Initiators take ours as it is, and it is the time for which they sit idle
    // after a lost connection although the other head, or this one, serves already.
    key("DefaultTime2Wait", Use::Operational, Rule::Number { range: 0..=3600, answer: "0" }),
    key("DefaultTime2Retain", Use::Operational, Rule::Number { range: 0..=3600, answer: "0" }),
    key("ErrorRecoveryLevel", Use::Operational, Rule::Minimum { range: 0..=2, ours: 0, set: |_, _| () }),
    key("iSCSIProtocolLevel", Use::Operational, Rule::Minimum { range: 0..=31, ours: 1, set: |_, _| () }),
    key("TaskReporting", Use::Operational, Rule::List { supported: &["RFC3720"], chosen: |_, _| () }),
    // Obsolete (RFC 7143 13.25), but "NotUnderstood" is forbidden.
    key("IFMarker", Use::Operational, Rule::Answer("No")),
    key("OFMarker", Use::Operational, Rule::Answer("No")),
    key("IFMarkInt", Use::Operational, Rule::Answer(IRRELEVANT)),
    key("OFMarkInt", Use::Operational, Rule::Answer(IRRELEVANT)),
];

impl Negotiation {
    /// Whether there is such a key.
    pub(super) fn understands(name: &str) -> bool {
        KEYS.iter().any(|key| key.name == name)
    }

    /// Answer one offer; `None` when no answer is due.
    ///
    /// # Errors
    /// The status with which a login ends because of it.
    pub(super) fn offer(&mut self, stage: TextStage, name: &str, value: &str) -> Result<Option<String>, LoginStatus> {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return Ok(Some(NOT_UNDERSTOOD.to_owned()));
        };
        if stage == TextStage::FullFeature {
            if !key.usable.allows(stage) {
                return Ok(Some(REJECT.to_owned()));
            }
        } else {
            if !key.usable.allows(stage) {
                return Err(LoginStatus::INITIATOR_ERROR);
            }
            if let Some((_, before)) = self.seen.iter().find(|(name, _)| *name == key.name) {
                // libiscsi introduces itself again in the operational stage. Saying the same twice negotiates nothing.
                let is_repeated = matches!(key.rule, Rule::Declaration(_)) && before == value;
                return if is_repeated { Ok(None) } else { Err(LoginStatus::INITIATOR_ERROR) };
            }
            self.seen.push((key.name, value.to_owned()));
        }
        if self.session_type == Some(SessionType::Discovery) && !key.in_discovery {
            return Ok(Some(IRRELEVANT.to_owned()));
        }
        self.apply(&key.rule, value)
    }

    fn apply(&mut self, rule: &Rule, value: &str) -> Result<Option<String>, LoginStatus> {
        let parameters = &mut self.parameters;
        let answer = match rule {
            Rule::Declaration(declare) => {
                declare(self, value)?;
                return Ok(None);
            }
            Rule::Security(of) => {
                *of(&mut self.security) = Some(value.to_owned());
                return Ok(None);
            }
            Rule::FromTarget => None,
            Rule::List { supported, chosen } => {
                let choice = value.split(',').find(|word| supported.contains(word));
                choice.inspect(|choice| chosen(parameters, choice)).map(str::to_owned)
            }
            Rule::Or { ours, set } => yes_or_no(value).map(|theirs| {
                set(parameters, theirs || *ours);
                word(theirs || *ours)
            }),
            Rule::And { ours, set } => yes_or_no(value).map(|theirs| {
                set(parameters, theirs && *ours);
                word(theirs && *ours)
            }),
            Rule::Minimum { range, ours, set } => number(value, range).map(|theirs| {
                set(parameters, theirs.min(*ours));
                theirs.min(*ours).to_string()
            }),
            Rule::Number { range, answer } => number(value, range).map(|_| (*answer).to_owned()),
            Rule::Answer(answer) => Some((*answer).to_owned()),
        };
        Ok(Some(answer.unwrap_or_else(|| REJECT.to_owned())))
    }
}

impl Use {
    fn allows(self, stage: TextStage) -> bool {
        match self {
            Self::Login => stage != TextStage::FullFeature,
            Self::Security => stage == TextStage::Security,
            Self::Operational => stage == TextStage::Operational,
            Self::OperationalAndFullFeature => stage != TextStage::Security,
            Self::Always => true,
        }
    }
}

fn word(yes: bool) -> String {
    if yes { "Yes" } else { "No" }.to_owned()
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// A decimal or hexadecimal constant in `range` (RFC 7143 6.1).
pub(super) fn number(value: &str, range: &RangeInclusive<u32>) -> Option<u32> {
    let digits = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
    let (digits, radix) = digits.map_or((value, 10), |digits| (digits, 16));
    let is_number = digits.starts_with(|c: char| c.is_digit(radix));
    u32::from_str_radix(digits, radix).ok().filter(|number| is_number && range.contains(number))
}

fn initiator_name(to: &mut Negotiation, value: &str) -> Result<(), LoginStatus> {
    let fits = !value.is_empty() && value.len() <= MAX_NAME_BYTES && !value.contains(char::is_control);
    to.initiator_name = Some(value.to_owned());
    if fits { Ok(()) } else { Err(LoginStatus::INITIATOR_ERROR) }
}

fn initiator_alias(to: &mut Negotiation, value: &str) -> Result<(), LoginStatus> {
    to.initiator_alias = Some(value.chars().filter(|c| !c.is_control()).take(MAX_NAME_BYTES).collect());
    Ok(())
}

fn target_name(to: &mut Negotiation, value: &str) -> Result<(), LoginStatus> {
    to.target_name = Some(value.to_owned());
    Ok(())
}

fn session_type(to: &mut Negotiation, value: &str) -> Result<(), LoginStatus> {
    to.session_type = Some(match value {
        "Normal" => SessionType::Normal,
        "Discovery" => SessionType::Discovery,
        _ => return Err(LoginStatus::SESSION_TYPE_NOT_SUPPORTED),
    });
    Ok(())
}

fn max_recv_data_segment_length(to: &mut Negotiation, value: &str) -> Result<(), LoginStatus> {
    to.parameters.max_recv_data_segment_length = number(value, &LENGTHS).ok_or(LoginStatus::INITIATOR_ERROR)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, value: &str) -> Option<String> {
        Negotiation::default().offer(TextStage::Operational, name, value).unwrap()
    }

    #[test]
    fn every_rule_answers() {
        for (name, offer, expected) in [
            ("HeaderDigest", "CRC32C,None", "CRC32C"),
            ("HeaderDigest", "None,CRC32C", "None"),
            ("DataDigest", "md5,CRC32C", "CRC32C"),
            ("DataDigest", "md5", "Reject"),
            ("InitialR2T", "No", "No"),
            ("InitialR2T", "Yes", "Yes"),
            ("ImmediateData", "No", "No"),
            ("ImmediateData", "yes", "Reject"),
            ("MaxBurstLength", "16776192", "1048576"),
            ("MaxBurstLength", "0x1000", "4096"),
            ("MaxBurstLength", "511", "Reject"),
            ("MaxBurstLength", "+600", "Reject"),
            ("FirstBurstLength", "65536", "65536"),
            ("MaxOutstandingR2T", "1", "1"),
            ("MaxConnections", "4", "1"),
            ("DataPDUInOrder", "No", "Yes"),
            ("DefaultTime2Wait", "2", "0"),
            ("ErrorRecoveryLevel", "2", "0"),
            ("TaskReporting", "FastAbort,RFC3720", "RFC3720"),
            ("IFMarker", "No", "No"),
            ("OFMarkInt", "2048~65535", "Irrelevant"),
            ("TargetAlias", "mine", "Reject"),
            ("X-com.example.key", "1", "NotUnderstood"),
        ] {
            assert_eq!(answer(name, offer).as_deref(), Some(expected), "{name}={offer}");
        }
        assert_eq!(answer("MaxRecvDataSegmentLength", "262144"), None);
    }

    #[test]
    fn what_is_agreed_is_in_force() {
        let mut negotiation = Negotiation::default();
        for (name, value) in [
            ("HeaderDigest", "CRC32C"),
            ("InitialR2T", "No"),
            ("ImmediateData", "No"),
            ("MaxBurstLength", "16776192"),
            ("FirstBurstLength", "8192"),
            ("MaxOutstandingR2T", "64"),
            ("MaxRecvDataSegmentLength", "131072"),
        ] {
            negotiation.offer(TextStage::Operational, name, value).unwrap();
        }
        let expected = Parameters {
            digests: Digests { header: true, data: false },
            initial_r2t: false,
            immediate_data: false,
            max_recv_data_segment_length: 131_072,
            max_burst_length: MAX_BURST_BYTES,
            first_burst_length: 8192,
            max_outstanding_r2t: MAX_OUTSTANDING_R2T,
        };
        assert_eq!(negotiation.parameters, expected);
    }

    #[test]
    fn a_key_is_negotiated_once_and_in_its_stage() {
        let mut negotiation = Negotiation::default();
        assert!(negotiation.offer(TextStage::Security, "MaxBurstLength", "512").is_err());
        assert!(negotiation.offer(TextStage::Operational, "MaxBurstLength", "512").is_ok());
        assert!(negotiation.offer(TextStage::Operational, "MaxBurstLength", "512").is_err());
        assert!(negotiation.offer(TextStage::Operational, "AuthMethod", "None").is_err());
        assert!(negotiation.offer(TextStage::Security, "InitiatorName", "iqn.a").is_ok());
        assert!(negotiation.offer(TextStage::Operational, "InitiatorName", "iqn.a").is_ok());
        assert!(negotiation.offer(TextStage::Operational, "InitiatorName", "iqn.b").is_err());
        let refused = negotiation.offer(TextStage::FullFeature, "MaxBurstLength", "512").unwrap();
        assert_eq!(refused.as_deref(), Some(REJECT));
    }

    #[test]
    fn data_keys_are_irrelevant_for_discovery() {
        let mut negotiation = Negotiation { session_type: Some(SessionType::Discovery), ..Negotiation::default() };
        let answer = negotiation.offer(TextStage::Operational, "MaxBurstLength", "512").unwrap();
        assert_eq!(answer.as_deref(), Some(IRRELEVANT));
        assert_eq!(negotiation.offer(TextStage::Operational, "HeaderDigest", "None").unwrap().as_deref(), Some("None"));
    }

    #[test]
    fn names_are_bounded() {
        for name in [
            "",
            "a
b",
            &"x".repeat(MAX_NAME_BYTES + 1),
        ] {
            assert!(Negotiation::default().offer(TextStage::Security, "InitiatorName", name).is_err());
        }
    }
}
