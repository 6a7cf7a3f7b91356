//! EXTENDED COPY(LID1) and what may be asked about it (SPC-4, third-party copy commands): the copy manager, which moves
//! blocks between the units that an initiator has, without their going over the wire.
//!
//! In the order in which a command meets them:
//! * [`list`]: its parameter list, as the standard has it;
//! * [`plan`]: what one segment of it comes to: so many blocks from here to there;
//! * [`failure`]: what the initiator is told when a segment cannot be copied;
//! * [`results`]: what is kept of a copy for RECEIVE COPY STATUS and RECEIVE COPY FAILURE DETAILS;
//! * [`offer`]: RECEIVE COPY OPERATING PARAMETERS and the page of INQUIRY that say what there is.
//!
//! A segment is looked at only when those before it are copied, so that an initiator may rely on the number in the sense
//! data: what comes before it is done. The daemon executes; it finds the units among those that the initiator has.

pub mod failure;
pub mod list;
pub mod offer;
pub mod plan;
pub mod results;

/// MAXIMUM CSCD DESCRIPTOR COUNT.
pub const MAX_CSCDS: usize = 8;
/// MAXIMUM SEGMENT DESCRIPTOR COUNT.
pub const MAX_SEGMENTS: usize = 64;
/// MAXIMUM DESCRIPTOR LIST LENGTH, in bytes: as many of both as there may be.
pub const MAX_DESCRIPTOR_BYTES: usize = MAX_CSCDS * list::CSCD_BYTES + MAX_SEGMENTS * list::SEGMENT_BYTES;
/// MAXIMUM SEGMENT LENGTH, in bytes.
pub const MAX_SEGMENT_BYTES: u64 = 64 << 20;
/// MAXIMUM CONCURRENT COPIES: of one nexus.
pub const MAX_COPIES_OF_NEXUS: usize = 16;
/// TOTAL CONCURRENT COPIES: of one unit.
pub const MAX_COPIES_OF_UNIT: usize = 64;
