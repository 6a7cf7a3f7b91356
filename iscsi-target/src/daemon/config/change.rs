//! What a head that runs can take over from a new file: LUNs that come and go, and what may change about the others.

use std::collections::{BTreeMap, BTreeSet};

use super::{Config, Difference, Lun, differences};

/// What is to be done so that a running head is configured as a new file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// LUNs to let go of.
    pub removed: Vec<u8>,
    /// LUNs to open.
    pub added: Vec<Lun>,
    /// LUNs that stay, with settings that can change while they are served.
    pub altered: Vec<Lun>,
}

impl Config {
    /// From this configuration, in which the LUNs `open` are served, to `new`. LUNs that could not be opened may become
    /// anything.
    ///
    /// # Errors
    /// What would need a restart, or the LUN to be taken out and put back in, each by name.
    pub fn change_to(&self, new: &Self, open: &BTreeSet<u8>) -> Result<Change, String> {
        let mut refused: Vec<String> = differences(&self.restart_settings(), &new.restart_settings())
            .iter()
            .map(|difference| format!("{}: restart this head", shown(difference)))
            .collect();
        let mut change = Change::default();
        for (id, lun) in &new.luns {
            let Some(old) = self.luns.get(id).filter(|_| open.contains(id)) else {
                change.added.push(lun.clone());
                continue;
            };
            let fixed = differences(&old.fixed_settings(), &lun.fixed_settings());
            refused.extend(fixed.iter().map(|difference| {
                format!("{}: take LUN {id} out, reload, put it back in, and reload again", shown(difference))
            }));
            if old != lun {
                change.altered.push(lun.clone());
            }
        }
        change.removed = self.luns.keys().filter(|id| !new.luns.contains_key(id)).copied().collect();
        if refused.is_empty() {
            return Ok(change);
        }
        Err(format!("nothing is changed, because not everything can be while the head runs:\n{}", refused.join("\n")))
    }

    /// What is looked at only when a head starts.
    fn restart_settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.pair_agreement();
        for (name, head) in &self.heads {
            settings.insert(format!("heads.{name}.control"), head.control.display().to_string());
        }
        settings
    }
}

impl Change {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn shown(difference: &Difference) -> String {
    let value = |value: &Option<String>| value.as_ref().map_or("nothing".to_owned(), |value| format!("{value:?}"));
    format!("{}: {} is in use, {} in the file", difference.key, value(&difference.here), value(&difference.there))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const HEAD: &str = "target = { iqn = \"iqn.2026-11.com.example\" }\nheads.a.portals = [\"127.0.0.1:3260\"]\n";
    const DB: &str = "{ id = 0, name = \"db\", disk = \"/db\" }";
    const VM: &str = "{ id = 1, name = \"vm\", disk = \"/vm\", block-bytes = 4096 }";

    fn config(luns: &[&str]) -> Config {
        Config::parse(&format!("{HEAD}luns = [{}]", luns.join(", "))).unwrap()
    }

    fn change(old: &Config, new: &Config) -> Result<Change, String> {
        old.change_to(new, &old.luns.keys().copied().collect())
    }

    #[test]
    fn luns_come_and_go() {
        let (one, two) = (config(&[DB]), config(&[DB, VM]));
        let vm = two.luns[&1].clone();
        assert_eq!(change(&one, &two), Ok(Change { added: vec![vm.clone()], ..Change::default() }));
        assert_eq!(change(&two, &one), Ok(Change { removed: vec![1], ..Change::default() }));
        assert!(change(&two, &two).unwrap().is_empty());
        let failed = two.change_to(&two, &BTreeSet::from([0]));
        assert_eq!(failed, Ok(Change { added: vec![vm], ..Change::default() }), "what is not open is tried again");
    }

    #[test]
    fn what_may_change_online_changes() {
        let old = config(&[DB]);
        let lun = "{ id = 0, name = \"mail\", disk = \"/db\", writers = [\"iqn.1993-08.org.debian:01:abc\"] }";
        let new = config(&[lun]);
        assert_eq!(change(&old, &new), Ok(Change { altered: vec![new.luns[&0].clone()], ..Change::default() }));
        let read_only = config(&["{ id = 0, name = \"db\", disk = \"/db\", read-only = true }"]);
        assert_eq!(change(&old, &read_only).unwrap().altered.len(), 1);
    }

    #[test]
    fn what_may_not_is_refused_by_name_and_nothing_else_is_done() {
        let old = config(&[DB, VM]);
        let mut new =
            config(&["{ id = 0, name = \"db\", disk = \"/other\" }", "{ id = 1, name = \"vm\", disk = \"/vm\" }"]);
        new.limits.lease = std::time::Duration::from_millis(100);
        new.heads.values_mut().for_each(|head| head.control = "/run/other.sock".into());
        expect![[r#"
            nothing is changed, because not everything can be while the head runs:
            heads.a.control: "/run/twinhead/a.sock" is in use, "/run/other.sock" in the file: restart this head
            limits.lease-ms: "200" is in use, "100" in the file: restart this head
            luns.0.disk: "/db" is in use, "/other" in the file: take LUN 0 out, reload, put it back in, and reload again
            luns.1.block-bytes: "4096" is in use, nothing in the file: take LUN 1 out, reload, put it back in, and reload again"#]]
        .assert_eq(&change(&old, &new).unwrap_err());
    }
}
