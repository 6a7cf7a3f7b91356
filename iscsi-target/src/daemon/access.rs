//! Who may log in, with the secrets at hand: what connections are let in by, and what both heads compare.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::config::{Account, Config, Credential, LinkSecret, Logins, Network, load_chap_secret};
use crate::session::access::{self as session, AccessPolicy, Challenge, Entrance, Secret};

/// Begins what the digest is made of; a change of that gets a new one.
const DIGEST_DOMAIN: &[u8] = b"twinhead logins 1\n";
/// Bytes of the digest that are shown: enough to tell two configurations apart.
const DIGEST_BYTES: usize = 8;

/// Who may log in. The default is everybody, from everywhere, without a proof.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    policy: Arc<AccessPolicy>,
    networks: Option<BTreeSet<Network>>,
    digest: Option<String>,
}

impl Access {
    /// Read the secrets that `config` names. With a pair's link secret, there is a digest for the other head.
    ///
    /// # Errors
    /// All that is wrong with the secrets, a line each. None of it quotes one.
    pub fn load(config: &Config, link: Option<&LinkSecret>) -> Result<Self, String> {
        let mut secrets = Secrets::default();
        let logins = &config.logins;
        let auth = &logins.auth;
        let by_initiator: Vec<_> =
            auth.initiators.iter().map(|(name, credential)| (name.clone(), secrets.load(credential))).collect();
        let default = auth.default.as_ref().map(|credential| secrets.load(credential));
        let discovery = auth.discovery.as_ref().map(|credential| secrets.load(credential));
        secrets.compare();
        if !secrets.problems.is_empty() {
            return Err(secrets.problems.join("\n"));
        }
        // Without a problem there is every secret.
        let by_initiator =
            by_initiator.into_iter().filter_map(|(name, credential)| Some((name, credential?))).collect();
        let credentials = session::Credentials { by_initiator, default: default.flatten() };
        let policy = AccessPolicy {
            initiators: logins.initiators.clone(),
            credentials: auth.is_required().then_some(credentials),
            discovery: discovery.flatten(),
        };
        let digest = link.filter(|_| *logins != Logins::default()).map(|link| digest(logins, &secrets, link));
        Ok(Self { policy: Arc::new(policy), networks: logins.networks.clone(), digest })
    }

    /// What the heads compare: of names, networks, users and secrets, keyed with the link's secret, so that nobody who sees
    /// it can try out what the others are. `None` when everybody may log in.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// For a connection from `address`.
    pub(crate) fn entrance(&self, address: IpAddr, challenge: Challenge) -> Entrance {
        Entrance { policy: Arc::clone(&self.policy), admits_address: self.admits(address), is_full: false, challenge }
    }

    /// Whether a session may stay that is there already: of this initiator, from this address, which has proven to be
    /// of this user.
    pub(crate) fn keeps(&self, initiator: &str, address: IpAddr, user: Option<&str>) -> bool {
        self.admits(address) && self.policy.keeps(initiator, user)
    }

    fn admits(&self, address: IpAddr) -> bool {
        self.networks.as_ref().is_none_or(|networks| networks.iter().any(|network| network.contains(address)))
    }
}

/// A challenge that nobody could have foreseen.
///
/// # Errors
/// When the system has no random numbers.
pub(crate) fn new_challenge() -> Result<Challenge, getrandom::Error> {
    let mut challenge = Challenge { identifier: 0, value: Default::default() };
    getrandom::fill(std::slice::from_mut(&mut challenge.identifier))?;
    getrandom::fill(&mut challenge.value)?;
    Ok(challenge)
}

/// The secrets that were read, with the files they come from, and what is wrong with them.
#[derive(Default)]
struct Secrets<'c> {
    of_initiators: Vec<(&'c Path, Secret)>,
    of_target: Vec<(&'c Path, Secret)>,
    problems: Vec<String>,
}

impl<'c> Secrets<'c> {
    fn load(&mut self, credential: &'c Credential) -> Option<session::Credential> {
        let initiator = self.load_one(&credential.initiator);
        let target = credential.target.as_ref().map(|account| self.load_one(account));
        if let Some(initiator) = &initiator {
            self.of_initiators.push((&credential.initiator.secret_file, initiator.secret.clone()));
        }
        if let (Some(account), Some(Some(target))) = (&credential.target, &target) {
            self.of_target.push((&account.secret_file, target.secret.clone()));
        }
        let target = match target {
            Some(target) => Some(target?),
            None => None,
        };
        Some(session::Credential { initiator: initiator?, target })
    }

    fn load_one(&mut self, account: &Account) -> Option<session::Account> {
        match load_chap_secret(&account.secret_file) {
            Ok(secret) => Some(session::Account { user: account.user.clone(), secret }),
            Err(error) => {
                let problem = error.to_string();
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                None
            }
        }
    }

    /// What the target proves itself with must not let anybody in (RFC 7143 9.2.1): it would answer a challenge of ours
    /// that is put to it as one of theirs.
    fn compare(&mut self) {
        let mut same = BTreeSet::new();
        for (target, theirs) in &self.of_target {
            let equal = self.of_initiators.iter().filter(|(_, secret)| secret == theirs);
            same.extend(equal.map(|(initiator, _)| (*target, *initiator)));
        }
        for (target, initiator) in same {
            self.problems.push(format!(
                "the CHAP secret {} of the target is the same as {}, which lets an initiator in: choose another",
                target.display(),
                initiator.display(),
            ));
        }
    }
}

fn digest(logins: &Logins, secrets: &Secrets<'_>, link: &LinkSecret) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(link.expose()).expect("HMAC takes keys of any length");
    // Lengths first, so that no two lists run into the same bytes.
    let mut add = |part: &[u8]| {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    };
    add(DIGEST_DOMAIN);
    for (key, value) in logins.settings() {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    // In the order of the credentials, which the settings above tell apart.
    for (_, secret) in secrets.of_initiators.iter().chain(&secrets.of_target) {
        add(secret.expose());
    }
    mac.finalize().into_bytes().iter().take(DIGEST_BYTES).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    struct Files(PathBuf);

    impl Files {
        fn new(name: &str, secrets: &[(&str, &str)]) -> Self {
            let files = Self(std::env::temp_dir().join(format!("twinhead-access-{}-{name}", std::process::id())));
            std::fs::create_dir_all(&files.0).unwrap();
            for (name, secret) in secrets {
                files.write(name, secret, 0o600);
            }
            files
        }

        fn write(&self, name: &str, secret: &str, mode: u32) {
            let path = self.0.join(name);
            std::fs::write(&path, secret).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }

        fn load(&self, rules: &str) -> Result<Access, String> {
            let text = format!(
                "target = {{ iqn = \"iqn.2026-11.com.example\", networks = [\"192.0.2.0/24\"] }}\n\
                 heads.a.portals = [\"127.0.0.1:3260\"]\nluns = [{{ id = 0, name = \"d\", disk = \"/d\" }}]\n{rules}"
            );
            let config = Config::parse(&text.replace("DIR", self.0.to_str().unwrap())).unwrap();
            Access::load(&config, Some(&LinkSecret::load(&self.0.join("link")).unwrap()))
                .map_err(|problems| problems.replace(self.0.to_str().unwrap(), "DIR"))
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    const LINK: (&str, &str) = ("link", "the secret of the link");
    const RULES: &str = "auth.default = { user = \"them\", secret-file = \"DIR/theirs\", target-user = \"us\", \
                         target-secret-file = \"DIR/ours\" }\n";

    #[test]
    fn who_is_kept() {
        let files = Files::new("kept", &[LINK, ("theirs", "a secret of theirs\n"), ("ours", "a secret of ours!")]);
        let access = files.load(RULES).unwrap();
        let (inside, outside) = ("192.0.2.7".parse().unwrap(), "192.0.3.7".parse().unwrap());
        assert!(access.keeps("iqn.any", inside, Some("them")));
        assert!(!access.keeps("iqn.any", inside, None) && !access.keeps("iqn.any", outside, Some("them")));
        let challenge = new_challenge().unwrap();
        assert_ne!(challenge, new_challenge().unwrap());
        assert!(
            access.entrance(inside, challenge).admits_address && !access.entrance(outside, challenge).admits_address
        );
        assert!(Access::default().keeps("iqn.any", outside, None));
    }

    #[test]
    fn everything_that_is_wrong_with_secrets_is_said_and_none_is_shown() {
        let files = Files::new("wrong", &[LINK, ("theirs", "the same to both\n"), ("ours", "the same to both")]);
        let same = "the CHAP secret DIR/ours of the target is the same as DIR/theirs, which lets an initiator in: choose another";
        assert_eq!(files.load(RULES), Err(same.to_owned()));
        files.write("theirs", "an open secret", 0o644);
        files.write("ours", "short", 0o600);
        let wrong = files.load(RULES).unwrap_err();
        let lines: Vec<_> = wrong.lines().collect();
        assert_eq!(lines.len(), 2, "{wrong}");
        assert!(lines[0].starts_with("the CHAP secret DIR/theirs is open to every user"), "{wrong}");
        assert!(lines[1].starts_with("the CHAP secret DIR/ours has 5 bytes"), "{wrong}");
        assert!(!wrong.contains("an open") && !wrong.contains("short"));
    }

    #[test]
    fn the_digest_tells_secrets_apart_and_needs_that_of_the_link() {
        let files = Files::new("digest", &[LINK, ("theirs", "a secret of theirs"), ("ours", "a secret of ours!")]);
        let digest = || files.load(RULES).unwrap().digest().unwrap().to_owned();
        let before = digest();
        assert_eq!((before.len(), digest()), (16, before.clone()));
        files.write("theirs", "another of theirs", 0o600);
        let other = digest();
        assert_ne!(before, other);
        files.write("link", "another one of the link", 0o600);
        assert_ne!(other, digest());
        assert_ne!(files.load("").unwrap().digest(), None, "the networks count, too");
    }
}
