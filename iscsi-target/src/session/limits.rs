//! Every bound of a connection, in one place, and how they hang together.

use crate::pdu::text::MAX_KEY_BYTES;

/// Commands that an initiator may have outstanding: the width of the CmdSN window.
pub const QUEUE_DEPTH: u32 = 128;
/// Immediate SCSI commands outstanding beside them; more get a Reject.
pub const MAX_IMMEDIATE_COMMANDS: usize = 16;
/// Task management functions outstanding; more are answered "rejected".
pub const MAX_TASK_MANAGEMENT: usize = 16;

/// MaxRecvDataSegmentLength that we declare.
pub const MAX_RECV_DATA_SEGMENT_BYTES: u32 = 256 << 10;
/// What both sides take before anything is declared (RFC 7143 13.12), and throughout the login.
pub const LOGIN_DATA_SEGMENT_BYTES: u32 = 8192;
/// The least that either side may declare, as MaxRecvDataSegmentLength and as lengths of bursts (RFC 7143 13.12 to 13.14).
pub const MIN_DATA_SEGMENT_BYTES: u32 = 512;
/// MaxBurstLength that we accept at most: bytes of one R2T.
pub const MAX_BURST_BYTES: u32 = 1 << 20;
/// FirstBurstLength that we accept at most: unsolicited bytes of one command.
pub const FIRST_BURST_BYTES: u32 = 256 << 10;
/// MaxOutstandingR2T that we accept at most, per command.
pub const MAX_OUTSTANDING_R2T: u32 = 8;

/// Data-Out of one command; a command that announces more is refused.
pub const MAX_DATA_OUT_BYTES: u32 = (16 << 20) + (64 << 10);
/// Data of all commands of a connection, both ways; a command beyond it gets TASK SET FULL.
pub const MAX_IN_FLIGHT_BYTES: u64 = 256 << 20;

/// Of the memory for the data of all connections, what each may have however little is left.
pub const GUARANTEED_BYTES: u64 = 1 << 20;

/// Text of one login or text request, all its parts with the C bit together.
pub const MAX_TEXT_BYTES: usize = 16 << 10;
/// Keys in one text.
pub const MAX_KEYS: usize = 90;
/// The longest iSCSI name (RFC 7143 4.2.7.1).
pub const MAX_NAME_BYTES: usize = 223;
/// The longest CHAP_N (RFC 7143 6.1: a text-value where nothing else is said).
pub const MAX_CHAP_NAME_BYTES: usize = 255;
/// The longest CHAP_C and CHAP_R (RFC 7143 12.1.3).
pub const MAX_CHAP_BYTES: usize = 1024;
/// The longest alias that we declare.
pub const MAX_ALIAS_BYTES: usize = 255;

/// Answers waiting to be sent, beyond which nothing more is read.
pub const MAX_OUTBOX_PDUS: usize = 256;
/// Bytes of ping data, text and sense in them.
pub const MAX_OUTBOX_BYTES: usize = 1 << 20;

/// A login must be complete this long after the connection was accepted.
pub const LOGIN_TIMEOUT_MS: u64 = 15_000;
/// A logout is answered this long after it was received; if not, the connection just ends.
pub const LOGOUT_TIMEOUT_MS: u64 = 5_000;
/// A ping is sent when the initiator was silent for so long.
pub const PING_INTERVAL_MS: u64 = 10_000;
/// The connection is closed when the initiator stays silent for so long after a ping.
pub const PING_TIMEOUT_MS: u64 = 10_000;
/// A connection that is being closed waits so long for its last answers to be sent.
pub const LINGER_MS: u64 = 5_000;

/// The longest answer to a key that we do not know.
const NOT_UNDERSTOOD_BYTES: usize = MAX_KEY_BYTES + "=NotUnderstood\0".len();
/// TargetAlias, TargetPortalGroupTag and MaxRecvDataSegmentLength, which we declare unasked.
const DECLARED_BYTES: usize = MAX_ALIAS_BYTES + 128;
/// CHAP_N and CHAP_R with SHA-256, the longest step of an authentication.
const SECURITY_BYTES: usize = MAX_CHAP_NAME_BYTES + "CHAP_N=\0".len() + "CHAP_R=0x\0".len() + 2 * 32;

const _: () = {
    assert!(QUEUE_DEPTH < 1 << 16, "a window is far narrower than half the circle of CmdSN");
    assert!(FIRST_BURST_BYTES <= MAX_BURST_BYTES, "RFC 7143 13.14");
    assert!(MAX_BURST_BYTES < 1 << 24 && MAX_RECV_DATA_SEGMENT_BYTES < 1 << 24, "RFC 7143 13.12, 13.13");
    assert!(LOGIN_DATA_SEGMENT_BYTES <= MAX_RECV_DATA_SEGMENT_BYTES);
    assert!(MAX_DATA_OUT_BYTES as u64 * 4 <= MAX_IN_FLIGHT_BYTES, "one command must not starve the others");
    assert!(
        MAX_KEYS * NOT_UNDERSTOOD_BYTES + DECLARED_BYTES + SECURITY_BYTES <= LOGIN_DATA_SEGMENT_BYTES as usize,
        "one answer, one PDU"
    );
    assert!(MAX_RECV_DATA_SEGMENT_BYTES as usize <= MAX_OUTBOX_BYTES, "one ping always fits");
    assert!(LOGIN_DATA_SEGMENT_BYTES as usize <= MAX_TEXT_BYTES);
};
