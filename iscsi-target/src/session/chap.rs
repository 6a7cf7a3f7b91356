//! CHAP (RFC 7143 9.2.1 and 12.1.3, RFC 1994), the target's side of it.
//!
//! ```text
//!           AuthMethod          CHAP_A                          CHAP_N CHAP_R [CHAP_I CHAP_C]
//!  Offering ----------> Agreed --------> Challenged (CHAP_I CHAP_C) ----------> Proven ([CHAP_N CHAP_R])
//!      \---AuthMethod=None, where nothing is demanded---> Unproven
//! ```
//! Each text of the initiator is one step. The target answers a challenge only after its own was answered well.

use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::access::{Account, Challenge, Credential, Demand, Denied};
use super::keys::number;
use super::limits::{MAX_CHAP_BYTES, MAX_CHAP_NAME_BYTES};
use crate::pdu::binary;

const CHAP: &str = "CHAP";
const NONE: &str = "None";

/// The keys of the security stage in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SecurityKeys {
    pub(super) auth_method: Option<String>,
    pub(super) chap_a: Option<String>,
    pub(super) chap_i: Option<String>,
    pub(super) chap_c: Option<String>,
    pub(super) chap_n: Option<String>,
    pub(super) chap_r: Option<String>,
}

/// Keys and values to send.
pub(super) type Answers = Vec<(&'static str, String)>;

/// How far an initiator is with proving who it is.
#[derive(Debug)]
pub(super) struct Authentication {
    challenge: Challenge,
    state: State,
}

#[derive(Debug)]
enum State {
    Offering,
    Agreed,
    Challenged(Algorithm),
    Proven { user: String },
    Unproven,
}

/// CHAP_A: numbers of IANA's "PPP Authentication Algorithms".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 1994.
    Md5,
    /// Likewise, with another hash.
    Sha256,
}

impl Algorithm {
    /// The strongest first.
    pub const BY_STRENGTH: [Self; 2] = [Self::Sha256, Self::Md5];

    /// The number that stands for it.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Md5 => 5,
            Self::Sha256 => 7,
        }
    }

    /// The strongest in the initiator's list, whatever it likes best.
    fn choose(list: &str) -> Option<Self> {
        let offered: Vec<u32> = list.split(',').filter_map(|word| number(word, &(0..=255))).collect();
        Self::BY_STRENGTH.into_iter().find(|algorithm| offered.contains(&algorithm.number()))
    }

    /// CHAP_R (RFC 1994 4.1): over the identifier, the secret and the challenge.
    #[must_use]
    pub fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => digest::<Md5>(identifier, secret, challenge),
            Self::Sha256 => digest::<Sha256>(identifier, secret, challenge),
        }
    }
}

fn digest<D: Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
    D::new().chain_update([identifier]).chain_update(secret).chain_update(challenge).finalize().to_vec()
}

impl SecurityKeys {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Authentication {
    pub(super) fn new(challenge: Challenge) -> Self {
        Self { challenge, state: State::Offering }
    }

    /// Take the keys of one text.
    pub(super) fn handle(&mut self, keys: SecurityKeys, demand: Demand<'_>) -> Result<Answers, Denied> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        match (&self.state, demand) {
            (State::Offering, demand) => self.on_offer(keys, demand),
            (State::Agreed, Demand::Proof(_)) => self.on_algorithms(keys),
            (State::Challenged(algorithm), Demand::Proof(credential)) => self.on_response(keys, *algorithm, credential),
            _ => Err(Denied::Exchange),
        }
    }

    /// Whether the stage may be left: `Err` if it never may.
    pub(super) fn may_go_on(&self, demand: Demand<'_>) -> Result<bool, Denied> {
        match (&self.state, demand) {
            (State::Offering, Demand::Nothing) | (State::Proven { .. } | State::Unproven, _) => Ok(true),
            (State::Offering, Demand::Proof(_)) => Err(Denied::NoChap),
            (State::Offering, Demand::Impossible) => Err(Denied::NoCredential),
            (State::Agreed | State::Challenged(_), _) => Ok(false),
        }
    }

    /// As whom the initiator has proven itself.
    pub(super) fn into_user(self) -> Option<String> {
        match self.state {
            State::Proven { user } => Some(user),
            _ => None,
        }
    }

    fn on_offer(&mut self, keys: SecurityKeys, demand: Demand<'_>) -> Result<Answers, Denied> {
        let SecurityKeys {
            auth_method: Some(methods),
            chap_a: None,
            chap_i: None,
            chap_c: None,
            chap_n: None,
            chap_r: None,
        } = keys
        else {
            return Err(Denied::Exchange);
        };
        let offers = |method| methods.split(',').any(|offered| offered == method);
        let (method, state) = match demand {
            Demand::Nothing if offers(NONE) => (NONE, State::Unproven),
            Demand::Nothing => return Err(Denied::NotConfigured),
            Demand::Proof(_) if offers(CHAP) => (CHAP, State::Agreed),
            Demand::Proof(_) => return Err(Denied::NoChap),
            Demand::Impossible => return Err(Denied::NoCredential),
        };
        self.state = state;
        Ok(vec![("AuthMethod", method.to_owned())])
    }

    fn on_algorithms(&mut self, keys: SecurityKeys) -> Result<Answers, Denied> {
        let SecurityKeys {
            auth_method: None,
            chap_a: Some(list),
            chap_i: None,
            chap_c: None,
            chap_n: None,
            chap_r: None,
        } = keys
        else {
            return Err(Denied::Exchange);
        };
        let algorithm = Algorithm::choose(&list).ok_or(Denied::Algorithm)?;
        self.state = State::Challenged(algorithm);
        let Challenge { identifier, value } = self.challenge;
        Ok(vec![
            ("CHAP_A", algorithm.number().to_string()),
            ("CHAP_I", identifier.to_string()),
            ("CHAP_C", binary::emit(&value)),
        ])
    }

    fn on_response(
        &mut self,
        keys: SecurityKeys,
        algorithm: Algorithm,
        credential: &Credential,
    ) -> Result<Answers, Denied> {
        let SecurityKeys {
            auth_method: None,
            chap_a: None,
            chap_i,
            chap_c,
            chap_n: Some(user),
            chap_r: Some(response),
        } = keys
        else {
            return Err(Denied::Exchange);
        };
        let response = binary::parse(&response, MAX_CHAP_BYTES).ok_or(Denied::Exchange)?;
        if user.len() > MAX_CHAP_NAME_BYTES {
            return Err(Denied::Exchange);
        }
        let theirs = match (chap_i, chap_c) {
            (Some(identifier), Some(value)) => Some(self.challenge_of_initiator(&identifier, &value)?),
            (None, None) => None,
            _ => return Err(Denied::Exchange),
        };
        let Account { user: expected_user, secret } = &credential.initiator;
        let expected = algorithm.response(self.challenge.identifier, secret.expose(), &self.challenge.value);
        if user != *expected_user {
            return Err(Denied::User);
        }
        if !bool::from(expected.ct_eq(&response)) {
            return Err(Denied::Secret);
        }
        let answers = match (theirs, &credential.target) {
            (None, _) => Vec::new(),
            (Some(_), None) => return Err(Denied::NoTargetSecret),
            (Some((identifier, value)), Some(Account { user, secret })) => {
                let ours = algorithm.response(identifier, secret.expose(), &value);
                vec![("CHAP_N", user.clone()), ("CHAP_R", binary::emit(&ours))]
            }
        };
        self.state = State::Proven { user };
        Ok(answers)
    }

    /// What the initiator wants to have answered. Never what we have asked it: whoever does not know the secret could
    /// have us work out the answer.
    fn challenge_of_initiator(&self, identifier: &str, value: &str) -> Result<(u8, Vec<u8>), Denied> {
        let identifier = number(identifier, &(0..=255)).and_then(|number| u8::try_from(number).ok());
        let value = binary::parse(value, MAX_CHAP_BYTES);
        let (identifier, value) = identifier.zip(value).ok_or(Denied::Exchange)?;
        if value == self.challenge.value {
            return Err(Denied::Reflected);
        }
        Ok((identifier, value))
    }
}

#[cfg(test)]
mod tests;
