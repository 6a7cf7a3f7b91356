//! An iSCSI target whose logical units outlive either of two heads.

pub mod daemon;
pub mod initiator;
pub mod pdu;
pub mod scsi;
pub mod session;
