//! Who may log in, and how they prove who they are: what a connection is told about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::SessionType;
use crate::pdu::login::LoginStatus;
use crate::scsi::protection::normal_name;

/// Bytes of a challenge: 128 bits that nobody can foresee.
pub const CHALLENGE_BYTES: usize = 16;

/// A CHAP secret: wiped from memory when dropped, compared in constant time, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// A name and the secret that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// CHAP_N.
    pub user: String,
    /// What both sides know.
    pub secret: Secret,
}

/// What an initiator proves itself with, and the target to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The initiator's.
    pub initiator: Account,
    /// The target's; without it, an initiator that asks for a proof is refused.
    pub target: Option<Account>,
}

/// Who may log in. The default is everybody, without a proof.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// The names, in their normal form, of the only initiators that may use the target; `None`: all may.
    pub initiators: Option<BTreeSet<String>>,
    /// What initiators prove themselves with; `None`: with nothing.
    pub credentials: Option<Credentials>,
    /// What a discovery session begins with; `None`: anybody may ask where the target is.
    pub discovery: Option<Credential>,
}

/// Credentials of initiators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// By the initiator's name, in its normal form.
    pub by_initiator: BTreeMap<String, Credential>,
    /// Of all others; `None`: they cannot log in.
    pub default: Option<Credential>,
}

/// A challenge for one login (RFC 1994 4.1), drawn at random by whoever accepts the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// CHAP_I.
    pub identifier: u8,
    /// CHAP_C.
    pub value: [u8; CHALLENGE_BYTES],
}

/// What a connection needs to know to let somebody in. It stays the same for the whole login.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Who may log in.
    pub policy: Arc<AccessPolicy>,
    /// Whether the initiator's address is one from which the target may be used.
    pub admits_address: bool,
    /// Whether nobody is let in for now: there are too many already.
    pub is_full: bool,
    /// For this connection alone.
    pub challenge: Challenge,
}

/// What the policy asks of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand<'a> {
    /// No proof.
    Nothing,
    Proof(&'a Credential),
    /// A proof for which there is nothing to compare with.
    Impossible,
}

/// Why somebody is kept out. None of it says what would have been right, and none of it is told to the initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not in the list of names.
    #[error("this initiator is not among those that may log in")]
    Initiator,
    /// Not in the list of networks.
    #[error("initiators may not log in from this address")]
    Address,
    /// It skips the proof, or offers none of the ways that there are.
    #[error("it does not offer CHAP, which is required")]
    NoChap,
    /// It wants to prove something, and nothing is required.
    #[error("it insists on authentication, and none is configured for it")]
    NotConfigured,
    /// There is neither a credential of its own for it nor one for all.
    #[error("there is no CHAP credential for this initiator")]
    NoCredential,
    /// No common algorithm.
    #[error("it offers no CHAP algorithm that is supported (5 is MD5, 7 is SHA-256)")]
    Algorithm,
    /// The keys of CHAP come in a wrong order, not at all, or with values that make no sense.
    #[error("it breaks the rules of the CHAP exchange")]
    Exchange,
    /// CHAP_N.
    #[error("its CHAP user is another than is configured")]
    User,
    /// CHAP_R.
    #[error("its CHAP secret is wrong")]
    Secret,
    /// Our own challenge comes back (RFC 7143 9.2.1).
    #[error("it sends this target's own challenge back")]
    Reflected,
    /// It asks for a proof of the target.
    #[error("it wants the target to prove itself, and no secret of the target is configured for it")]
    NoTargetSecret,
}

impl Secret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes, for computing with them only.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl AccessPolicy {
    /// Whether the list of names lets this initiator use the target.
    #[must_use]
    pub fn admits(&self, initiator: &str) -> bool {
        self.initiators.as_ref().is_none_or(|names| names.contains(&normal_name(initiator)))
    }

    /// Whether a session that once proved to be of `user` (`None`: nothing) could still be there.
    #[must_use]
    pub fn keeps(&self, initiator: &str, user: Option<&str>) -> bool {
        self.admits(initiator)
            && match self.demand(initiator, SessionType::Normal) {
                Demand::Nothing => true,
                Demand::Proof(credential) => user == Some(&credential.initiator.user),
                Demand::Impossible => false,
            }
    }

    pub(super) fn demand(&self, initiator: &str, session_type: SessionType) -> Demand<'_> {
        match session_type {
            SessionType::Discovery => self.discovery.as_ref().map_or(Demand::Nothing, Demand::Proof),
            SessionType::Normal => self.credentials.as_ref().map_or(Demand::Nothing, |credentials| {
                let own = credentials.by_initiator.get(&normal_name(initiator));
                own.or(credentials.default.as_ref()).map_or(Demand::Impossible, Demand::Proof)
            }),
        }
    }
}

impl Entrance {
    /// Whether this initiator may use the target from where it is.
    pub(super) fn check(&self, initiator: &str) -> Result<(), Denied> {
        match () {
            () if !self.admits_address => Err(Denied::Address),
            () if !self.policy.admits(initiator) => Err(Denied::Initiator),
            () => Ok(()),
        }
    }

    /// Whether there is a way in for this initiator: whether it is told where the target is.
    pub(super) fn leads_in(&self, initiator: &str) -> bool {
        let demand = self.policy.demand(initiator, SessionType::Normal);
        self.check(initiator).is_ok() && demand != Demand::Impossible
    }
}

impl Denied {
    /// Status-Class and Status-Detail (RFC 7143 11.13.5).
    #[must_use]
    pub fn status(self) -> LoginStatus {
        match self {
            Self::Initiator | Self::Address => LoginStatus::AUTHORIZATION_FAILURE,
            _ => LoginStatus::AUTHENTICATION_FAILURE,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::session) fn account(user: &str, secret: &str) -> Account {
        Account { user: user.to_owned(), secret: Secret::new(Zeroizing::new(secret.as_bytes().to_vec())) }
    }

    pub(in crate::session) fn open() -> Entrance {
        entrance(AccessPolicy::default())
    }

    pub(in crate::session) fn entrance(policy: AccessPolicy) -> Entrance {
        let challenge = Challenge { identifier: 0x2A, value: *b"0123456789abcdef" };
        Entrance { policy: Arc::new(policy), admits_address: true, is_full: false, challenge }
    }

    fn credential(user: &str) -> Credential {
        Credential { initiator: account(user, "a secret of theirs"), target: None }
    }

    fn policy() -> AccessPolicy {
        let by_initiator = BTreeMap::from([("iqn.2026-11.x:own".to_owned(), credential("own"))]);
        AccessPolicy {
            initiators: Some(["iqn.2026-11.x:own", "iqn.2026-11.x:other"].map(str::to_owned).into()),
            credentials: Some(Credentials { by_initiator, default: None }),
            discovery: Some(credential("finder")),
        }
    }

    #[test]
    fn names_are_compared_in_lower_case() {
        let policy = policy();
        assert!(policy.admits("IQN.2026-11.x:OWN") && !policy.admits("iqn.2026-11.x:owner"));
        let Demand::Proof(found) = policy.demand("IQN.2026-11.x:OWN", SessionType::Normal) else { panic!() };
        assert_eq!(found.initiator.user, "own");
    }

    #[test]
    fn who_has_no_credential_has_that_of_all_others_or_none() {
        let mut policy = policy();
        assert_eq!(policy.demand("iqn.2026-11.x:other", SessionType::Normal), Demand::Impossible);
        policy.credentials.as_mut().unwrap().default = Some(credential("all"));
        let Demand::Proof(found) = policy.demand("iqn.2026-11.x:other", SessionType::Normal) else { panic!() };
        assert_eq!(found.initiator.user, "all");
        let Demand::Proof(found) = policy.demand("anybody", SessionType::Discovery) else { panic!() };
        assert_eq!(found.initiator.user, "finder");
        assert_eq!(AccessPolicy::default().demand("anybody", SessionType::Discovery), Demand::Nothing);
    }

    #[test]
    fn who_may_stay() {
        let policy = policy();
        assert!(policy.keeps("iqn.2026-11.x:own", Some("own")));
        for (initiator, user) in [
            ("iqn.2026-11.x:own", Some("all")),
            ("iqn.2026-11.x:own", None),
            ("iqn.2026-11.x:other", Some("own")),
            ("iqn.2026-11.x:else", Some("own")),
        ] {
            assert!(!policy.keeps(initiator, user), "{initiator} as {user:?}");
        }
        assert!(AccessPolicy::default().keeps("anybody", None));
        assert!(AccessPolicy::default().keeps("anybody", Some("own")), "more proof than is needed any more");
    }

    #[test]
    fn who_has_no_way_in_is_told_nothing() {
        let entrance = entrance(policy());
        assert!(entrance.leads_in("iqn.2026-11.x:own"));
        assert!(!entrance.leads_in("iqn.2026-11.x:other"), "no credential");
        assert_eq!(entrance.check("iqn.2026-11.x:else"), Err(Denied::Initiator));
        let elsewhere = Entrance { admits_address: false, ..open() };
        assert_eq!(elsewhere.check("anybody"), Err(Denied::Address));
        assert!(!elsewhere.leads_in("anybody") && open().leads_in("anybody"));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let printed = format!("{:?}", policy());
        assert!(printed.contains("Secret(..)") && !printed.contains("theirs"), "{printed}");
        let bytes = format!("{:?}", b"theirs");
        assert!(!printed.contains(bytes.trim_matches(['[', ']'])));
        assert_eq!(account("a", "one"), account("a", "one"));
        assert_ne!(account("a", "one"), account("a", "two"));
    }
}
