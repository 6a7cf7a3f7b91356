//! SANITIZE (SBC-3 4.11, SBC-4 5.32): everything on the medium is made unreadable, and until that is done the unit does
//! little else. What is under way is part of the state that both heads and the disk keep, so a new owner goes on with it.
//!
//! | OVERWRITE | |
//! | --- | --- |
//! | 0 | INVERT (bit 7), TEST (bits 5 and 6), OVERWRITE COUNT (bits 0 to 4) |
//! | 2 to 3 | INITIALIZATION PATTERN LENGTH |
//! | from 4 on | INITIALIZATION PATTERN |
//!
//! CRYPTOGRAPHIC ERASE is for whoever wants nothing to be left that any key could read. Units have no keys here, so it does
//! that by writing zeroes over everything.

use alua::CommandClass;
use nom::IResult;
use nom::number::complete::{be_u8, be_u16};

use crate::scsi::opcodes::{Row, SANITIZE};
use crate::scsi::reservation::Nexus;
use crate::scsi::sense::{Sense, SenseCode};

/// SERVICE ACTION of OVERWRITE.
const OVERWRITE: u8 = 0x01;
/// SERVICE ACTION of BLOCK ERASE, which a unit has if blocks can be unmapped.
pub const BLOCK_ERASE: u8 = 0x02;
/// SERVICE ACTION of CRYPTOGRAPHIC ERASE.
const CRYPTOGRAPHIC_ERASE: u8 = 0x03;
/// SERVICE ACTION of EXIT FAILURE MODE.
pub const EXIT_FAILURE_MODE: u8 = 0x1F;
/// Where the CDB has its PARAMETER LIST LENGTH.
const LENGTH_FIELD: u16 = 7;
/// Bytes of the parameter list of OVERWRITE before the pattern.
const HEADER_BYTES: usize = 4;
/// INVERT.
const INVERT: u8 = 0x80;
/// TEST.
const TEST: u8 = 0x60;
/// OVERWRITE COUNT.
const COUNT: u8 = 0x1F;

/// How.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// With a pattern.
    Overwrite(Overwrite),
    /// All blocks are unmapped.
    BlockErase,
    /// See the module.
    CryptographicErase,
}

/// See [`Method`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwrite {
    /// INITIALIZATION PATTERN, repeated until a block is full: 1 byte to a block.
    pub pattern: Vec<u8>,
    /// OVERWRITE COUNT: 1 to 31.
    pub passes: u8,
    /// INVERT: each pass writes the inversion of what the next one writes.
    pub invert: bool,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Complete passes.
    pub pass: u8,
    /// Blocks of the present one.
    pub lba: u64,
}

/// An operation that has begun and has not come to a good end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sanitize {
    /// Who wanted it.
    pub by: Nexus,
    /// How.
    pub method: Method,
    /// AUSE: EXIT FAILURE MODE ends it once it has failed.
    pub unrestricted: bool,
    /// How far it is; `None`: it has failed.
    pub place: Option<Place>,
}

/// What an initiator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Everything is made unreadable.
    Begin {
        /// How.
        method: Method,
        /// AUSE.
        unrestricted: bool,
    },
    /// A failure is forgotten.
    ExitFailureMode,
}

/// What whoever carries the operation out has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is so far.
    At(Place),
    /// It is done.
    Done,
    /// It cannot be done.
    Failed,
}

/// Read a command: `length` is the PARAMETER LIST LENGTH, `data` what was sent.
///
/// # Errors
/// PARAMETER LIST LENGTH ERROR, INVALID FIELD IN CDB or IN PARAMETER LIST.
pub fn parse(
    action: u8,
    unrestricted: bool,
    length: u16,
    data: Option<&[u8]>,
    block_bytes: u32,
) -> Result<Request, Sense> {
    let length = usize::from(length);
    let most = HEADER_BYTES + usize::try_from(block_bytes).unwrap_or(usize::MAX - HEADER_BYTES);
    let is_right = if action == OVERWRITE { (HEADER_BYTES + 1..=most).contains(&length) } else { length == 0 };
    if !is_right {
        return Err(Sense::invalid_cdb(LENGTH_FIELD, Some(7)));
    }
    let method = match action {
        OVERWRITE => {
            let list = data.unwrap_or_default().get(..length).ok_or(SenseCode::PARAMETER_LIST_LENGTH_ERROR)?;
            Method::Overwrite(overwrite(list)?)
        }
        BLOCK_ERASE => Method::BlockErase,
        CRYPTOGRAPHIC_ERASE => Method::CryptographicErase,
        EXIT_FAILURE_MODE => return Ok(Request::ExitFailureMode),
        _ => return Err(Sense::invalid_cdb(1, Some(4))),
    };
    Ok(Request::Begin { method, unrestricted })
}

fn overwrite(list: &[u8]) -> Result<Overwrite, Sense> {
    let (pattern, (flags, length)) = header(list).map_err(|_| Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR))?;
    let passes = flags & COUNT;
    if flags & TEST != 0 || passes == 0 {
        return Err(Sense::invalid_parameter(0));
    }
    if usize::from(length) != pattern.len() || pattern.is_empty() {
        return Err(Sense::invalid_parameter(2));
    }
    Ok(Overwrite { pattern: pattern.to_vec(), passes, invert: flags & INVERT != 0 })
}

fn header(list: &[u8]) -> IResult<&[u8], (u8, u16)> {
    let (rest, flags) = be_u8(list)?;
    let (rest, _) = be_u8(rest)?;
    let (rest, length) = be_u16(rest)?;
    Ok((rest, (flags, length)))
}

/// The operation after somebody's wish, if there is one then.
///
/// # Errors
/// Why nothing changes.
pub fn requested(now: Option<&Sanitize>, by: &Nexus, request: &Request) -> Result<Option<Sanitize>, Sense> {
    if let Some(running) = now.filter(|now| now.place.is_some()) {
        return Err(running.sense(0));
    }
    let was_restricted = now.is_some_and(|failed| !failed.unrestricted);
    match request {
        Request::Begin { unrestricted: true, .. } if was_restricted => Err(Sense::invalid_cdb(1, Some(5))),
        Request::ExitFailureMode if was_restricted => Err(Sense::invalid_cdb(1, Some(4))),
        Request::ExitFailureMode => Ok(None),
        Request::Begin { method, unrestricted } => Ok(Some(Sanitize {
            by: by.clone(),
            method: method.clone(),
            unrestricted: *unrestricted,
            place: Some(Place { pass: 0, lba: 0 }),
        })),
    }
}

impl Sanitize {
    /// The operation after `report`, if there is one then.
    #[must_use]
    pub fn after(&self, report: Report) -> Option<Self> {
        let place = match (report, self.place) {
            (Report::Done, _) => return None,
            (Report::Failed, _) | (_, None) => None,
            (Report::At(place), Some(_)) => Some(place),
        };
        Some(Self { place, ..self.clone() })
    }

    /// What a command of this row is refused with.
    #[must_use]
    pub fn refuses(&self, row: &Row, blocks: u64) -> Option<Sense> {
        let is_let_in = match row.class {
            CommandClass::Identity | CommandClass::PortGroups => true,
            CommandClass::Configuration | CommandClass::Medium => row.opcode() == SANITIZE && self.place.is_none(),
        };
        (!is_let_in).then(|| self.sense(blocks))
    }

    /// What REQUEST SENSE says of it, on a unit of so many blocks.
    #[must_use]
    pub fn sense(&self, blocks: u64) -> Sense {
        let progress = self.progress(blocks);
        let code =
            if self.place.is_some() { SenseCode::SANITIZE_IN_PROGRESS } else { SenseCode::SANITIZE_COMMAND_FAILED };
        Sense { progress, ..code.into() }
    }

    /// PROGRESS INDICATION: 65536ths.
    #[must_use]
    pub fn progress(&self, blocks: u64) -> Option<u16> {
        let Place { pass, lba } = self.place?;
        let all = u128::from(self.method.passes()) * u128::from(blocks);
        let done = u128::from(pass) * u128::from(blocks) + u128::from(lba);
        u16::try_from((done << 16).checked_div(all)?.min(u16::MAX.into())).ok()
    }
}

impl Method {
    /// How often all of the medium is written.
    #[must_use]
    pub const fn passes(&self) -> u8 {
        match self {
            Self::Overwrite(overwrite) => overwrite.passes,
            Self::BlockErase | Self::CryptographicErase => 1,
        }
    }

    /// What fills the blocks of a pass, counted from 0, over and over from the beginning of each block; `None` if they are
    /// unmapped.
    #[must_use]
    pub fn filling(&self, pass: u8) -> Option<Vec<u8>> {
        match self {
            Self::BlockErase => None,
            Self::CryptographicErase => Some(vec![0]),
            Self::Overwrite(Overwrite { pattern, passes, invert }) => {
                // The last pass writes the pattern as it is.
                let is_inverted = *invert && passes.abs_diff(pass) % 2 == 0;
                Some(pattern.iter().map(|byte| if is_inverted { !byte } else { *byte }).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::InitiatorPort;
    use crate::scsi::opcodes::TABLE;

    fn nexus() -> Nexus {
        Nexus { initiator: InitiatorPort { name: "a".to_owned(), isid: [0; 6] }, relative_port: 1 }
    }

    fn begun(unrestricted: bool) -> Sanitize {
        let request = Request::Begin { method: Method::CryptographicErase, unrestricted };
        requested(None, &nexus(), &request).unwrap().unwrap()
    }

    #[test]
    fn parameter_lists_as_a_table() {
        let at_parameter = Sense::invalid_parameter;
        let length_in_cdb = Sense::invalid_cdb(7, Some(7));
        let overwrite = |pattern: &[u8], passes, invert| {
            Ok(Method::Overwrite(Overwrite { pattern: pattern.to_vec(), passes, invert }))
        };
        for (action, length, data, expected) in [
            (1, 5, &[1, 0, 0, 1, 0xAA][..], overwrite(&[0xAA], 1, false)),
            (1, 6, &[0x9F, 0, 0, 2, 1, 2, 99], overwrite(&[1, 2], 31, true)),
            (1, 4, &[1, 0, 0, 0], Err(length_in_cdb)),
            (1, 517, &[1; 517], Err(length_in_cdb)),
            (1, 5, &[1, 0, 0, 1], Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into())),
            (1, 5, &[0, 0, 0, 1, 0xAA], Err(at_parameter(0))),
            (1, 5, &[0x21, 0, 0, 1, 0xAA], Err(at_parameter(0))),
            (1, 5, &[1, 0, 0, 0, 0xAA], Err(at_parameter(2))),
            (1, 5, &[1, 0, 0, 2, 0xAA], Err(at_parameter(2))),
            (2, 0, &[], Ok(Method::BlockErase)),
            (2, 8, &[0; 8], Err(length_in_cdb)),
            (3, 0, &[], Ok(Method::CryptographicErase)),
            (4, 0, &[], Err(Sense::invalid_cdb(1, Some(4)))),
        ] {
            let expected = expected.map(|method| Request::Begin { method, unrestricted: true });
            assert_eq!(parse(action, true, length, Some(data), 512), expected, "{action} {data:?}");
        }
        assert_eq!(parse(0x1F, false, 0, None, 512), Ok(Request::ExitFailureMode));
        assert_eq!(parse(0x1F, false, 8, Some(&[0; 8]), 512), Err(length_in_cdb));
    }

    #[test]
    fn passes_alternate_and_the_last_one_writes_the_pattern() {
        for (passes, invert, first_bytes) in
            [(1, true, vec![5]), (2, true, vec![!5, 5]), (3, true, vec![5, !5, 5]), (3, false, vec![5, 5, 5])]
        {
            let method = Method::Overwrite(Overwrite { pattern: vec![5, 6], passes, invert });
            let filled: Vec<u8> = (0..passes).map(|pass| method.filling(pass).unwrap()[0]).collect();
            assert_eq!(filled, first_bytes);
        }
        assert_eq!(Method::BlockErase.filling(0), None);
    }

    #[test]
    fn a_failure_is_left_by_another_operation_or_if_it_was_allowed_by_its_end() {
        let request = |unrestricted| Request::Begin { method: Method::BlockErase, unrestricted };
        for unrestricted in [false, true] {
            let running = begun(unrestricted);
            for wish in [request(false), request(true), Request::ExitFailureMode] {
                let in_progress = SenseCode::SANITIZE_IN_PROGRESS;
                assert_eq!(requested(Some(&running), &nexus(), &wish).unwrap_err().code, in_progress);
            }
            let failed = running.after(Report::Failed).unwrap();
            assert_eq!(failed.after(Report::At(Place { pass: 0, lba: 1 })), Some(failed.clone()), "it stays so");
            assert!(requested(Some(&failed), &nexus(), &request(false)).unwrap().is_some());
            assert_eq!(requested(Some(&failed), &nexus(), &request(true)).is_ok(), unrestricted);
            assert_eq!(requested(Some(&failed), &nexus(), &Request::ExitFailureMode).is_ok(), unrestricted);
        }
        assert_eq!(requested(None, &nexus(), &Request::ExitFailureMode), Ok(None), "there is none");
        assert_eq!(begun(false).after(Report::Done), None);
    }

    #[test]
    fn what_is_let_in() {
        let running = begun(false);
        let failed = running.after(Report::Failed).unwrap();
        let let_in = |operation: &Sanitize| -> Vec<&str> {
            TABLE.iter().filter(|row| operation.refuses(row, 8).is_none()).map(|row| row.name).collect()
        };
        let always = ["REQUEST SENSE", "INQUIRY", "REPORT LUNS", "REPORT TARGET PORT GROUPS", "SET TARGET PORT GROUPS"];
        assert_eq!(let_in(&running), always);
        let of_failed = let_in(&failed);
        assert!(always.iter().all(|name| of_failed.contains(name)));
        let others: Vec<_> = of_failed.iter().filter(|name| !always.contains(name)).collect();
        assert_eq!(others.len(), 4);
        assert!(others.iter().all(|name| name.starts_with("SANITIZE")), "{others:?}");
        let read = TABLE.iter().find(|row| row.name == "READ(10)").unwrap();
        assert_eq!(failed.refuses(read, 8).unwrap().code, SenseCode::SANITIZE_COMMAND_FAILED);
    }

    #[test]
    fn progress_counts_all_passes() {
        let overwrite = Overwrite { pattern: vec![0], passes: 4, invert: false };
        let at = |pass, lba| {
            let place = Some(Place { pass, lba });
            Sanitize { method: Method::Overwrite(overwrite.clone()), place, ..begun(false) }.sense(100).progress
        };
        assert_eq!([at(0, 0), at(1, 0), at(2, 50), at(4, 0)], [Some(0), Some(0x4000), Some(0xA000), Some(u16::MAX)]);
        assert_eq!(begun(false).sense(0).progress, None, "a unit without blocks");
        assert_eq!(begun(false).after(Report::Failed).unwrap().sense(100).progress, None);
    }
}
