//! What each access state lets through (SPC-4 5.15.2.4), as a table.

use crate::state::AccessState;

/// Commands that every access state treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandClass {
    /// Who is there: INQUIRY, REPORT LUNS, REQUEST SENSE.
    Identity,
    /// REPORT and SET TARGET PORT GROUPS.
    PortGroups,
    /// What it is like and whether it is there: TEST UNIT READY, capacity, mode pages, supported commands, reservations in
    /// force. SPC-4 5.15.2.4.5 lets a standby path answer more than it must. TEST UNIT READY is among these because
    /// libiscsi, and QEMU with it, gives up on a portal where it fails; what a path is good for, REPORT TARGET PORT
    /// GROUPS says.
    Configuration,
    /// Whatever needs the medium.
    Medium,
}

impl CommandClass {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Identity, Self::PortGroups, Self::Configuration, Self::Medium];
}

/// NOT READY with these additional sense codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NotReady {
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
}

/// LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE.
const STANDBY: NotReady = NotReady { asc: 0x04, ascq: 0x0B };
/// LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE.
const UNAVAILABLE: NotReady = NotReady { asc: 0x04, ascq: 0x0C };
/// LOGICAL UNIT NOT READY, OFFLINE.
const OFFLINE: NotReady = NotReady { asc: 0x04, ascq: 0x12 };

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// It is executed.
    Allow,
    /// It is refused.
    Refuse(NotReady),
    /// It waits until the state has changed. Clients bear a pause of a second far better than the sense data
    /// "asymmetric access state transition", which costs Linux a second per retry.
    Hold,
}

/// What `state` does to commands of `class`.
///
/// SPC-4 asks of standby and unavailable a minimum only. Standby answers all that describes the unit, so that a client
/// can set up the path before it needs it; a unit that is unavailable may not know any of that for sure.
#[must_use]
pub const fn gate(state: AccessState, class: CommandClass) -> Gate {
    use AccessState as S;
    use CommandClass as C;
    match (state, class) {
        (S::ActiveOptimized | S::ActiveNonOptimized | S::LbaDependent, _)
        | (_, C::Identity)
        | (S::Standby, C::PortGroups | C::Configuration)
        | (S::Unavailable, C::PortGroups) => Gate::Allow,
        (S::Standby, C::Medium) => Gate::Refuse(STANDBY),
        (S::Unavailable, C::Configuration | C::Medium) => Gate::Refuse(UNAVAILABLE),
        (S::Offline, C::PortGroups | C::Configuration | C::Medium) => Gate::Refuse(OFFLINE),
        (S::Transitioning, C::PortGroups | C::Configuration | C::Medium) => Gate::Hold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn the_table() {
        let mut table = String::new();
        for state in AccessState::ALL {
            write!(table, "{state:<21}").unwrap();
            for class in CommandClass::ALL {
                let cell = match gate(state, class) {
                    Gate::Allow => "allow".to_owned(),
                    Gate::Refuse(NotReady { asc, ascq }) => format!("02/{asc:02X}/{ascq:02X}"),
                    Gate::Hold => "hold".to_owned(),
                };
                write!(table, "{cell:<9}").unwrap();
            }
            table.push('\n');
        }
        // Columns: identity, port groups, configuration, medium.
        let expected = "\
            active/optimized     allow    allow    allow    allow    \n\
            active/non-optimized allow    allow    allow    allow    \n\
            standby              allow    allow    allow    02/04/0B \n\
            unavailable          allow    allow    02/04/0C 02/04/0C \n\
            LBA dependent        allow    allow    allow    allow    \n\
            offline              allow    02/04/12 02/04/12 02/04/12 \n\
            transitioning        allow    hold     hold     hold     \n";
        assert_eq!(table, expected, "\n{table}");
    }
}
