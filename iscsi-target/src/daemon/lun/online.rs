//! What can happen to a unit while the head runs: other settings, and its end.

use std::future::Future;
use std::rc::Rc;

use replication::head::{Action, Event};
use replication::wire::UnitSettings;
use tokio::sync::oneshot;

use super::arbiter::Order as ArbiterOrder;
use super::{Lun, OrderedBy};
use crate::daemon::config::{Lun as LunConfig, preferred_by_both};
use crate::scsi::attention::Attention;
use crate::scsi::{NexusId, port_groups};

impl Lun {
    /// Its number.
    pub(crate) fn id(&self) -> u8 {
        self.id
    }

    /// Its configuration, as of now.
    pub(crate) fn config(&self) -> Rc<LunConfig> {
        Rc::clone(&self.config.borrow())
    }

    /// What operators call it.
    pub(crate) fn name(&self) -> String {
        self.config().name.clone()
    }

    /// Be configured like this from now on: the same disk, but other settings that can change while it is served.
    pub(crate) fn apply(&self, config: LunConfig) {
        let before = self.config.replace(Rc::new(config.clone()));
        self.unit.borrow_mut().set_protection(super::storage::protection(&config));
        self.tell_settings();
        self.prefer();
        if before.name != config.name {
            self.order_arbiter(ArbiterOrder::Rename(config.name));
            self.post(Event::RecordAgain);
        }
    }

    /// Let the other head know what it is told about this unit.
    pub(crate) fn tell_settings(&self) {
        self.link.change(self.id, self.settings());
    }

    /// What the other head is told about it.
    pub(crate) fn settings(&self) -> UnitSettings {
        let config = self.config();
        let mut fixed = config.fixed_settings();
        // What the disk says, rather than whether the file repeats it.
        fixed.insert(config.key("block-bytes"), self.block_bytes.to_string());
        fixed.insert(config.key("serial-number"), self.serial.clone());
        let mut online = config.online_settings();
        if let Some(digest) = self.registry.access().digest() {
            // It concerns all units, but only what concerns a unit may differ for a while.
            online.insert("logins (digest)".to_owned(), digest.to_owned());
        }
        UnitSettings::new(fixed, online)
    }

    /// See [`preferred_by_both`].
    pub(super) fn prefer(&self) {
        let config = self.config();
        let theirs = self.link.settings_of_peer(self.id);
        let theirs = theirs.and_then(|settings| settings.online().get(&config.key("preferred"))?.parse().ok());
        self.post(Event::Preferred(preferred_by_both(config.preferred, theirs).into()));
    }

    /// Whether the initiator with this iSCSI name does not see it.
    pub(crate) fn is_hidden_from(&self, initiator: &str) -> bool {
        super::storage::mask(&self.config()).hides_from(initiator)
    }

    /// Tell a nexus that the list of units has changed.
    pub(crate) fn raise_luns_changed(&self, nexus: NexusId) {
        self.unit.borrow_mut().raise_for(nexus, Attention::ReportedLunsChanged);
    }

    /// A nexus has asked for the list, here or elsewhere.
    pub(crate) fn forget_luns_changed(&self, nexus: NexusId) {
        self.unit.borrow_mut().forget(nexus, Attention::ReportedLunsChanged);
    }

    /// Let go of it: hand it over or drain it, as when the process ends.
    pub(crate) fn leave(&self) {
        self.leaving.set(true);
        self.post(Event::Shutdown);
    }

    /// Whether it is being let go of.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Until [`Lun::is_stopped`].
    pub(crate) async fn stopped(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_stopped() {
                return;
            }
            ended.await;
        }
    }

    /// It has stopped and nobody can find it any more: end its threads and let go of its disk. Resolves when the
    /// process has nothing of it left.
    pub(crate) fn close(self: Rc<Self>) -> impl Future<Output = ()> {
        for listener in self.listeners.take() {
            listener.abort();
        }
        let waiting = std::mem::take(&mut self.orders.borrow_mut().waiting);
        for by in waiting.into_values() {
            match by {
                // Whoever waits is told by the end of the channel.
                OrderedBy::Operator(_) => {}
                OrderedBy::Initiator(caller) => caller.respond(port_groups::switched(false)),
            }
        }
        let threads = self.threads.take();
        let (closed, disk_closed) = oneshot::channel();
        *self.disk_closed.borrow_mut() = Some(closed);
        drop(self);
        async move {
            // It is told by being dropped.
            disk_closed.await.ok();
            let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
            if !matches!(joined.await, Ok(true)) {
                tracing::error!("a thread of a LUN has panicked");
            }
        }
    }

    pub(super) fn order_arbiter(&self, order: ArbiterOrder) {
        self.arbiter.send(order).expect("the thread ends only when the unit does");
    }

    /// For the thread that shows that this head lives.
    pub(super) fn order_heartbeat(&self, action: Action<replication::block::Blocks>) {
        self.heartbeat.send(action).expect("the thread ends only when the unit does");
    }
}

impl Drop for Lun {
    /// Closing a disk may wait for what the kernel still does with it: not on the data path.
    fn drop(&mut self) {
        let (disk, closed) = (self.disk.take(), self.disk_closed.take());
        let closing = std::thread::Builder::new().name("close".to_owned()).spawn(move || {
            drop(disk);
            drop(closed);
        });
        if let Err(error) = closing {
            tracing::warn!(%error, "no thread to close a disk with");
        }
    }
}
