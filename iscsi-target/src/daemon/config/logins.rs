//! Who may log in, and how initiators and target prove to each other who they are. Secrets are named here, not known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Network;

/// Who may log in. The default is everybody, from everywhere, without a proof.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// The iSCSI names, in their normal form, of the only initiators that may use the target; `None`: all may.
    pub initiators: Option<BTreeSet<String>>,
    /// The only networks from which the target may be used; `None`: it may be from everywhere.
    pub networks: Option<BTreeSet<Network>>,
    /// Who has to prove what.
    pub auth: Auth,
}

/// Who has to prove what. If there are any credentials for normal sessions, nobody gets one without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// By the initiator's name, in its normal form.
    pub initiators: BTreeMap<String, Credential>,
    /// Of all initiators without one of their own; `None`: they cannot log in, if any other has one.
    pub default: Option<Credential>,
    /// Of discovery sessions; `None`: anybody may ask where the target is.
    pub discovery: Option<Credential>,
}

/// What an initiator proves itself with, and the target to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The initiator's.
    pub initiator: Account,
    /// The target's, for initiators that ask for it.
    pub target: Option<Account>,
}

/// A CHAP name, and the file with the secret that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// CHAP_N.
    pub user: String,
    /// See [`super::load_chap_secret`].
    pub secret_file: PathBuf,
}

impl Logins {
    /// Every setting of it by its dotted key.
    #[must_use]
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        if let Some(names) = &self.initiators {
            settings.insert("target.initiators".to_owned(), joined(names));
        }
        if let Some(networks) = &self.networks {
            settings.insert("target.networks".to_owned(), joined(networks));
        }
        for (place, credential) in self.auth.credentials() {
            let mut put = |prefix: &str, account: &Account| {
                settings.insert(format!("{place}.{prefix}user"), account.user.clone());
                settings.insert(format!("{place}.{prefix}secret-file"), account.secret_file.display().to_string());
            };
            put("", &credential.initiator);
            if let Some(account) = &credential.target {
                put("target-", account);
            }
        }
        settings
    }

    /// For people: who may log in, a line for each rule.
    #[must_use]
    pub fn described(&self) -> Vec<String> {
        let who = self.initiators.as_ref().map_or_else(|| "every initiator".to_owned(), joined);
        let from = self.networks.as_ref().map_or_else(|| "everywhere".to_owned(), joined);
        let mut lines = vec![format!("may log in: {who}; from {from}")];
        let Auth { initiators, default, discovery } = &self.auth;
        lines.extend(initiators.iter().map(|(name, credential)| format!("{name}: {}", described(credential))));
        lines.push(match default {
            Some(credential) if initiators.is_empty() => format!("every initiator: {}", described(credential)),
            Some(credential) => format!("every other initiator: {}", described(credential)),
            None if initiators.is_empty() => "initiators: no CHAP, their names are not proven".to_owned(),
            None => "every other initiator: no credential, cannot log in".to_owned(),
        });
        lines.push(match discovery {
            Some(credential) => format!("discovery: {}", described(credential)),
            None => "discovery: no CHAP".to_owned(),
        });
        lines
    }
}

impl Auth {
    /// All credentials, by the dotted keys of their tables.
    pub fn credentials(&self) -> impl Iterator<Item = (String, &Credential)> {
        let own = self.initiators.iter().map(|(name, credential)| (format!("auth.initiators.{name}"), credential));
        let default = self.default.iter().map(|credential| ("auth.default".to_owned(), credential));
        let discovery = self.discovery.iter().map(|credential| ("auth.discovery".to_owned(), credential));
        own.chain(default).chain(discovery)
    }

    /// Whether normal sessions have to prove anything.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.default.is_some() || !self.initiators.is_empty()
    }
}

fn described(credential: &Credential) -> String {
    let initiator = format!("CHAP as {}", credential.initiator.user);
    match &credential.target {
        Some(target) => format!("{initiator}, the target as {}", target.user),
        None => initiator,
    }
}

fn joined<T: ToString>(values: &BTreeSet<T>) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
