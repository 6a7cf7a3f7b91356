//! LUNs that come, go and change while the head runs, and other rules about who may log in: what an operator orders by
//! `targetctl reload` or SIGHUP, and disks that could not be opened before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use replication::head::Event;
use tokio::sync::{Mutex, oneshot};

use super::access::Access;
use super::config::{Change, Config, LinkSecret, Lun as LunConfig, differences};
use super::control::Outcome;
use super::lun::{self, Lun, Pair};

/// How long an operator waits for LUNs to be let go of; it goes on after that.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a disk that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Makes this head what its file says.
pub(crate) struct Reloader {
    pair: Pair,
    path: PathBuf,
    /// One change after the other.
    turn: Mutex<()>,
}

impl Reloader {
    pub(crate) fn new(pair: &Pair, path: PathBuf) -> Rc<Self> {
        Rc::new(Self { pair: pair.clone(), path, turn: Mutex::new(()) })
    }

    /// Read the file again and do what can be done online. A file that is wrong, or asks for more, changes nothing.
    pub(crate) async fn reload(&self) -> Outcome {
        let _turn = self.turn.lock().await;
        let path = self.path.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&path)).await;
        let (new, access) = loaded.map_err(|error| error.to_string())??;
        if self.pair.registry.is_stopping() {
            return Err("this head is stopping".to_owned());
        }
        let change = self.change_to(&new)?;
        let has_other_logins = access != *self.pair.registry.access();
        if change.is_empty() && !has_other_logins {
            return Ok("nothing has changed".to_owned());
        }
        let mut report = Report::default();
        if has_other_logins {
            self.set_access(access, &mut report);
        }
        for lun in change.altered {
            self.alter(lun, &mut report);
        }
        self.remove(&change.removed, &mut report).await;
        for lun in change.added {
            let (name, id) = (lun.name.clone(), lun.id);
            match self.add(lun).await {
                Ok(()) => report.done.push(format!("added {name} ({id})")),
                Err(why) => report.failed.push(why),
            }
        }
        report.into_outcome()
    }

    fn change_to(&self, new: &Config) -> Result<Change, String> {
        let registry = &self.pair.registry;
        let (leaving, open): (Vec<_>, Vec<_>) = registry.luns().into_iter().partition(|lun| lun.is_leaving());
        if let Some(lun) = leaving.iter().find(|lun| new.luns.contains_key(&lun.id())) {
            let (name, id) = (lun.name(), lun.id());
            return Err(format!(
                "{name} ({id}) is still being let go of: see `targetctl status`, and reload when it is gone"
            ));
        }
        let mut now = Config { luns: registry.configured(), ..Config::clone(&self.pair.config) };
        now.luns.retain(|id, _| leaving.iter().all(|lun| lun.id() != *id));
        let open: BTreeSet<u8> = open.iter().map(|lun| lun.id()).collect();
        now.change_to(new, &open)
    }

    /// First of all: who may not be here any more must not see what comes next.
    fn set_access(&self, access: Access, report: &mut Report) {
        let ended = self.pair.registry.set_access(access);
        for lun in self.pair.registry.luns() {
            lun.tell_settings();
        }
        let sessions = match ended {
            0 => String::new(),
            1 => ", one session ended".to_owned(),
            _ => format!(", {ended} sessions ended"),
        };
        tracing::info!(ended, "who may log in has changed");
        report.done.push(format!("changed who may log in{sessions}"));
    }

    fn alter(&self, config: LunConfig, report: &mut Report) {
        let Some(lun) = self.pair.registry.lun(config.id) else { return };
        let changed = differences(&lun.config().online_settings(), &config.online_settings());
        let prefix = config.key("");
        let settings: Vec<&str> =
            changed.iter().map(|changed| changed.key.strip_prefix(&prefix).unwrap_or(&changed.key)).collect();
        report.done.push(format!("changed {} ({}): {}", config.name, config.id, settings.join(", ")));
        tracing::info!(lun = %config.name, settings = settings.join(", "), "changed");
        lun.apply(config);
        self.pair.registry.mask_changed(&lun);
    }

    async fn remove(&self, ids: &[u8], report: &mut Report) {
        let mut removals = Vec::new();
        for id in ids {
            let Some(lun) = self.pair.registry.lun(*id) else {
                report.done.push(format!("removed LUN {id}, which was not open"));
                self.pair.registry.remove_lun(*id);
                continue;
            };
            let (done, removed) = oneshot::channel();
            removals.push((lun.name(), lun.id(), removed));
            tokio::task::spawn_local(remove_one(self.pair.clone(), lun, done));
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        for (name, id, removed) in removals {
            match tokio::time::timeout_at(until, removed).await {
                Ok(_) => report.done.push(format!("removed {name} ({id})")),
                Err(_) => report.failed.push(format!(
                    "{name} ({id}) is not let go of yet: `targetctl status` says why; it goes when that is over"
                )),
            }
        }
    }

    async fn add(&self, config: LunConfig) -> Result<(), String> {
        let registry = &self.pair.registry;
        match lun::open(&self.pair, &config).await {
            Ok(lun) if registry.is_stopping() => {
                lun.close().await;
                Err("this head is stopping".to_owned())
            }
            Ok(lun) => {
                registry.add_lun(&lun);
                lun.post(Event::Start);
                (self.pair.changes)();
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                registry.add_failed(config, why.clone());
                (self.pair.changes)();
                Err(format!("{why}; it is tried again every {} s", RETRY.as_secs()))
            }
        }
    }

    /// Try disks that could not be opened again and again: one may only have been late.
    pub(crate) async fn retry(self: Rc<Self>) {
        loop {
            tokio::time::sleep(RETRY).await;
            let _turn = self.turn.lock().await;
            for (config, before) in self.pair.registry.failed() {
                let name = config.name.clone();
                match self.add(config).await {
                    Ok(()) => tracing::info!(lun = %name, "its disk can be opened now"),
                    Err(why) if !why.starts_with(&before) => tracing::warn!("{why}"),
                    Err(_) => {}
                }
            }
        }
    }
}

/// The configuration, and the secrets that it names.
fn load(path: &Path) -> Result<(Config, Access), String> {
    let config = Config::load(path).map_err(|error| error.to_string())?;
    let link = config.link.as_ref().map(|link| LinkSecret::load(&link.secret_file)).transpose();
    let access = Access::load(&config, link.map_err(|error| error.to_string())?.as_ref())?;
    Ok((config, access))
}

/// Hand it over or drain it, then let go of it.
async fn remove_one(pair: Pair, lun: Rc<Lun>, done: oneshot::Sender<()>) {
    let name = lun.name();
    tracing::info!(lun = %name, "not configured any more: handing over, or draining");
    lun.leave();
    (pair.changes)();
    lun.stopped().await;
    pair.registry.remove_lun(lun.id());
    lun.close().await;
    tracing::info!(lun = %name, "removed");
    (pair.changes)();
    // Whoever ordered it may have given up waiting.
    done.send(()).ok();
}

/// What came of a reload.
#[derive(Default)]
struct Report {
    done: Vec<String>,
    failed: Vec<String>,
}

impl Report {
    fn into_outcome(self) -> Outcome {
        let done = self.done.join(", ");
        if self.failed.is_empty() {
            return Ok(done);
        }
        let failed = self.failed.join("; ");
        Err(if done.is_empty() { failed } else { format!("{failed} (done: {done})") })
    }
}
