//! Bytes and PDUs (RFC 7143 11), both ways, for either side of a connection. Stateless but for the framer.
//!
//! A [`Framer`] cuts the stream into [`Header`]s and data segments; [`Request::parse`] and [`Response::parse`] give the
//! header a meaning; [`Transmit`] puts header, data and digests together for a vectored write. The data segment is
//! never part of the typed PDU: a payload stays where it was received.

pub mod async_msg;
pub mod binary;
pub mod command;
pub mod data;
pub mod digest;
pub mod framer;
pub mod login;
pub mod logout;
pub mod nop;
pub mod numbers;
pub mod r2t;
pub mod reject;
pub mod task_mgmt;
pub mod text;
pub mod transmit;
mod wire;

pub use framer::Framer;
pub use numbers::{CmdSn, Itt, StatSn, Ttt};
pub use transmit::{Segment, Transmit};
pub use wire::Numbers;

/// Bytes of a basic header segment.
pub const BHS_BYTES: usize = 48;
/// Bytes of additional header segments that TotalAHSLength can express.
pub const MAX_AHS_BYTES: usize = 255 * 4;

/// Opcodes (RFC 7143 11.2.1.2).
pub mod opcode {
    /// NOP-Out.
    pub const NOP_OUT: u8 = 0x00;
    /// SCSI Command.
    pub const SCSI_COMMAND: u8 = 0x01;
    /// Task Management Function Request.
    pub const TASK_MANAGEMENT_REQUEST: u8 = 0x02;
    /// Login Request.
    pub const LOGIN_REQUEST: u8 = 0x03;
    /// Text Request.
    pub const TEXT_REQUEST: u8 = 0x04;
    /// SCSI Data-Out.
    pub const DATA_OUT: u8 = 0x05;
    /// Logout Request.
    pub const LOGOUT_REQUEST: u8 = 0x06;
    /// SNACK Request.
    pub const SNACK: u8 = 0x10;
    /// NOP-In.
    pub const NOP_IN: u8 = 0x20;
    /// SCSI Response.
    pub const SCSI_RESPONSE: u8 = 0x21;
    /// Task Management Function Response.
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    /// Login Response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// Text Response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// SCSI Data-In.
    pub const DATA_IN: u8 = 0x25;
    /// Logout Response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    /// Ready To Transfer.
    pub const R2T: u8 = 0x31;
    /// Asynchronous Message.
    pub const ASYNC_MESSAGE: u8 = 0x32;
    /// Reject.
    pub const REJECT: u8 = 0x3f;
}

/// The header segments of a PDU as they stand on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Basic header segment.
    pub bhs: [u8; BHS_BYTES],
    /// Additional header segments, whole words.
    pub ahs: Vec<u8>,
}

/// What an initiator sends. SNACK is missing: no error recovery level above 0 is spoken here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the PDU of that name")]
pub enum Request {
    NopOut(nop::NopOut),
    ScsiCommand(command::ScsiCommand),
    TaskManagement(task_mgmt::TaskManagementRequest),
    Login(login::LoginRequest),
    Text(text::TextRequest),
    DataOut(data::DataOut),
    Logout(logout::LogoutRequest),
}

/// What a target sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the PDU of that name")]
pub enum Response {
    NopIn(nop::NopIn),
    ScsiResponse(command::ScsiResponse),
    TaskManagement(task_mgmt::TaskManagementResponse),
    Login(login::LoginResponse),
    Text(text::TextResponse),
    DataIn(data::DataIn),
    Logout(logout::LogoutResponse),
    R2t(r2t::R2t),
    AsyncMessage(async_msg::AsyncMessage),
    Reject(reject::Reject),
}

/// Why a header has no meaning. The other side is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// An opcode that this side never takes.
    #[error("opcode {0:#04x} is not supported")]
    UnsupportedOpcode(u8),
    /// A field of the PDU cannot be what it is.
    #[error("the header of a PDU with opcode {0:#04x} is malformed")]
    Malformed(u8),
}

impl Header {
    /// A header with these segments and no data.
    ///
    /// # Panics
    /// If `ahs` is not whole words or longer than [`MAX_AHS_BYTES`].
    #[must_use]
    pub fn new(mut bhs: [u8; BHS_BYTES], ahs: Vec<u8>) -> Self {
        assert!(ahs.len().is_multiple_of(4), "additional header segments are whole words");
        bhs[4] = u8::try_from(ahs.len() / 4).expect("additional header segments are made by us and short");
        Self { bhs, ahs }
    }

    /// The opcode without the bits above it.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }

    /// The immediate delivery bit.
    #[must_use]
    pub fn is_immediate(&self) -> bool {
        self.bhs[0] & wire::IMMEDIATE != 0
    }

    /// Bytes 16 to 19, in every PDU.
    #[must_use]
    pub fn itt(&self) -> Itt {
        Itt(u32::from_be_bytes([self.bhs[16], self.bhs[17], self.bhs[18], self.bhs[19]]))
    }

    /// DataSegmentLength: bytes, without padding.
    #[must_use]
    pub fn data_segment_length(&self) -> usize {
        data_segment_length(&self.bhs)
    }

    fn with_data_segment_length(&self, len: usize) -> Self {
        let mut header = self.clone();
        let len = u32::try_from(len).ok().filter(|len| *len < 1 << 24);
        let [_, length @ ..] = len.expect("a data segment is bounded by what was negotiated").to_be_bytes();
        header.bhs[5..8].copy_from_slice(&length);
        header
    }

    /// BHS and AHS as one text, the data segment of a Reject.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.bhs[..], &self.ahs].concat()
    }
}

fn data_segment_length(bhs: &[u8; BHS_BYTES]) -> usize {
    usize::from(bhs[5]) << 16 | usize::from(bhs[6]) << 8 | usize::from(bhs[7])
}

fn whole<'a, T, V>(
    header: &'a Header,
    parse: fn(&'a [u8]) -> wire::Parsed<'a, T>,
    variant: fn(T) -> V,
) -> Result<V, PduError> {
    let malformed = PduError::Malformed(header.opcode());
    if !header.ahs.is_empty() {
        return Err(malformed);
    }
    parse(&header.bhs).map(|(_, pdu)| variant(pdu)).map_err(|_| malformed)
}

impl Request {
    /// The meaning of a header that an initiator sent.
    ///
    /// # Errors
    /// When the header is none that a target takes.
    pub fn parse(header: &Header) -> Result<Self, PduError> {
        match header.opcode() {
            opcode::NOP_OUT => whole(header, nop::NopOut::parse, Self::NopOut),
            opcode::SCSI_COMMAND => {
                let command = command::ScsiCommand::parse(header);
                command.map(Self::ScsiCommand).ok_or(PduError::Malformed(opcode::SCSI_COMMAND))
            }
            opcode::TASK_MANAGEMENT_REQUEST => {
                whole(header, task_mgmt::TaskManagementRequest::parse, Self::TaskManagement)
            }
            opcode::LOGIN_REQUEST => whole(header, login::LoginRequest::parse, Self::Login),
            opcode::TEXT_REQUEST => whole(header, text::TextRequest::parse, Self::Text),
            opcode::DATA_OUT => whole(header, data::DataOut::parse, Self::DataOut),
            opcode::LOGOUT_REQUEST => whole(header, logout::LogoutRequest::parse, Self::Logout),
            other => Err(PduError::UnsupportedOpcode(other)),
        }
    }

    /// The header segments of this PDU, lengths of the data segment not yet filled in.
    #[must_use]
    pub fn emit(&self) -> Header {
        let bhs = match self {
            Self::NopOut(pdu) => pdu.emit(),
            Self::ScsiCommand(pdu) => return pdu.emit(),
            Self::TaskManagement(pdu) => pdu.emit(),
            Self::Login(pdu) => pdu.emit(),
            Self::Text(pdu) => pdu.emit(),
            Self::DataOut(pdu) => pdu.emit(),
            Self::Logout(pdu) => pdu.emit(),
        };
        Header::new(bhs, Vec::new())
    }
}

impl Response {
    /// The meaning of a header that a target sent.
    ///
    /// # Errors
    /// When the header is none that an initiator takes.
    pub fn parse(header: &Header) -> Result<Self, PduError> {
        match header.opcode() {
            opcode::NOP_IN => whole(header, nop::NopIn::parse, Self::NopIn),
            opcode::SCSI_RESPONSE => whole(header, command::ScsiResponse::parse, Self::ScsiResponse),
            opcode::TASK_MANAGEMENT_RESPONSE => {
                whole(header, task_mgmt::TaskManagementResponse::parse, Self::TaskManagement)
            }
            opcode::LOGIN_RESPONSE => whole(header, login::LoginResponse::parse, Self::Login),
            opcode::TEXT_RESPONSE => whole(header, text::TextResponse::parse, Self::Text),
            opcode::DATA_IN => whole(header, data::DataIn::parse, Self::DataIn),
            opcode::LOGOUT_RESPONSE => whole(header, logout::LogoutResponse::parse, Self::Logout),
            opcode::R2T => whole(header, r2t::R2t::parse, Self::R2t),
            opcode::ASYNC_MESSAGE => whole(header, async_msg::AsyncMessage::parse, Self::AsyncMessage),
            opcode::REJECT => whole(header, reject::Reject::parse, Self::Reject),
            other => Err(PduError::UnsupportedOpcode(other)),
        }
    }

    /// The header segments of this PDU, lengths of the data segment not yet filled in.
    #[must_use]
    pub fn emit(&self) -> Header {
        let bhs = match self {
            Self::NopIn(pdu) => pdu.emit(),
            Self::ScsiResponse(pdu) => pdu.emit(),
            Self::TaskManagement(pdu) => pdu.emit(),
            Self::Login(pdu) => pdu.emit(),
            Self::Text(pdu) => pdu.emit(),
            Self::DataIn(pdu) => pdu.emit(),
            Self::Logout(pdu) => pdu.emit(),
            Self::R2t(pdu) => pdu.emit(),
            Self::AsyncMessage(pdu) => pdu.emit(),
            Self::Reject(pdu) => pdu.emit(),
        };
        Header::new(bhs, Vec::new())
    }
}

/// What the golden-byte tests of the PDU files share.
#[cfg(test)]
mod golden {
    use super::*;

    pub(super) fn some_numbers() -> Numbers {
        Numbers { stat_sn: StatSn(0x20), exp_cmd_sn: CmdSn(0x11), max_cmd_sn: CmdSn(0x90) }
    }

    pub(super) fn request(hex: &str, request: Request) {
        let header = header(hex);
        assert_eq!(request.emit(), header);
        assert_eq!(Request::parse(&header), Ok(request));
    }

    pub(super) fn response(hex: &str, response: Response) {
        let header = header(hex);
        assert_eq!(response.emit(), header);
        assert_eq!(Response::parse(&header), Ok(response));
    }

    fn header(hex: &str) -> Header {
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
        let (bhs, ahs) = bytes.split_at(BHS_BYTES);
        Header { bhs: bhs.try_into().unwrap(), ahs: ahs.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_opcodes_and_stray_additional_headers_are_refused() {
        let mut bhs = [0; BHS_BYTES];
        bhs[0] = opcode::SNACK;
        assert_eq!(Request::parse(&Header::new(bhs, vec![])), Err(PduError::UnsupportedOpcode(opcode::SNACK)));
        assert_eq!(Response::parse(&Header::new(bhs, vec![])), Err(PduError::UnsupportedOpcode(opcode::SNACK)));
        bhs[0] = opcode::NOP_OUT;
        assert_eq!(Request::parse(&Header::new(bhs, vec![0; 4])), Err(PduError::Malformed(opcode::NOP_OUT)));
    }
}
