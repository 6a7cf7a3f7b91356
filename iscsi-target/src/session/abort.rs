//! Ending tasks: task management functions (RFC 7143 11.5, 11.6), and tasks that others have ended.
//!
//! Tasks that are still collecting data end here, at once: a logical unit never sees them. For those that the daemon has
//! the function is passed on, and they are forgotten when the daemon says that it is complete; answers that it gives
//! later are dropped.

use super::event::{CloseReason, Event, TaskId, TaskManagementEvent, TaskManagementFunction, TaskManagementId};
use super::full_feature::{FullFeature, Io};
use super::limits::MAX_TASK_MANAGEMENT;
use super::task::{Task, TaskStage};
use crate::pdu::task_mgmt::{Function, FunctionResponse, TaskManagementRequest, TaskManagementResponse};
use crate::pdu::{Itt, Numbers, Response};

/// A function that the daemon has not yet completed.
#[derive(Debug)]
pub(super) struct PendingFunction {
    id: TaskManagementId,
    itt: Itt,
    scope: Scope,
}

/// Which tasks of this connection a function ends.
#[derive(Clone, Copy, Debug)]
enum Scope {
    Task(TaskId),
    LogicalUnit(u64),
    All,
}

impl Scope {
    fn covers(self, task: &Task) -> bool {
        match self {
            Self::Task(id) => task.id == id,
            Self::LogicalUnit(lun) => task.lun == lun,
            Self::All => true,
        }
    }
}

impl FullFeature {
    pub(super) fn on_task_management(
        &mut self,
        request: &TaskManagementRequest,
        io: &mut Io,
    ) -> Result<(), CloseReason> {
        if !io.admit(request.immediate, request.cmd_sn)? {
            return Ok(());
        }
        if self.functions.len() >= MAX_TASK_MANAGEMENT {
            respond(request.itt, FunctionResponse::Rejected, io);
            return Ok(());
        }
        let lun = request.lun;
        let (function, scope) = match request.function {
            Function::AbortTask => match self.find_task(request, io) {
                Ok(task) => (TaskManagementFunction::AbortTask { lun, task }, Scope::Task(task)),
                Err(response) => {
                    respond(request.itt, response, io);
                    return Ok(());
                }
            },
            Function::AbortTaskSet => (TaskManagementFunction::AbortTaskSet { lun }, Scope::LogicalUnit(lun)),
            Function::ClearTaskSet => (TaskManagementFunction::ClearTaskSet { lun }, Scope::LogicalUnit(lun)),
            Function::LogicalUnitReset => (TaskManagementFunction::LogicalUnitReset { lun }, Scope::LogicalUnit(lun)),
            Function::TargetWarmReset => (TaskManagementFunction::TargetWarmReset, Scope::All),
            Function::TargetColdReset => (TaskManagementFunction::TargetColdReset, Scope::All),
            Function::TaskReassign => {
                respond(request.itt, FunctionResponse::ReassignmentNotSupported, io);
                return Ok(());
            }
            Function::ClearAca | Function::Other(_) => {
                respond(request.itt, FunctionResponse::NotSupported, io);
                return Ok(());
            }
        };
        self.forget(|task| scope.covers(task) && matches!(task.stage, TaskStage::Collecting(_)), io);
        let id = TaskManagementId(self.take_serial());
        self.functions.push(PendingFunction { id, itt: request.itt, scope });
        io.events.push_back(Event::TaskManagement(TaskManagementEvent { id, function, arrival: io.arrival }));
        Ok(())
    }

    /// The daemon has dealt with a function.
    pub(super) fn handle_task_management_done(
        &mut self,
        id: TaskManagementId,
        response: FunctionResponse,
        io: &mut Io,
    ) {
        let Some(at) = self.functions.iter().position(|function| function.id == id) else {
            return;
        };
        let function = self.functions.remove(at);
        let response = match function.scope {
            // Both an answer of the task and a successful abort would be one too many.
            Scope::Task(task) if !self.has_task(task) => FunctionResponse::TaskDoesNotExist,
            _ => response,
        };
        if response == FunctionResponse::Complete {
            // Tasks that came after the function are not its business.
            self.forget(|task| function.scope.covers(task) && task.id.serial < id.0, io);
        }
        respond(function.itt, response, io);
    }

    /// Others have ended all tasks on a logical unit, or on all of them: they are not answered.
    pub(super) fn handle_tasks_aborted(&mut self, lun: Option<u64>, io: &mut Io) {
        let scope = lun.map_or(Scope::All, Scope::LogicalUnit);
        self.forget(|task| scope.covers(task), io);
    }

    /// Others have ended this task: it is not answered.
    pub(super) fn handle_task_aborted(&mut self, id: TaskId, io: &mut Io) {
        self.forget(|task| task.id == id, io);
    }

    /// The task that an ABORT TASK names and that the daemon has to end, or the answer (RFC 7143 11.6.1).
    fn find_task(&mut self, request: &TaskManagementRequest, io: &mut Io) -> Result<TaskId, FunctionResponse> {
        match self.tasks.get(&request.referenced_task_tag) {
            Some(Task { id, stage: TaskStage::Issued { .. }, .. }) => Ok(*id),
            Some(Task { id, stage: TaskStage::Collecting(_), .. }) => {
                let id = *id;
                self.forget(|task| task.id == id, io);
                Err(FunctionResponse::Complete)
            }
            // A command that has not come, and now never will, counts as aborted.
            None if io.outbox.window.count_as_received(request.ref_cmd_sn, request.cmd_sn) => {
                Err(FunctionResponse::Complete)
            }
            None => Err(FunctionResponse::TaskDoesNotExist),
        }
    }

    fn has_task(&self, id: TaskId) -> bool {
        self.tasks.get(&id.itt).is_some_and(|task| task.id == id)
    }

    fn forget(&mut self, mut is_forgotten: impl FnMut(&Task) -> bool, io: &mut Io) {
        self.tasks.retain(|itt, task| {
            let goes = is_forgotten(task);
            if goes {
                io.outbox.window.ended(task.charge);
                io.outbox.forget_solicitations(*itt);
            }
            !goes
        });
    }
}

fn respond(itt: Itt, response: FunctionResponse, io: &mut Io) {
    let answer = TaskManagementResponse { response, itt, numbers: Numbers::default() };
    io.outbox.push(Response::TaskManagement(answer), Vec::new());
}
