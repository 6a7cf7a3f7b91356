//! An initiator that sends what it is told and repeats nothing, over one connection (RFC 7143 11).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::heads::PATIENCE;

const IMMEDIATE: u8 = 0x40;
const FINAL: u8 = 0x80;
const NOP_OUT: u8 = 0x00;
const SCSI_COMMAND: u8 = 0x01;
const TASK_MANAGEMENT: u8 = 0x02;
const LOGIN: u8 = 0x03;
const NOP_IN: u8 = 0x20;
const SCSI_RESPONSE: u8 = 0x21;
/// A write with the SIMPLE attribute.
const WRITE: u8 = 0x20 | 0x01;
/// From the operational stage to the full feature phase.
const TRANSIT: u8 = 0x87;
const LOGICAL_UNIT_RESET: u8 = 5;
const NONE: [u8; 4] = [0xFF; 4];

type Header = [u8; 48];

/// STATUS, then SENSE KEY, ADDITIONAL SENSE CODE and QUALIFIER.
pub(crate) type Answer = (u8, [u8; 3]);

/// A session with LUN 0.
pub(crate) struct Wire {
    stream: TcpStream,
    cmd_sn: u32,
    exp_stat_sn: u32,
    tag: u32,
}

impl Wire {
    /// Log in.
    pub(crate) fn login(portal: SocketAddr, initiator: &str, target: &str) -> Self {
        let stream = TcpStream::connect(portal).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Self { stream, cmd_sn: 1, exp_stat_sn: 0, tag: 0 };
        let keys = format!("InitiatorName={initiator}\0SessionType=Normal\0TargetName={target}\0");
        let mut header = header(IMMEDIATE | LOGIN, TRANSIT);
        header[8] = 0x80;
        let (header, _) = wire.ask(header, keys.as_bytes());
        assert_eq!(header[36..38], [0, 0], "the login is refused");
        wire
    }

    /// Send a command, with data if it has some.
    pub(crate) fn command(&mut self, cdb: &[u8], data: &[u8]) -> Answer {
        self.send_command(cdb, data);
        self.answer()
    }

    /// The same without waiting for [`Wire::answer`].
    pub(crate) fn send_command(&mut self, cdb: &[u8], data: &[u8]) {
        let mut header = header(SCSI_COMMAND, FINAL | if data.is_empty() { 1 } else { WRITE });
        header[20..24].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        header[32..32 + cdb.len()].copy_from_slice(cdb);
        self.send(header, data);
        self.cmd_sn += 1;
    }

    /// What the command is answered with.
    pub(crate) fn answer(&mut self) -> Answer {
        let (header, data) = self.receive();
        assert_eq!(header[0], SCSI_RESPONSE);
        // SENSE LENGTH, and fixed format sense data behind it.
        let sense = if data.is_empty() { [0; 3] } else { [data[4], data[14], data[15]] };
        (header[3], sense)
    }

    /// LOGICAL UNIT RESET, until it is answered.
    pub(crate) fn reset(&mut self) {
        let mut header = header(IMMEDIATE | TASK_MANAGEMENT, FINAL | LOGICAL_UNIT_RESET);
        header[20..24].copy_from_slice(&NONE);
        let (header, _) = self.ask(header, &[]);
        assert_eq!(header[2], 0, "not complete");
    }

    fn ask(&mut self, header: Header, data: &[u8]) -> (Header, Vec<u8>) {
        self.send(header, data);
        self.receive()
    }

    fn send(&mut self, mut header: Header, data: &[u8]) {
        self.tag += 1;
        header[16..20].copy_from_slice(&self.tag.to_be_bytes());
        self.send_tagged(header, data);
    }

    fn send_tagged(&mut self, mut header: Header, data: &[u8]) {
        header[4..8].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        header[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        header[28..32].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
        let padding = [0; 3];
        let padding = &padding[..data.len().next_multiple_of(4) - data.len()];
        self.stream.write_all(&[&header, data, padding].concat()).unwrap();
    }

    /// What answers the newest request.
    fn receive(&mut self) -> (Header, Vec<u8>) {
        loop {
            let mut header = [0; 48];
            self.stream.read_exact(&mut header).unwrap();
            let length = usize::try_from(u32::from_be_bytes([0, header[5], header[6], header[7]])).unwrap();
            let mut data = vec![0; length.next_multiple_of(4)];
            self.stream.read_exact(&mut data).unwrap();
            data.truncate(length);
            if header[0] == NOP_IN {
                self.answer_ping(&header);
                continue;
            }
            assert_eq!(header[16..20], self.tag.to_be_bytes());
            self.exp_stat_sn = u32::from_be_bytes([header[24], header[25], header[26], header[27]]).wrapping_add(1);
            return (header, data);
        }
    }

    fn answer_ping(&mut self, ping: &Header) {
        let mut header = header(IMMEDIATE | NOP_OUT, FINAL);
        header[8..16].copy_from_slice(&ping[8..16]);
        header[16..20].copy_from_slice(&NONE);
        header[20..24].copy_from_slice(&ping[20..24]);
        self.send_tagged(header, &[]);
    }
}

fn header(opcode: u8, flags: u8) -> Header {
    let mut header = [0; 48];
    (header[0], header[1]) = (opcode, flags);
    header
}
