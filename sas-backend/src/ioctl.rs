//! The ioctls that we need, with safe signatures.
#![expect(unsafe_code, reason = "ioctls are outside what the compiler can check; this is the only file with them")]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

// BLKGETSIZE64 is declared with size_t and writes 64 bits.
const _: () = assert!(size_of::<libc::size_t>() == size_of::<u64>());

mod raw {
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), nix::libc::c_int);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
}

/// Bytes of a logical block of a block device.
pub(crate) fn logical_block_bytes(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int to a valid int.
    unsafe { raw::blksszget(fd.as_raw_fd(), &raw mut bytes) }?;
    u32::try_from(bytes).map_err(|_| Errno::ERANGE)
}

/// Bytes of a block device.
pub(crate) fn device_bytes(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut bytes: u64 = 0;
    // SAFETY: the kernel writes 64 bits to a valid u64.
    unsafe { raw::blkgetsize64(fd.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}
