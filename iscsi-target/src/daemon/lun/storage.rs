//! Opening a unit: its disk, its superblock, its threads, and the tasks that listen to them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use alua::{GroupId, TargetPort};
use replication::block::Blocks;
use replication::head::{Config as HeadConfig, Event, Head};
use sas_backend::buffer::Pool;
use sas_backend::disk::Disk;
use sas_backend::probe::{OpenDisk, OpenOptions, open_disk};
use sas_backend::superblock::region::Region;
use sas_backend::superblock::{Identity, Superblock};
use sas_backend::{Epoch, HeadId, Incarnation, SyncIo};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc as channel};
use tokio::task::AbortHandle;

use super::arbiter::{Arbiter, key_of};
use super::heartbeat::Heartbeat;
use super::place::Place;
use super::tasks::Tasks;
use super::{Lun, Orders};
use crate::daemon::clock::Clock;
use crate::daemon::config::{Config, HeadName, Lun as LunConfig};
use crate::daemon::link::LinkHandle;
use crate::daemon::portal::Portals;
use crate::daemon::registry::Registry;
use crate::scsi::config::{Naa, UnitConfig};
use crate::scsi::mask::Mask;
use crate::scsi::protection::Protection;
use crate::scsi::unit::LogicalUnit;

/// Dirty data that is allowed however slow the disk is.
const LEAST_DIRTY_BYTES: u64 = 4 << 20;
/// The most dirty data of one unit unless the configuration says otherwise.
const MOST_DIRTY_BYTES: u64 = 1 << 30;
/// The largest disk write that destaging makes.
const RUN_BYTES: u64 = 1 << 20;
/// A head registers far less often than that with a disk that it has open.
const REGISTRATION_BITS: u32 = 16;
/// Relative target port identifiers of head b begin here; those of head a at 1.
const PORTS_OF_B: u16 = 0x101;

/// What all units of this process share.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) me: HeadId,
    pub(crate) incarnation: Incarnation,
    /// As the head was started; its LUNs are those of [`Registry::configured`].
    pub(crate) config: Rc<Config>,
    pub(crate) clock: Clock,
    pub(crate) pool: Pool,
    pub(crate) link: LinkHandle,
    pub(crate) portals: Portals,
    pub(crate) registry: Rc<Registry>,
    /// Disks that this process has opened so far.
    pub(crate) opened: Rc<Cell<u64>>,
    pub(crate) changes: Rc<dyn Fn()>,
}

impl Pair {
    /// The target port group of a head: it belongs to the head, not to its role.
    pub(crate) fn group_of(head: HeadId) -> GroupId {
        match head {
            HeadId::A => GroupId(1),
            HeadId::B => GroupId(2),
        }
    }

    /// The head of a target port group.
    pub(crate) fn head_of(group: GroupId) -> HeadId {
        if group == Self::group_of(HeadId::A) { HeadId::A } else { HeadId::B }
    }

    /// The relative target port identifier of a portal, counted from 0.
    pub(crate) fn relative_port(head: HeadId, portal: usize) -> u16 {
        let first = match head {
            HeadId::A => 1,
            HeadId::B => PORTS_OF_B,
        };
        first + u16::try_from(portal).unwrap_or(PORTS_OF_B - 2).min(PORTS_OF_B - 2)
    }

    fn ports(&self) -> Vec<TargetPort> {
        let heads = self.config.heads.iter().map(|(name, head)| (HeadId::from(*name), head.portals.len()));
        heads
            .flat_map(|(head, portals)| {
                (0..portals).map(move |portal| TargetPort {
                    relative_id: Self::relative_port(head, portal),
                    group: Self::group_of(head),
                })
            })
            .collect()
    }
}

/// Why a unit cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("LUN {name} ({disk}): {why}")]
pub(crate) struct OpenError {
    name: String,
    disk: String,
    why: String,
}

/// What opening a disk has to know; it happens on a thread of its own, since a disk can take its time.
struct Opening {
    me: HeadId,
    incarnation: Incarnation,
    single: bool,
    iqn: String,
    /// Which disk this process opens, counted.
    number: u64,
    config: LunConfig,
}

/// A disk that is open and ours.
struct Opened {
    config: LunConfig,
    disk: Box<dyn Disk + Send>,
    sync: SyncIo,
    place: Place,
    fenced: Option<OwnedFd>,
    arbiter: Arbiter,
    superblock: Superblock,
}

/// Open the disk of `config`, check that it is ours, and start its threads. The head itself starts with
/// [`Event::Start`].
pub(crate) async fn open(pair: &Pair, config: &LunConfig) -> Result<Rc<Lun>, OpenError> {
    let error = |why: String| OpenError { name: config.name.clone(), disk: config.disk.display().to_string(), why };
    pair.opened.set(pair.opened.get() + 1);
    let opening = Opening {
        me: pair.me,
        incarnation: pair.incarnation,
        single: pair.config.single(),
        iqn: pair.config.iqn.clone(),
        number: pair.opened.get(),
        config: config.clone(),
    };
    let opened = tokio::task::spawn_blocking(move || opening.open());
    let opened = opened.await.map_err(|failed| error(failed.to_string()))?.map_err(error)?;
    assemble(pair, opened).map_err(|failed| error(failed.to_string()))
}

impl Opening {
    fn open(self) -> Result<Opened, String> {
        let Self { me, incarnation, single, iqn, number, config } = self;
        let registrations = number << REGISTRATION_BITS;
        let key = key_of(me, Epoch(0), incarnation, registrations);
        let options = OpenOptions { head: me, shared: !single, block_bytes: config.block_bytes, key };
        let OpenDisk { disk, sync, reservations, geometry, description } =
            open_disk(&config.disk, options).map_err(|failed| failed.to_string())?;
        let place = Place::new(Region::of(geometry.size_bytes).map_err(|failed| failed.to_string())?);
        let fenced = reservations.fenced_event().map_err(|failed| failed.to_string())?;
        let mut arbiter = Arbiter::new(me, incarnation, sync.clone(), place.clone(), reservations, iqn, registrations);
        let superblock = arbiter.look().map_err(|failed| failed.to_string())?;
        check_identity(&superblock.identity, &config, geometry.block_bytes)?;
        tracing::info!(lun = %config.name, "{description}");
        Ok(Opened { config, disk, sync, place, fenced, arbiter, superblock })
    }
}

fn assemble(pair: &Pair, opened: Opened) -> std::io::Result<Rc<Lun>> {
    let Opened { config, disk, sync, place, fenced, arbiter, superblock } = opened;
    let identity = &superblock.identity;
    let (events, inbox) = channel::unbounded_channel();
    let (arbiter_orders, arbiter) =
        spawn_thread("arbiter", events.clone(), move |orders, tell| arbiter.run(&orders, tell));
    let heartbeat = Heartbeat {
        me: pair.me,
        incarnation: pair.incarnation,
        io: sync,
        place,
        clock: pair.clock,
        every: pair.config.limits.lease / 4,
    };
    let (heartbeat_orders, heartbeat) =
        spawn_thread("heartbeat", events, move |orders, tell| heartbeat.run(&orders, tell));
    let lun = Rc::new_cyclic(|this| Lun {
        id: config.id,
        block_bytes: identity.block_bytes,
        serial: identity.serial(),
        me: pair.me,
        clock: pair.clock,
        pool: pair.pool.clone(),
        disk: Some(disk),
        arbiter: arbiter_orders,
        heartbeat: heartbeat_orders,
        link: pair.link.clone(),
        portals: pair.portals.clone(),
        access_since: Cell::new(pair.clock.now()),
        fenced_other: Cell::new(false),
        registry: Rc::clone(&pair.registry),
        head: RefCell::new(Head::new(head_config(pair, &config, &superblock))),
        unit: RefCell::new(LogicalUnit::new(unit_config(pair, &config, &superblock))),
        config: RefCell::new(Rc::new(config)),
        tasks: RefCell::new(Tasks::default()),
        changes_of_reservations: RefCell::default(),
        sanitizes: Cell::new(false),
        orders: RefCell::new(Orders::default()),
        inbox: RefCell::new(VecDeque::new()),
        running: Cell::new(false),
        kick_wanted: Cell::new(false),
        this: Weak::clone(this),
        stopped: Cell::new(false),
        leaving: Cell::new(false),
        settled: Notify::new(),
        ended: Notify::new(),
        listeners: RefCell::default(),
        threads: RefCell::new(vec![arbiter, heartbeat]),
        disk_closed: RefCell::default(),
        changes: Rc::clone(&pair.changes),
    });
    let listeners = listen(&lun, inbox, fenced)?;
    lun.listeners.replace(listeners);
    Ok(lun)
}

fn check_identity(identity: &Identity, config: &LunConfig, disk_block_bytes: u32) -> Result<(), String> {
    if identity.lun_name != config.name {
        return Err(format!(
            "the disk is that of LUN \"{}\": correct the configuration, or initialise the disk anew (to rename a LUN, \
             reload the head that owns it)",
            identity.lun_name
        ));
    }
    let block_bytes = identity.block_bytes;
    if config.block_bytes.is_some_and(|wanted| wanted != block_bytes) || block_bytes < disk_block_bytes {
        return Err(format!("the disk was initialised with blocks of {block_bytes} bytes; this cannot be changed"));
    }
    if let Some(physical) = config.physical_block_bytes.filter(|physical| *physical < block_bytes) {
        return Err(format!(
            "physical blocks of {physical} bytes cannot be smaller than blocks of {block_bytes} bytes"
        ));
    }
    if let Some(atomic) = config.atomic_write_bytes.filter(|atomic| *atomic < block_bytes) {
        return Err(format!("atomic writes of {atomic} bytes cannot be smaller than blocks of {block_bytes} bytes"));
    }
    Ok(())
}

fn head_config(pair: &Pair, config: &LunConfig, superblock: &Superblock) -> HeadConfig {
    let identity = &superblock.identity;
    let limits = pair.config.limits;
    let blocks = |bytes: u64| bytes / u64::from(identity.block_bytes);
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    HeadConfig {
        me: pair.me,
        incarnation: pair.incarnation,
        paired: !pair.config.single(),
        preferred: config.preferred.into(),
        lease_ms: ms(limits.lease),
        takeover_ms: ms(limits.takeover),
        max_drain_ms: ms(limits.max_drain),
        blocks: blocks(superblock.visible_bytes()),
        block_bytes: identity.block_bytes,
        least_dirty_blocks: blocks(LEAST_DIRTY_BYTES),
        max_dirty_blocks: blocks(limits.mirror_bytes.unwrap_or(MOST_DIRTY_BYTES)),
        max_run_blocks: blocks(RUN_BYTES),
    }
}

fn unit_config(pair: &Pair, config: &LunConfig, superblock: &Superblock) -> UnitConfig {
    let identity = &superblock.identity;
    UnitConfig {
        serial: identity.serial(),
        naa: Naa::Long(identity.naa6()),
        revision: "0001".to_owned(),
        block_bytes: identity.block_bytes,
        blocks: superblock.visible_bytes() / u64::from(identity.block_bytes),
        physical_block_exponent: physical_block_exponent(config, identity.block_bytes),
        removable: config.removable,
        thin: config.thin,
        atomic_bytes: config.atomic_write_bytes.unwrap_or(0),
        solid_state: false,
        my_group: Pair::group_of(pair.me),
        ports: pair.ports(),
        target_name: pair.config.iqn.clone(),
        protection: protection(config),
    }
}

/// How many logical blocks, as a power of two, a physical block has.
fn physical_block_exponent(config: &LunConfig, block_bytes: u32) -> u8 {
    let ratio = config.physical_block_bytes.map_or(1, |physical| (physical / block_bytes).max(1));
    u8::try_from(ratio.ilog2()).expect("below 32")
}

/// Who may not write, as the configuration says.
pub(super) fn protection(config: &LunConfig) -> Protection {
    match &config.writers {
        _ if config.read_only => Protection::Everybody,
        Some(writers) => Protection::EverybodyBut(writers.clone()),
        None => Protection::None,
    }
}

/// Who does not see it, as the configuration says.
pub(super) fn mask(config: &LunConfig) -> Mask {
    config.initiators.clone().map_or(Mask::None, Mask::EverybodyBut)
}

type Tell = Box<dyn FnMut(Event<Blocks>) -> bool + Send>;

fn spawn_thread<C: Send + 'static>(
    name: &str,
    events: channel::UnboundedSender<Event<Blocks>>,
    run: impl FnOnce(mpsc::Receiver<C>, Tell) + Send + 'static,
) -> (mpsc::Sender<C>, JoinHandle<()>) {
    let (orders, receiver) = mpsc::channel();
    let tell: Tell = Box::new(move |event| events.send(event).is_ok());
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || run(receiver, tell))
        .expect("a process that cannot start a thread cannot serve");
    (orders, thread)
}

/// Bring to the unit what its threads, its disk and its reservations have to say.
fn listen(
    lun: &Rc<Lun>,
    mut inbox: channel::UnboundedReceiver<Event<Blocks>>,
    fenced: Option<OwnedFd>,
) -> std::io::Result<Vec<AbortHandle>> {
    let completions = watch(lun.disk().completion_event().try_clone_to_owned()?)?;
    let fenced = fenced.map(watch).transpose()?;
    let told = Rc::clone(lun);
    let inbox = tokio::task::spawn_local(async move {
        while let Some(event) = inbox.recv().await {
            told.post(event);
        }
    });
    let reaper = Rc::clone(lun);
    let completions = tokio::task::spawn_local(async move {
        while let Ok(mut ready) = completions.readable().await {
            // Cleared before the look: what completes meanwhile makes it readable again.
            ready.clear_ready();
            reaper.reap();
        }
    });
    let mut listeners = vec![inbox.abort_handle(), completions.abort_handle()];
    if let Some(fenced) = fenced {
        let conflicted = Rc::clone(lun);
        let fenced = tokio::task::spawn_local(async move {
            while let Ok(mut ready) = fenced.readable().await {
                ready.clear_ready();
                conflicted.post(Event::Conflict);
            }
        });
        listeners.push(fenced.abort_handle());
    }
    Ok(listeners)
}

#[expect(deprecated, reason = "what replaces it is unsafe; an OwnedFd stays open for as long as it is registered")]
fn watch(event: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(event, Interest::READABLE)
}

impl Pair {
    /// The name of this head in the configuration.
    pub(crate) fn name(&self) -> HeadName {
        self.me.into()
    }
}
