//! What operators and clients want of the unit as a whole: another owner, more room, an end of waiting.

use sas_backend::HeadId;

use super::event::{Access, Action, Order, OrderId};
use super::takeover::Takeover;
use super::{Core, Head, Next, Role};
use crate::block::{Data, Millis};

/// An order that could not be carried out by then is answered with the reason.
const ORDER_MS: u64 = 8_000;
/// For so long after the unit has moved no client moves it again.
const HOLD_DOWN_MS: u64 = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingOrder {
    id: OrderId,
    pub(super) to: HeadId,
    deadline: Millis,
    pub(super) asked_at: Option<Millis>,
}

impl<D: Data> Head<D> {
    pub(super) fn on_order(&mut self, id: OrderId, order: Order) -> Option<Next<D>> {
        let core = &mut self.core;
        match order {
            Order::Own(to) | Order::Prefer(to) if core.stopping && to == core.config.me => {
                core.actions.push_back(Action::OrderDone { id, result: Err(format!("head {to} is stopping")) });
                None
            }
            Order::Prefer(to) if core.has_just_moved() && owner_of(&self.role, core) != Some(to) => {
                let why = format!("the unit has moved less than {HOLD_DOWN_MS} ms ago");
                core.actions.push_back(Action::OrderDone { id, result: Err(why) });
                None
            }
            Order::Own(to) | Order::Prefer(to) => {
                core.orders.push(PendingOrder { id, to, deadline: core.now.after(ORDER_MS), asked_at: None });
                None
            }
            Order::Grow => {
                let refused = match &self.role {
                    _ if core.stopping => Some(format!("head {} is stopping", core.config.me)),
                    Role::Owner(_) => None,
                    _ if core.peer_owner() => {
                        Some(format!("head {0} owns the unit: order it at head {0}", core.config.me.other()))
                    }
                    _ => Some(format!("nobody serves the unit now: {}", core.reason)),
                };
                match refused {
                    Some(why) => core.actions.push_back(Action::OrderDone { id, result: Err(why) }),
                    None => core.growth_orders.push((id, core.now.after(ORDER_MS))),
                }
                None
            }
            Order::AcceptLoss => {
                let result = match &self.role {
                    Role::Standby(_) if core.access == Some(Access::Unavailable) => Ok(()),
                    _ => Err(format!("nothing to accept: {}", core.reason)),
                };
                let accepted = result.is_ok();
                core.actions.push_back(Action::OrderDone { id, result });
                accepted.then(|| Next::TakeOver {
                    takeover: Takeover::accepting_loss(core),
                    why: "an operator accepted the loss".to_owned(),
                })
            }
        }
    }

    pub(super) fn settle_orders(&mut self) {
        let core = &mut self.core;
        if let Role::Owner(owner) = &mut self.role {
            owner.end_overdue_growth_orders(core);
        }
        if core.orders.is_empty() {
            return;
        }
        let owner = owner_of(&self.role, core);
        let (now, reason) = (core.now, &core.reason);
        let actions = &mut core.actions;
        core.orders.retain(|order| {
            let result = if owner == Some(order.to) {
                Ok(())
            } else if now >= order.deadline {
                Err(format!("head {} did not become the owner in time: {reason}", order.to))
            } else {
                return true;
            };
            actions.push_back(Action::OrderDone { id: order.id, result });
            false
        });
    }
}

impl<D: Data> Core<D> {
    /// Whether a client that wants the unit elsewhere is to wait. Without the other head there is no to and fro.
    fn has_just_moved(&self) -> bool {
        self.peer.is_some() && self.moved_at.is_some_and(|moved| self.now.since(moved) < HOLD_DOWN_MS)
    }

    pub(super) fn end_growth_orders(&mut self, result: &Result<(), String>) {
        for (id, _) in std::mem::take(&mut self.growth_orders) {
            self.actions.push_back(Action::OrderDone { id, result: result.clone() });
        }
    }
}

/// Who serves, as far as this head knows.
fn owner_of<D: Data>(role: &Role<D>, core: &Core<D>) -> Option<HeadId> {
    match role {
        Role::Owner(owner) if owner.serves() => Some(core.config.me),
        _ => core.peer_owner().then(|| core.config.me.other()),
    }
}
