//! What is written about who may log in, and whether it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;

use super::check::required;
use super::logins::{Account, Auth, Credential, Logins};
use super::problem::Findings;
use super::raw::{self, Field, RawAuth, RawCredential};
use super::{Lun, Network, names};
use crate::scsi::protection::normal_name;

/// The longest CHAP_N.
const USER_BYTES_MAX: usize = 255;

/// A list of names of initiators with a place in the file.
pub(super) type Names = Field<Vec<Spanned<String>>>;

/// What `[target]` and `[auth]` say about it.
pub(super) fn check(
    initiators: Names,
    networks: Names,
    auth: Field<RawAuth>,
    findings: &mut Findings<'_>,
) -> Option<Logins> {
    let networks = match networks {
        Some(networks) => check_networks(networks, findings).map(Some),
        None => Some(None),
    };
    let initiators = match initiators {
        Some(names) => check_names(names, "target.initiators", "nobody could log in", usize::MAX, findings).map(Some),
        None => Some(None),
    };
    let listed = initiators.as_ref().and_then(Option::as_ref);
    let auth = auth.map_or_else(|| Some(Auth::default()), |auth| check_auth(auth, listed, findings));
    Some(Logins { initiators: initiators?, networks: networks?, auth: auth? })
}

/// A list of initiators, in which there must be somebody: `nobody` says what it would mean otherwise.
pub(super) fn check_names(
    names: Spanned<Vec<Spanned<String>>>,
    key: &str,
    nobody: &str,
    most: usize,
    findings: &mut Findings<'_>,
) -> Option<BTreeSet<String>> {
    let span = names.span();
    let names = names.into_inner();
    let wrong = match names.len() {
        0 => Some((nobody.to_owned(), "the names of those who may".to_owned())),
        count if count > most => Some(("more names than a LUN can have".to_owned(), format!("at most {most} names"))),
        _ => None,
    };
    if let Some((wrong, right)) = wrong {
        findings.add(&span, key, wrong, right);
        return None;
    }
    let count = names.len();
    let mut checked = BTreeSet::new();
    for written in names {
        let name = normal_name(written.get_ref());
        match names::check_initiator(&name) {
            Err(wrong) => findings.add(&written.span(), key, wrong, raw::NAMES_RIGHT),
            Ok(()) if checked.contains(&name) => {
                findings.add(&written.span(), key, "is there already", "each name once; case makes no difference");
            }
            Ok(()) => drop(checked.insert(name)),
        }
    }
    (checked.len() == count).then_some(checked)
}

/// Who sees a LUN must be let in, or a name is misspelt.
pub(super) fn check_audience(luns: &BTreeMap<u8, (Lun, Range<usize>)>, logins: &Logins, findings: &mut Findings<'_>) {
    for (lun, span) in luns.values() {
        for (setting, names) in [("initiators", &lun.initiators), ("writers", &lun.writers)] {
            for name in names.iter().flatten() {
                if logins.initiators.as_ref().is_some_and(|listed| !listed.contains(name)) {
                    let wrong = format!("{name} may not log in");
                    findings.add(span, &lun.key(setting), wrong, "names that are also in target.initiators");
                }
            }
        }
    }
}

fn check_networks(networks: Spanned<Vec<Spanned<String>>>, findings: &mut Findings<'_>) -> Option<BTreeSet<Network>> {
    let key = "target.networks";
    let span = networks.span();
    let networks = networks.into_inner();
    if networks.is_empty() {
        findings.add(&span, key, "nobody could log in", raw::NETWORKS_RIGHT);
        return None;
    }
    let count = networks.len();
    let mut checked = BTreeSet::new();
    for written in networks {
        match written.get_ref().parse() {
            Err(wrong) => findings.add(&written.span(), key, wrong, raw::NETWORKS_RIGHT),
            Ok(network) if checked.contains(&network) => {
                findings.add(&written.span(), key, "is there already", "each network once");
            }
            Ok(network) => drop(checked.insert(network)),
        }
    }
    (checked.len() == count).then_some(checked)
}

fn check_auth(auth: Spanned<RawAuth>, listed: Option<&BTreeSet<String>>, findings: &mut Findings<'_>) -> Option<Auth> {
    let span = auth.span();
    let RawAuth { default, discovery, initiators } = auth.into_inner();
    let initiators = initiators.map(Spanned::into_inner).unwrap_or_default();
    if default.is_none() && discovery.is_none() && initiators.is_empty() {
        findings.missing(&span, "auth", raw::AUTH_RIGHT);
        return None;
    }
    let unnamed = |raw: Field<RawCredential>, key: &str, findings: &mut Findings<'_>| match raw {
        None => Some(None),
        Some(raw) => {
            let name = raw.get_ref().name.as_ref().map(Spanned::span);
            if let Some(span) = &name {
                let right = "[[auth.initiators]] for what belongs to one initiator";
                findings.add(span, &format!("{key}.name"), "it belongs to no initiator in particular", right);
            }
            check_credential(raw, key, findings).filter(|_| name.is_none()).map(Some)
        }
    };
    let default = unnamed(default, "auth.default", findings);
    let discovery = unnamed(discovery, "auth.discovery", findings);
    let count = initiators.len();
    let mut checked = BTreeMap::new();
    for (index, raw) in initiators.into_iter().enumerate() {
        let key = format!("auth.initiators[{index}]");
        let name = check_name(&raw, &key, &checked, listed, findings);
        if let (Some(name), Some(credential)) = (name, check_credential(raw, &key, findings)) {
            checked.insert(name, credential);
        }
    }
    let (default, discovery) = (default?, discovery?);
    (checked.len() == count).then_some(Auth { initiators: checked, default, discovery })
}

fn check_name(
    raw: &Spanned<RawCredential>,
    key: &str,
    others: &BTreeMap<String, Credential>,
    listed: Option<&BTreeSet<String>>,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let key = format!("{key}.name");
    let Some(written) = &raw.get_ref().name else {
        findings.missing(&place_only(raw.span()), &key, raw::NAME_RIGHT);
        return None;
    };
    let name = normal_name(written.get_ref());
    let wrong = match names::check_initiator(&name) {
        Err(wrong) => wrong,
        Ok(()) if others.contains_key(&name) => "has a credential already".to_owned(),
        Ok(()) if listed.is_some_and(|listed| !listed.contains(&name)) => {
            "may not log in: it is not in target.initiators".to_owned()
        }
        Ok(()) => return Some(name),
    };
    findings.add(&written.span(), &key, wrong, raw::NAME_RIGHT);
    None
}

fn check_credential(raw: Spanned<RawCredential>, key: &str, findings: &mut Findings<'_>) -> Option<Credential> {
    let span = place_only(raw.span());
    let RawCredential { user, secret_file, target_user, target_secret_file, .. } = raw.into_inner();
    let initiator = check_account(user, secret_file, &span, &format!("{key}."), findings);
    let target_span = target_secret_file.as_ref().map(Spanned::span);
    let target = match (target_user, target_secret_file) {
        (None, None) => Some(None),
        (user, file) => check_account(user, file, &span, &format!("{key}.target-"), findings).map(Some),
    };
    let (initiator, target) = (initiator?, target?);
    if target.as_ref().is_some_and(|target| target.secret_file == initiator.secret_file) {
        let wrong = "the secret of the initiator, too: whoever has heard the target could log in";
        let right = "a secret of its own for each direction";
        findings.add(&target_span.unwrap_or(span), &format!("{key}.target-secret-file"), wrong, right);
        return None;
    }
    Some(Credential { initiator, target })
}

fn check_account(
    user: Field<String>,
    file: Field<String>,
    parent: &Range<usize>,
    key: &str,
    findings: &mut Findings<'_>,
) -> Option<Account> {
    let (user_key, file_key) = (format!("{key}user"), format!("{key}secret-file"));
    let user = required(user, parent, &user_key, raw::USER_RIGHT, findings).and_then(|user| {
        let name = user.get_ref();
        let good = (1..=USER_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !good {
            findings.add(&user.span(), &user_key, "not a name for CHAP", raw::USER_RIGHT);
        }
        good.then(|| user.into_inner())
    });
    let file = required(file, parent, &file_key, raw::CHAP_SECRET_RIGHT, findings).and_then(|file| {
        let path = names::absolute(file.get_ref());
        if path.is_none() {
            findings.add(&place_only(file.span()), &file_key, "not an absolute path", raw::CHAP_SECRET_RIGHT);
        }
        path
    });
    Some(Account { user: user?, secret_file: file? })
}

/// Where it stands, without a quotation: somebody may have written a secret there.
fn place_only(span: Range<usize>) -> Range<usize> {
    span.start..span.start
}
