//! Unit attention conditions of one nexus (SAM-5 5.14).

use crate::scsi::sense::{SenseCode, SenseKey};

/// Something that a nexus must be told before its next command is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attention {
    /// 28/00: the medium is there (again), and may be another one.
    MediumMayHaveChanged,
    /// 29/00: a new nexus, or this head lost what it knew of it.
    PowerOn,
    /// 29/03: a LOGICAL UNIT RESET.
    Reset,
    /// 29/07: the nexus was lost.
    NexusLoss,
    /// 2A/01: mode parameters changed.
    ModeParametersChanged,
    /// 2A/03: somebody cleared all registrations.
    ReservationsPreempted,
    /// 2A/04: the reservation is gone.
    ReservationsReleased,
    /// 2A/05: somebody removed this nexus' registration.
    RegistrationsPreempted,
    /// 2A/06: the access state of a target port group changed.
    AccessStateChanged,
    /// 2A/09: the capacity changed.
    CapacityChanged,
    /// 2F/00: commands were cleared by another initiator.
    CommandsCleared,
    /// 3F/0E: the list of logical units changed.
    ReportedLunsChanged,
}

impl Attention {
    /// As sense data says it.
    #[must_use]
    pub const fn code(self) -> SenseCode {
        let (asc, ascq) = match self {
            Self::MediumMayHaveChanged => (0x28, 0x00),
            Self::PowerOn => (0x29, 0x00),
            Self::Reset => (0x29, 0x03),
            Self::NexusLoss => (0x29, 0x07),
            Self::ModeParametersChanged => (0x2A, 0x01),
            Self::ReservationsPreempted => (0x2A, 0x03),
            Self::ReservationsReleased => (0x2A, 0x04),
            Self::RegistrationsPreempted => (0x2A, 0x05),
            Self::AccessStateChanged => (0x2A, 0x06),
            Self::CapacityChanged => (0x2A, 0x09),
            Self::CommandsCleared => (0x2F, 0x00),
            Self::ReportedLunsChanged => (0x3F, 0x0E),
        };
        SenseCode { key: SenseKey::UnitAttention, asc, ascq }
    }
}

/// Attentions that wait for one nexus, first come first told. Each kind waits once, which bounds the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attentions(Vec<Attention>);

impl Attentions {
    /// Add one, unless it waits already.
    pub fn raise(&mut self, attention: Attention) {
        if !self.0.contains(&attention) {
            self.0.push(attention);
        }
    }

    /// Take the one that has waited longest.
    pub fn take(&mut self) -> Option<Attention> {
        if self.0.is_empty() { None } else { Some(self.0.remove(0)) }
    }

    /// Forget one that the initiator has learnt of in another way.
    pub fn forget(&mut self, attention: Attention) {
        self.0.retain(|waiting| *waiting != attention);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_merge_and_order_stays() {
        let mut waiting = Attentions::default();
        for attention in [Attention::PowerOn, Attention::Reset, Attention::PowerOn, Attention::AccessStateChanged] {
            waiting.raise(attention);
        }
        waiting.forget(Attention::Reset);
        assert_eq!(waiting.take(), Some(Attention::PowerOn));
        assert_eq!(waiting.take(), Some(Attention::AccessStateChanged));
        assert_eq!(waiting.take(), None);
    }
}
