//! Commands on their way through a head's unit, as the daemon takes them: through the gate, then answered, held until the
//! access state changes, or a request for the head.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alua::{GroupId, TargetPort};
use iscsi_target::scsi::attention::Attention;
use iscsi_target::scsi::block::{self, BlockIo, BlockOp, IoError as ScsiError};
use iscsi_target::scsi::config::{Naa, UnitConfig};
use iscsi_target::scsi::lun::Lun;
use iscsi_target::scsi::protection::Protection;
use iscsi_target::scsi::unit::{Access as UnitAccess, LogicalUnit, Verdict};
use iscsi_target::scsi::{Command, NexusId, Response, Status, port_groups, report_luns};
use iscsi_target::session::TaskId;
use replication::head::{Access, Event, IoError, OpId, Operation, Order, OrderId, Outcome, Request};
use replication::{Data as _, Extent};
use sas_backend::HeadId;
use sas_backend::buffer::{Payload, Pool};

use super::translate::{to_payload, written};
use super::{SESSION_OPS, TARGET};
use crate::world::{Entry, Marks, World, slot_of};

/// How long a command is held before its initiator is asked to come again.
const HOLD_MS: u64 = 5_000;

/// A command that can be presented again.
struct Waiting {
    nexus: NexusId,
    task: TaskId,
    command: Command,
    /// The mark when it arrived.
    arrival: u64,
    since: u64,
}

/// See the module.
pub(super) struct Unit {
    pub(super) core: LogicalUnit,
    pub(super) pool: Pool,
    underway: BTreeMap<u64, (Waiting, BlockIo)>,
    last_key: u64,
    held: VecDeque<Waiting>,
    serving_since: u64,
    /// SET TARGET PORT GROUPS that are not answered.
    orders: BTreeMap<OrderId, (NexusId, TaskId)>,
}

fn group_of(head: HeadId) -> GroupId {
    match head {
        HeadId::A => GroupId(1),
        HeadId::B => GroupId(2),
    }
}

pub(super) fn relative_port(of: HeadId) -> u16 {
    match of {
        HeadId::A => 1,
        HeadId::B => 0x101,
    }
}

impl Unit {
    pub(super) fn new(of: HeadId, blocks: u64) -> Self {
        let port = |head| TargetPort { relative_id: relative_port(head), group: group_of(head) };
        let config = UnitConfig {
            serial: "0123456789abcdef0123456789abcdef".to_owned(),
            naa: Naa::Long(*b"\x60-simulated-unit"),
            revision: "0001".to_owned(),
            block_bytes: 512,
            blocks,
            physical_block_exponent: 0,
            removable: false,
            thin: true,
            atomic_bytes: 0,
            solid_state: false,
            my_group: group_of(of),
            ports: HeadId::BOTH.map(port).to_vec(),
            target_name: TARGET.to_owned(),
            protection: Protection::None,
        };
        Self {
            core: LogicalUnit::new(config),
            pool: Pool::new(),
            underway: BTreeMap::new(),
            last_key: 0,
            held: VecDeque::new(),
            serving_since: 0,
            orders: BTreeMap::new(),
        }
    }
}

impl World {
    pub(super) fn on_command(
        &mut self,
        of: HeadId,
        nexus: NexusId,
        task: TaskId,
        command: Command,
        arrival: u64,
    ) -> Result<(), String> {
        let since = self.now;
        self.present(of, Waiting { nexus, task, command, arrival, since })
    }

    fn present(&mut self, of: HeadId, waiting: Waiting) -> Result<(), String> {
        let Some(portal) = self.portal(of) else { return Ok(()) };
        let unit = &mut portal.unit;
        match unit.core.handle(&waiting.command) {
            Verdict::Done(response) => self.respond(of, &waiting, response),
            Verdict::ReportLuns => {
                let luns = [Lun::new(0).expect("the first one")];
                let response = report_luns::report(&luns, &waiting.command.cdb);
                self.respond(of, &waiting, response)
            }
            Verdict::Hold => {
                unit.held.push_back(waiting);
                Ok(())
            }
            Verdict::SwitchTo(group) => {
                self.orders += 1;
                let (id, to) = (OrderId(self.orders), if group == group_of(HeadId::A) { HeadId::A } else { HeadId::B });
                if let Some(portal) = self.portal(of) {
                    portal.unit.orders.insert(id, (waiting.nexus, waiting.task));
                }
                self.post(of, Event::Order { id, order: Order::Prefer(to) });
                Ok(())
            }
            Verdict::Io(_) if waiting.arrival < unit.serving_since => {
                self.respond(of, &waiting, Response::unit_attention(Attention::AccessStateChanged))
            }
            Verdict::Io(io) => self.begin(of, waiting, io),
            other @ (Verdict::Ask(_) | Verdict::Change(_) | Verdict::Copy(_)) => {
                Err(format!("no host asks for what becomes {other:?}"))
            }
        }
    }

    fn begin(&mut self, of: HeadId, waiting: Waiting, io: BlockIo) -> Result<(), String> {
        let operation = operation(&io.op)?;
        let Some(portal) = self.portal(of) else { return Ok(()) };
        portal.unit.last_key += 1;
        let key = portal.unit.last_key;
        portal.unit.underway.insert(key, (waiting, io));
        self.post(of, Event::Request(Request { op: OpId(SESSION_OPS + key), operation }));
        Ok(())
    }

    /// After what the head is just doing.
    fn post(&mut self, to: HeadId, event: Event<Marks>) {
        let life = self.slots[slot_of(to)].life;
        self.at(0, Entry::Deliver { to, life, event: Box::new(event) });
    }

    fn respond(&mut self, of: HeadId, waiting: &Waiting, response: Response) -> Result<(), String> {
        self.answer(of, waiting.nexus, waiting.task, response)
    }

    fn answer(&mut self, of: HeadId, nexus: NexusId, task: TaskId, response: Response) -> Result<(), String> {
        let Some(portal) = self.portal(of) else { return Ok(()) };
        if let Some(guest) = portal.connections.get_mut(&nexus) {
            guest.core.handle_response(task, response);
        }
        self.at(0, Entry::FlushTo { of, nexus });
        Ok(())
    }

    /// The head has ended a request of a host.
    pub(in crate::world) fn on_session_complete(
        &mut self,
        of: HeadId,
        op: OpId,
        outcome: Outcome<Marks>,
    ) -> Result<(), String> {
        let key = op.0 - SESSION_OPS;
        let Some((waiting, io)) = self.portal(of).and_then(|portal| portal.unit.underway.remove(&key)) else {
            return Ok(());
        };
        let pool = self.portal(of).map(|portal| portal.unit.pool.clone()).unwrap_or_default();
        let wanted = !self.is_ended(of, key)
            && self.portal(of).is_some_and(|portal| portal.connections.contains_key(&waiting.nexus));
        match response(&io, outcome, &pool) {
            Some(response) => self.respond(of, &waiting, response)?,
            None if wanted => self.present(of, waiting)?,
            // Presenting it again would execute it after its abort was answered.
            None => {}
        }
        self.on_ended(of, key)
    }

    /// End the tasks of a nexus, or one of them; those that have begun and are waited for.
    pub(super) fn end_tasks(&mut self, of: HeadId, nexus: NexusId, task: Option<TaskId>) -> BTreeSet<u64> {
        let hit = |waiting: &Waiting| waiting.nexus == nexus && task.is_none_or(|task| task == waiting.task);
        let Some(portal) = self.portal(of) else { return BTreeSet::new() };
        portal.unit.held.retain(|waiting| !hit(waiting));
        let left: BTreeSet<u64> =
            portal.unit.underway.iter().filter(|(_, (waiting, _))| hit(waiting)).map(|(key, _)| *key).collect();
        for key in &left {
            self.post(of, Event::Cancel(OpId(SESSION_OPS + key)));
        }
        left
    }

    /// What hosts are told of this head's role changes; what was held is presented again.
    pub(in crate::world) fn on_unit_access(&mut self, of: HeadId, access: Access) -> Result<(), String> {
        let (mine, theirs) = (group_of(of), group_of(of.other()));
        let Some(portal) = self.portal(of) else { return Ok(()) };
        let (access, active) = match access {
            Access::Serving => (UnitAccess::Serving, Some(mine)),
            Access::Forwarding => (UnitAccess::Forwarding, Some(theirs)),
            Access::Standby => (UnitAccess::Standby, Some(theirs)),
            Access::Changing => (UnitAccess::Changing, None),
            Access::Unavailable => (UnitAccess::Unavailable, None),
        };
        portal.unit.core.set_access(access, active);
        if matches!(access, UnitAccess::Serving | UnitAccess::Forwarding) {
            portal.mark += 1;
            portal.unit.serving_since = portal.mark;
        }
        if access != UnitAccess::Changing {
            let held = std::mem::take(&mut portal.unit.held);
            held.into_iter().try_for_each(|waiting| self.present(of, waiting))?;
        }
        Ok(())
    }

    pub(in crate::world) fn on_other_forwards(&mut self, of: HeadId, other_forwards: bool) {
        if let Some(portal) = self.portal(of) {
            portal.unit.core.set_other_forwards(other_forwards);
        }
    }

    pub(in crate::world) fn on_unit_blocks(&mut self, of: HeadId, blocks: u64) {
        if let Some(portal) = self.portal(of) {
            portal.unit.core.set_blocks(blocks);
        }
    }

    pub(in crate::world) fn on_order_done(&mut self, of: HeadId, id: OrderId, done: bool) -> Result<(), String> {
        let order = self.portal(of).and_then(|portal| portal.unit.orders.remove(&id));
        order.map_or(Ok(()), |(nexus, task)| self.answer(of, nexus, task, port_groups::switched(done)))
    }

    /// Nobody waits for ever.
    pub(super) fn give_up_holding(&mut self, of: HeadId) -> Result<(), String> {
        let now = self.now;
        loop {
            let Some(portal) = self.portal(of) else { return Ok(()) };
            let overdue = |waiting: &mut Waiting| now - waiting.since >= HOLD_MS;
            let Some(waiting) = portal.unit.held.pop_front_if(overdue) else { return Ok(()) };
            self.respond(of, &waiting, Response::status(Status::Busy))?;
        }
    }
}

/// What the head is asked for; hosts want nothing that takes more than one step.
fn operation(op: &BlockOp) -> Result<Operation<Marks>, String> {
    let extent = |lba: u64, data: &Marks| Extent::new(lba, data.blocks());
    Ok(match op {
        BlockOp::Read { lba, blocks } => Operation::Read(Extent::new(*lba, *blocks)),
        BlockOp::Map { lba, blocks, .. } => Operation::Map(Extent::new(*lba, *blocks)),
        BlockOp::Write { lba, data, fua } => {
            let data = written(data)?;
            Operation::Write { extent: extent(*lba, &data), data, fua: *fua }
        }
        BlockOp::Or { lba, data, fua } => {
            let data = written(data)?;
            Operation::Or { extent: extent(*lba, &data), data, fua: *fua }
        }
        BlockOp::CompareAndWrite { lba, data, fua } => {
            let data = written(data)?;
            Operation::CompareAndWrite { extent: Extent::new(*lba, data.blocks() / 2), data, fua: *fua }
        }
        BlockOp::Unmap { extents } => match extents[..] {
            [at] => {
                let extent = Extent::new(at.lba, at.blocks);
                Operation::Write { extent, data: Marks::Hole(at.blocks), fua: false }
            }
            _ => return Err(format!("no host asks for {op:?}")),
        },
        BlockOp::Flush { .. } => Operation::Flush,
        other => return Err(format!("no host asks for {other:?}")),
    })
}

/// The answer to a command; `None`: present it again.
fn response(io: &BlockIo, outcome: Outcome<Marks>, pool: &Pool) -> Option<Response> {
    let result: Result<Vec<Payload>, ScsiError> = match outcome {
        Outcome::Map(found) => return Some(block::finish_map(io, found.blocks, found.mapped)),
        Outcome::Done => Ok(Vec::new()),
        Outcome::Data(parts) => Ok(parts.iter().map(|part| to_payload(pool, part)).collect()),
        Outcome::NotServing | Outcome::Answer(_) => return None,
        Outcome::Miscompare(offset) => Err(ScsiError::Miscompare { offset }),
        Outcome::Failed(IoError::Medium) => Err(ScsiError::Medium { lba: None }),
        Outcome::Failed(IoError::NoSpace) => Err(ScsiError::NoSpace),
        Outcome::Failed(IoError::Fenced | IoError::Path) => Err(ScsiError::Aborted),
    };
    Some(block::finish(io, result))
}
