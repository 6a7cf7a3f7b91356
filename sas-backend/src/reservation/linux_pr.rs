//! Persistent reservations of a block device, through the kernel: SCSI, NVMe and dm-multipath alike.
//!
//! What to know about linux/pr.h:
//! * In `pr_preempt`, `old_key` is the caller's own key and `new_key` the victim's: the SCSI disk driver sends them as
//!   RESERVATION KEY and SERVICE ACTION RESERVATION KEY (SPC-4 6.16).
//! * A refusal by the device is a positive return value, not an errno.
//! * The types have numbers of their own: Exclusive Access, Registrants Only is 4 (SCSI: 6).
//! * Reading keys and reservation is recent (6.19); before, a SCSI disk can be asked by SG_IO, an NVMe one cannot.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nom::IResult;
use nom::bytes::complete::take;
use nom::number::complete::{be_u32, be_u64};

use super::{Key, ReservationError, Reservations};
use crate::file::DiskFile;
use crate::ioctl::{self, PrPreempt, PrRegistration, PrReservation};

const EXCLUSIVE_ACCESS_REGISTRANTS_ONLY: u32 = 4;
const IGNORE_KEY: u32 = 1;
/// Two heads with a few paths each, and whatever else somebody registered.
const KEYS_MAX: usize = 128;

/// PERSISTENT RESERVE IN (SPC-4 6.15).
const PERSISTENT_RESERVE_IN: u8 = 0x5e;
const READ_KEYS: u8 = 0;
const READ_RESERVATION: u8 = 1;
/// Header and keys.
const PARAMETER_BYTES: u16 = 8 + 8 * 128;

/// The reservations of one block device, for one head.
#[derive(Debug)]
pub(crate) struct LinuxPr {
    file: Arc<DiskFile>,
    key: Option<Key>,
}

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Good,
    Conflict,
    Unsupported,
    Failed(String),
}

impl LinuxPr {
    /// `key`: what this head has registered with before.
    pub(crate) fn new(file: Arc<DiskFile>, key: Option<Key>) -> Self {
        Self { file, key }
    }

    fn own_key(&self) -> Result<Key, ReservationError> {
        self.key.ok_or(ReservationError::Fenced)
    }

    /// Why a command of ours was refused: it may be us, or the victim.
    fn explain_conflict(&mut self, victim: Option<Key>) -> ReservationError {
        match self.keys() {
            Err(error) => error,
            Ok(keys) if !self.key.is_some_and(|key| keys.contains(&key)) => ReservationError::Fenced,
            Ok(keys) => match victim {
                Some(victim) if !keys.contains(&victim) => ReservationError::NoSuchKey(victim),
                _ => ReservationError::HeldByOther,
            },
        }
    }

    fn keys_by_scsi(&self) -> Result<Vec<Key>, ReservationError> {
        let data = self.persistent_reserve_in(READ_KEYS)?;
        parse_keys(&data).map(|(_, keys)| keys).map_err(|_| malformed())
    }

    fn holder_by_scsi(&self) -> Result<Option<Key>, ReservationError> {
        let data = self.persistent_reserve_in(READ_RESERVATION)?;
        parse_holder(&data).map(|(_, holder)| holder).map_err(|_| malformed())
    }

    fn persistent_reserve_in(&self, service_action: u8) -> Result<Vec<u8>, ReservationError> {
        let mut data = vec![0; usize::from(PARAMETER_BYTES)];
        let [high, low] = PARAMETER_BYTES.to_be_bytes();
        let mut cdb = [PERSISTENT_RESERVE_IN, service_action, 0, 0, 0, 0, 0, high, low, 0];
        let status = ioctl::scsi_read(self.file.as_fd(), &mut cdb, &mut data).map(i32::from);
        settle(outcome(status), || ReservationError::Fenced)?;
        Ok(data)
    }
}

impl Reservations for LinuxPr {
    fn register(&mut self, key: Key) -> Result<(), ReservationError> {
        let command = PrRegistration { new_key: key.0, flags: IGNORE_KEY, ..PrRegistration::default() };
        let answer = outcome(ioctl::pr_register(self.file.as_fd(), &command));
        settle(answer, || ReservationError::HeldByOther)?;
        self.key = Some(key);
        Ok(())
    }

    fn change_key(&mut self, key: Key) -> Result<(), ReservationError> {
        let old_key = self.own_key()?.0;
        let command = PrRegistration { old_key, new_key: key.0, ..PrRegistration::default() };
        let answer = outcome(ioctl::pr_register(self.file.as_fd(), &command));
        settle(answer, || ReservationError::Fenced)?;
        self.key = Some(key);
        Ok(())
    }

    fn keys(&mut self) -> Result<Vec<Key>, ReservationError> {
        let mut keys = [0; KEYS_MAX];
        match ioctl::pr_read_keys(self.file.as_fd(), &mut keys) {
            Ok((0, count)) => Ok(keys.into_iter().take(count).map(Key).collect()),
            Err(errno) if outcome(Err(errno)) == Outcome::Unsupported => self.keys_by_scsi(),
            answer => {
                settle(outcome(answer.map(|(status, _)| status)), || ReservationError::Fenced)?;
                Err(malformed())
            }
        }
    }

    fn reserve(&mut self) -> Result<(), ReservationError> {
        let key = self.own_key()?;
        let command = PrReservation { key: key.0, kind: EXCLUSIVE_ACCESS_REGISTRANTS_ONLY, flags: 0 };
        let answer = outcome(ioctl::pr_reserve(self.file.as_fd(), &command));
        settle(answer, || self.explain_conflict(None))
    }

    fn preempt_and_abort(&mut self, victim: Key) -> Result<(), ReservationError> {
        let key = self.own_key()?;
        if victim == key {
            return Err(ReservationError::WrongKey(victim));
        }
        let kind = EXCLUSIVE_ACCESS_REGISTRANTS_ONLY;
        let command = PrPreempt { old_key: key.0, new_key: victim.0, kind, flags: 0 };
        let answer = outcome(ioctl::pr_preempt_abort(self.file.as_fd(), &command));
        settle(answer, || self.explain_conflict(Some(victim)))?;
        let keys = self.keys()?;
        if keys.contains(&victim) {
            return Err(ReservationError::Io(format!("the disk still lists key {victim} after PREEMPT AND ABORT")));
        }
        // A victim that did not hold the reservation leaves it where it was.
        match self.holder()? {
            Some(holder) if holder == key => Ok(()),
            _ => self.reserve(),
        }
    }

    fn holder(&mut self) -> Result<Option<Key>, ReservationError> {
        match ioctl::pr_read_reservation(self.file.as_fd()) {
            Ok((0, answer)) => Ok((answer.kind != 0).then_some(Key(answer.key))),
            Err(errno) if outcome(Err(errno)) == Outcome::Unsupported => self.holder_by_scsi(),
            answer => {
                settle(outcome(answer.map(|(status, _)| status)), || ReservationError::Fenced)?;
                Err(malformed())
            }
        }
    }

    fn unregister(&mut self) -> Result<(), ReservationError> {
        let command = PrRegistration { old_key: self.own_key()?.0, ..PrRegistration::default() };
        let answer = outcome(ioctl::pr_register(self.file.as_fd(), &command));
        settle(answer, || ReservationError::Fenced)?;
        self.key = None;
        Ok(())
    }
}

/// Read the return value of a command: SCSI drivers return result words with the status in the low byte, NVMe drivers
/// of older kernels the NVMe status, of which 083h is Reservation Conflict; later ones return the SCSI numbers too.
fn outcome(answer: Result<i32, Errno>) -> Outcome {
    match answer {
        Ok(0) => Outcome::Good,
        Ok(status) if status & 0xff == 0x18 || status & 0x7ff == 0x83 => Outcome::Conflict,
        Ok(status) => Outcome::Failed(format!("status {status:#x}")),
        Err(Errno::EBADE) => Outcome::Conflict,
        Err(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::EINVAL) => Outcome::Unsupported,
        Err(Errno::EPERM) => Outcome::Failed("not permitted (a partition, or CAP_SYS_ADMIN is missing)".to_owned()),
        Err(errno) => Outcome::Failed(errno.desc().to_owned()),
    }
}

fn settle(outcome: Outcome, conflict: impl FnOnce() -> ReservationError) -> Result<(), ReservationError> {
    match outcome {
        Outcome::Good => Ok(()),
        Outcome::Conflict => Err(conflict()),
        Outcome::Unsupported => {
            Err(ReservationError::Unsupported("the disk or its driver has no persistent reservations".to_owned()))
        }
        Outcome::Failed(why) => Err(ReservationError::Io(why)),
    }
}

fn malformed() -> ReservationError {
    ReservationError::Io("the disk's answer to PERSISTENT RESERVE IN makes no sense".to_owned())
}

/// READ KEYS parameter data (SPC-4 6.15.2).
fn parse_keys(data: &[u8]) -> IResult<&[u8], Vec<Key>> {
    let (rest, _prgeneration) = be_u32(data)?;
    let (rest, additional_length) = be_u32(rest)?;
    let count = usize::try_from(additional_length / 8).unwrap_or(usize::MAX);
    let mut keys = Vec::new();
    let mut rest = rest;
    // The length tells of all keys; the data ends where our buffer does.
    while keys.len() < count && rest.len() >= 8 {
        let (after, key) = be_u64(rest)?;
        keys.push(Key(key));
        rest = after;
    }
    Ok((rest, keys))
}

/// READ RESERVATION parameter data (SPC-4 6.15.3): ADDITIONAL LENGTH is 0 when nobody holds one.
fn parse_holder(data: &[u8]) -> IResult<&[u8], Option<Key>> {
    let (rest, _prgeneration) = be_u32(data)?;
    let (rest, additional_length) = be_u32(rest)?;
    if additional_length == 0 {
        return Ok((rest, None));
    }
    let (rest, key) = be_u64(rest)?;
    let (rest, _scope_and_type) = take(8usize)(rest)?;
    Ok((rest, Some(Key(key))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_values_are_understood() {
        assert_eq!(outcome(Ok(0)), Outcome::Good);
        for conflict in [0x18, 0x118, 0x0800_0018, 0x83, 0x4083] {
            assert_eq!(outcome(Ok(conflict)), Outcome::Conflict, "{conflict:#x}");
        }
        assert_eq!(outcome(Err(Errno::EBADE)), Outcome::Conflict);
        assert_eq!(outcome(Err(Errno::ENOTTY)), Outcome::Unsupported);
        assert_eq!(outcome(Ok(0x2)), Outcome::Failed("status 0x2".to_owned()));
        assert!(matches!(outcome(Err(Errno::EPERM)), Outcome::Failed(_)));
    }

    #[test]
    fn parameter_data_is_read() {
        let keys = b"\0\0\0\x07\0\0\0\x10\x54\x0a\0\x01\0\0\0\x09\0\0\0\0\0\0\x12\x34\xff\xff";
        assert_eq!(parse_keys(keys).unwrap().1, [Key(0x540a_0001_0000_0009), Key(0x1234)]);
        assert_eq!(parse_keys(&keys[..20]).unwrap().1, [Key(0x540a_0001_0000_0009)], "cut off");
        assert!(parse_keys(&keys[..7]).is_err());
        assert_eq!(parse_holder(b"\0\0\0\x07\0\0\0\0").unwrap().1, None);
        let held = b"\0\0\0\x07\0\0\0\x10\x54\x0a\0\x01\0\0\0\x09\0\0\0\0\0\x06\0\0";
        assert_eq!(parse_holder(held).unwrap().1, Some(Key(0x540a_0001_0000_0009)));
        assert!(parse_holder(&held[..12]).is_err());
    }

    #[test]
    fn a_disk_without_reservations_says_so() {
        let scratch = crate::testing::Scratch::new();
        let file = DiskFile::open(&scratch.image("disk", 1 << 20), None).unwrap();
        let mut reservations = LinuxPr::new(Arc::new(file), None);
        assert!(matches!(reservations.keys(), Err(ReservationError::Unsupported(_))));
        assert!(matches!(reservations.register(Key(1)), Err(ReservationError::Unsupported(_))));
        assert_eq!(reservations.reserve(), Err(ReservationError::Fenced));
    }
}
