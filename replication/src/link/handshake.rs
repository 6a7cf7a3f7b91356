//! The beginning of a connection: who is there, does it know the secret, do the configurations agree.
//!
//! ```text
//!            its Hello,          its Proof,               its Ready
//!            send Proof          send Ready
//!  Greeting ------------> Proving ------------> Confirming ---------> done
//!                            |
//!                            +--its Proof, the digests differ, send Agreement--> Comparing --its Agreement--> refused
//! ```
//! A Proof is HMAC-SHA256 under the shared secret over a label, the number of the sender's head, the sender's Hello and
//! the receiver's. Each Hello has a fresh nonce, so a Proof is good for one connection; and it names its sender, so
//! sending a head's own frames back to it proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Config;
use crate::wire::control::head_number;
use crate::wire::{Agreement, Frame, Hello};

/// Begins what a Proof is computed from; another version gets another one.
const LABEL: &[u8] = b"twinhead link proof v1";
/// Settings named in a refusal.
const MAX_NAMED: usize = 8;

/// See the module's description.
pub(super) struct Handshake {
    ours: Hello,
    /// Keyed with the secret.
    mac: Hmac<Sha256>,
    settings: BTreeMap<String, String>,
    stage: Stage,
}

enum Stage {
    Greeting,
    Proving { peer: Hello },
    Comparing,
    Confirming { peer: Hello },
}

/// What follows from a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this and wait.
    Send(Frame),
    /// The peer is known.
    Done(Hello),
    /// This is no peer; tell it so.
    Refuse(String),
    /// This is no peer, and it can see that for itself, or has said so.
    Refused(String),
}

impl Handshake {
    pub(super) fn new(config: &Config<'_>) -> Self {
        let &Config { me: head, incarnation, nonce, digest, .. } = config;
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length, RFC 2104 section 2")]
        let mac = Hmac::new_from_slice(config.secret).expect("any length will do");
        let ours = Hello { head, incarnation, nonce, digest };
        Self { ours, mac, settings: config.agreement.clone(), stage: Stage::Greeting }
    }

    pub(super) fn hello(&self) -> Frame {
        Frame::Hello(self.ours)
    }

    pub(super) fn handle(&mut self, frame: Frame) -> Step {
        match (&self.stage, frame) {
            (_, Frame::Refuse { why }) => Step::Refused(format!("the other head refuses: {why:?}")),
            (Stage::Greeting, Frame::Hello(peer)) => self.on_hello(peer),
            (&Stage::Proving { peer }, Frame::Proof(proof)) => self.on_proof(peer, &proof),
            (Stage::Comparing, Frame::Agreement(theirs)) => Step::Refused(disagreement(&self.settings, &theirs)),
            (&Stage::Confirming { peer }, Frame::Ready) => Step::Done(peer),
            _ => Step::Refuse(format!("an unexpected frame {}", self.stage.waiting_for())),
        }
    }

    fn on_hello(&mut self, peer: Hello) -> Step {
        if peer.head == self.ours.head {
            return Step::Refuse(format!("both heads are configured as head {}", peer.head));
        }
        self.stage = Stage::Proving { peer };
        Step::Send(Frame::Proof(self.proof(&self.ours, &peer)))
    }

    fn on_proof(&mut self, peer: Hello, proof: &[u8; 32]) -> Step {
        if !bool::from(self.proof(&peer, &self.ours).ct_eq(proof)) {
            return Step::Refuse("the link secrets of the two heads differ".to_owned());
        }
        if peer.digest != self.ours.digest {
            self.stage = Stage::Comparing;
            return Step::Send(Frame::Agreement(Agreement::of(&self.settings)));
        }
        self.stage = Stage::Confirming { peer };
        Step::Send(Frame::Ready)
    }

    fn proof(&self, sender: &Hello, receiver: &Hello) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(LABEL);
        mac.update(&[head_number(sender.head)]);
        mac.update(&sender.emit());
        mac.update(&receiver.emit());
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handshake({})", self.stage.waiting_for())
    }
}

impl Stage {
    fn waiting_for(&self) -> &'static str {
        match self {
            Self::Greeting => "before Hello",
            Self::Proving { .. } => "before Proof",
            Self::Comparing => "before Agreement",
            Self::Confirming { .. } => "before Ready",
        }
    }
}

/// The settings in which two configurations differ, ascending. What the other head's list was too short for is left out.
#[must_use]
pub fn differing_keys(here: &BTreeMap<String, String>, there: &Agreement) -> Vec<String> {
    let end = there.settings.last_key_value().map(|(key, _)| key).filter(|_| !there.complete);
    let keys: BTreeSet<&String> = here.keys().chain(there.settings.keys()).collect();
    let compared = keys.into_iter().filter(|key| end.is_none_or(|end| *key <= end));
    compared.filter(|key| here.get(*key) != there.settings.get(*key)).cloned().collect()
}

/// Why heads with these settings do not become a pair.
fn disagreement(here: &BTreeMap<String, String>, there: &Agreement) -> String {
    let keys = differing_keys(here, there);
    if keys.is_empty() {
        return "the configurations differ, but in no setting that both could compare: \
                are the heads of different versions?"
            .to_owned();
    }
    let shown = |value: Option<&String>| value.map_or("nothing".to_owned(), |value| format!("{value:?}"));
    let named = keys.iter().take(MAX_NAMED).map(|key| {
        let (ours, theirs) = (shown(here.get(key)), shown(there.settings.get(key)));
        format!("{}: {ours} here, {theirs} on the other head", key.escape_debug())
    });
    let mut why = format!("the configurations differ: {}", named.collect::<Vec<_>>().join("; "));
    if keys.len() > MAX_NAMED {
        why += &format!("; and {} more", keys.len() - MAX_NAMED);
    }
    why
}
