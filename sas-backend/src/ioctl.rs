//! The ioctls that we need, with safe signatures: sizes of block devices, linux/pr.h, and SG_IO for one SCSI command.
#![expect(unsafe_code, reason = "ioctls are outside what the compiler can check; this is the only file with them")]

use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

// BLKGETSIZE64 is declared with size_t and writes 64 bits.
const _: () = assert!(size_of::<libc::size_t>() == size_of::<u64>());

mod raw {
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), nix::libc::c_int);
    nix::ioctl_none_bad!(blkrrpart, nix::request_code_none!(0x12, 95));
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_write_ptr!(pr_register, b'p', 200, super::PrRegistration);
    nix::ioctl_write_ptr!(pr_reserve, b'p', 201, super::PrReservation);
    nix::ioctl_write_ptr!(pr_preempt_abort, b'p', 204, super::PrPreempt);
    nix::ioctl_readwrite!(pr_read_keys, b'p', 206, super::PrReadKeys);
    nix::ioctl_read!(pr_read_reservation, b'p', 207, super::PrReadReservation);
    nix::ioctl_readwrite_bad!(sg_io, 0x2285, super::SgIoHdr);
}

/// struct pr_registration.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct PrRegistration {
    pub(crate) old_key: u64,
    pub(crate) new_key: u64,
    pub(crate) flags: u32,
    pub(crate) pad: u32,
}

/// struct pr_reservation.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct PrReservation {
    pub(crate) key: u64,
    pub(crate) kind: u32,
    pub(crate) flags: u32,
}

/// struct pr_preempt.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct PrPreempt {
    pub(crate) old_key: u64,
    pub(crate) new_key: u64,
    pub(crate) kind: u32,
    pub(crate) flags: u32,
}

/// struct pr_read_keys.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct PrReadKeys {
    generation: u32,
    num_keys: u32,
    keys_ptr: u64,
}

/// struct pr_read_reservation.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct PrReadReservation {
    pub(crate) key: u64,
    pub(crate) generation: u32,
    pub(crate) kind: u32,
}

// linux/pr.h as of 6.19; the sizes are part of the request numbers.
const _: () = assert!(size_of::<PrRegistration>() == 24 && offset_of!(PrRegistration, flags) == 16);
const _: () = assert!(size_of::<PrReservation>() == 16 && offset_of!(PrReservation, kind) == 8);
const _: () = assert!(size_of::<PrPreempt>() == 24 && offset_of!(PrPreempt, kind) == 16);
const _: () = assert!(size_of::<PrReadKeys>() == 16 && offset_of!(PrReadKeys, keys_ptr) == 8);
const _: () = assert!(size_of::<PrReadReservation>() == 16 && offset_of!(PrReadReservation, kind) == 12);

/// struct sg_io_hdr of scsi/sg.h.
#[repr(C)]
struct SgIoHdr {
    interface_id: libc::c_int,
    dxfer_direction: libc::c_int,
    cmd_len: u8,
    mx_sb_len: u8,
    iovec_count: u16,
    dxfer_len: u32,
    dxferp: *mut libc::c_void,
    cmdp: *mut u8,
    sbp: *mut u8,
    timeout: u32,
    flags: u32,
    pack_id: libc::c_int,
    usr_ptr: *mut libc::c_void,
    status: u8,
    masked_status: u8,
    msg_status: u8,
    sb_len_wr: u8,
    host_status: u16,
    driver_status: u16,
    resid: libc::c_int,
    duration: u32,
    info: u32,
}

const _: () = assert!(size_of::<SgIoHdr>() == 88 && offset_of!(SgIoHdr, status) == 64);
const SG_DXFER_FROM_DEV: libc::c_int = -3;
const SG_TIMEOUT_MS: u32 = 10_000;

/// IOC_PR_REGISTER. Like the other commands it answers with a status of the device if that is not 0.
pub(crate) fn pr_register(fd: BorrowedFd<'_>, command: &PrRegistration) -> Result<i32, Errno> {
    // SAFETY: the kernel only reads the structure, whose layout is asserted above.
    unsafe { raw::pr_register(fd.as_raw_fd(), command) }
}

/// IOC_PR_RESERVE.
pub(crate) fn pr_reserve(fd: BorrowedFd<'_>, command: &PrReservation) -> Result<i32, Errno> {
    // SAFETY: the kernel only reads the structure, whose layout is asserted above.
    unsafe { raw::pr_reserve(fd.as_raw_fd(), command) }
}

/// IOC_PR_PREEMPT_ABORT.
pub(crate) fn pr_preempt_abort(fd: BorrowedFd<'_>, command: &PrPreempt) -> Result<i32, Errno> {
    // SAFETY: the kernel only reads the structure, whose layout is asserted above.
    unsafe { raw::pr_preempt_abort(fd.as_raw_fd(), command) }
}

/// IOC_PR_READ_KEYS: fills `keys` and says how many there are, which may be more.
pub(crate) fn pr_read_keys(fd: BorrowedFd<'_>, keys: &mut [u64]) -> Result<(i32, usize), Errno> {
    let mut command = PrReadKeys {
        generation: 0,
        num_keys: u32::try_from(keys.len()).map_err(|_| Errno::EINVAL)?,
        keys_ptr: u64::try_from(keys.as_mut_ptr().expose_provenance()).map_err(|_| Errno::EFAULT)?,
    };
    // SAFETY: the kernel fills the structure, whose layout is asserted above, and at most `num_keys` keys.
    let status = unsafe { raw::pr_read_keys(fd.as_raw_fd(), &raw mut command) }?;
    Ok((status, usize::try_from(command.num_keys).map_err(|_| Errno::ERANGE)?))
}

/// IOC_PR_READ_RESERVATION.
pub(crate) fn pr_read_reservation(fd: BorrowedFd<'_>) -> Result<(i32, PrReadReservation), Errno> {
    let mut answer = PrReadReservation::default();
    // SAFETY: the kernel fills the structure, whose layout is asserted above.
    let status = unsafe { raw::pr_read_reservation(fd.as_raw_fd(), &raw mut answer) }?;
    Ok((status, answer))
}

/// A SCSI command that returns data into `data`: the status byte, 0 for GOOD. Transport errors are EIO.
pub(crate) fn scsi_read(fd: BorrowedFd<'_>, cdb: &mut [u8; 10], data: &mut [u8]) -> Result<u8, Errno> {
    let mut sense = [0u8; 32];
    let mut header = SgIoHdr {
        interface_id: libc::c_int::from(b'S'),
        dxfer_direction: SG_DXFER_FROM_DEV,
        cmd_len: 10,
        mx_sb_len: 32,
        iovec_count: 0,
        dxfer_len: u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?,
        dxferp: data.as_mut_ptr().cast(),
        cmdp: cdb.as_mut_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: SG_TIMEOUT_MS,
        flags: 0,
        pack_id: 0,
        usr_ptr: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the header's layout is asserted above; its pointers are valid with the lengths beside them until the
    // call, which is synchronous, has returned.
    unsafe { raw::sg_io(fd.as_raw_fd(), &raw mut header) }?;
    if header.status == 0 && header.host_status != 0 { Err(Errno::EIO) } else { Ok(header.status) }
}

/// Bytes of a logical block of a block device.
pub(crate) fn logical_block_bytes(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int to a valid int.
    unsafe { raw::blksszget(fd.as_raw_fd(), &raw mut bytes) }?;
    u32::try_from(bytes).map_err(|_| Errno::ERANGE)
}

/// Make the kernel look at the disk again: its size, its blocks, its partitions. For the one who has claimed it.
pub(crate) fn look_again(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: it takes no argument.
    unsafe { raw::blkrrpart(fd.as_raw_fd()) }.map(drop)
}

/// Bytes of a block device.
pub(crate) fn device_bytes(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut bytes: u64 = 0;
    // SAFETY: the kernel writes 64 bits to a valid u64.
    unsafe { raw::blkgetsize64(fd.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}
