//! An initiator that sends what it is told and repeats nothing, over one connection (RFC 7143 11).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use iscsi_target::initiator::command::Sense;
use iscsi_target::pdu::command::{Attribute, ScsiCommand, parse_sense};
use iscsi_target::pdu::digest::Digests;
use iscsi_target::pdu::login::{LoginRequest, LoginStatus};
use iscsi_target::pdu::logout::{LogoutOutcome, LogoutReason, LogoutRequest};
use iscsi_target::pdu::nop::NopOut;
use iscsi_target::pdu::task_mgmt::{Function, FunctionResponse, TaskManagementRequest};
use iscsi_target::pdu::text::emit_key;
use iscsi_target::pdu::{BHS_BYTES, CmdSn, Header, Itt, Request, Response, StatSn, Transmit};

use super::heads::PATIENCE;

/// The tag of whatever is under way.
const TAG: Itt = Itt(1);

/// STATUS, then SENSE KEY, ADDITIONAL SENSE CODE and QUALIFIER.
pub(crate) type Answer = (u8, [u8; 3]);

/// A session with LUN 0.
pub(crate) struct Wire {
    stream: TcpStream,
    cmd_sn: CmdSn,
    exp_stat_sn: StatSn,
}

impl Wire {
    /// Log in.
    pub(crate) fn login(portal: SocketAddr, initiator: &str, target: &str) -> Self {
        let stream = TcpStream::connect(portal).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Self { stream, cmd_sn: CmdSn(1), exp_stat_sn: StatSn(0) };
        let mut text = Vec::new();
        for (key, value) in [("InitiatorName", initiator), ("SessionType", "Normal"), ("TargetName", target)] {
            emit_key(&mut text, key, value);
        }
        let login = LoginRequest { itt: TAG, ..LoginRequest::new([0x80, 0, 0, 0, 0, 0], wire.cmd_sn) };
        wire.send(&Request::Login(login), &text);
        let Response::Login(granted) = wire.receive().0 else { panic!() };
        assert_eq!(granted.status, LoginStatus::SUCCESS, "the login is refused");
        wire.exp_stat_sn = granted.numbers.stat_sn.next();
        wire
    }

    /// Send a command, with data if it has some.
    pub(crate) fn command(&mut self, cdb: &[u8], data: &[u8]) -> Answer {
        self.send_command(cdb, data);
        self.answer()
    }

    /// The same without waiting for [`Wire::answer`].
    pub(crate) fn send_command(&mut self, cdb: &[u8], data: &[u8]) {
        let mut cdb = cdb.to_vec();
        cdb.resize(16, 0);
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            read: false,
            write: !data.is_empty(),
            attribute: Attribute::Simple,
            lun: 0,
            itt: TAG,
            expected_data_transfer_length: u32::try_from(data.len()).unwrap(),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb,
            bidirectional_read_length: None,
        };
        self.send(&Request::ScsiCommand(command), data);
        self.cmd_sn = self.cmd_sn.next();
    }

    /// What the command is answered with.
    pub(crate) fn answer(&mut self) -> Answer {
        let (Response::ScsiResponse(response), data) = self.receive() else { panic!() };
        assert_eq!(response.itt, TAG);
        self.exp_stat_sn = response.numbers.stat_sn.next();
        let sense = Sense::parse(parse_sense(&data)).map_or([0; 3], |Sense { key, asc, ascq }| [key, asc, ascq]);
        (response.status, sense)
    }

    /// LOGICAL UNIT RESET, until it is answered.
    pub(crate) fn reset(&mut self) {
        let reset = TaskManagementRequest {
            immediate: true,
            function: Function::LogicalUnitReset,
            lun: 0,
            itt: TAG,
            referenced_task_tag: Itt::RESERVED,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ref_cmd_sn: CmdSn(0),
            exp_data_sn: 0,
        };
        self.send(&Request::TaskManagement(reset), &[]);
        let Response::TaskManagement(done) = self.receive().0 else { panic!() };
        assert_eq!(done.response, FunctionResponse::Complete);
        self.exp_stat_sn = done.numbers.stat_sn.next();
    }

    /// Log out; returns when that is answered.
    pub(crate) fn log_out(mut self) {
        let reason = LogoutReason::CloseSession;
        let (cmd_sn, exp_stat_sn) = (self.cmd_sn, self.exp_stat_sn);
        let logout = LogoutRequest { immediate: true, reason, itt: TAG, cid: 0, cmd_sn, exp_stat_sn };
        self.send(&Request::Logout(logout), &[]);
        let Response::Logout(answer) = self.receive().0 else { panic!() };
        assert_eq!(answer.response, LogoutOutcome::Closed);
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0, "the target ends the connection");
    }

    fn send(&mut self, request: &Request, data: &[u8]) {
        let data = if data.is_empty() { vec![] } else { vec![data.to_vec().into()] };
        self.stream.write_all(&Transmit::new(&request.emit(), data, Digests::default()).to_vec()).unwrap();
    }

    /// The next answer that is no ping.
    fn receive(&mut self) -> (Response, Vec<u8>) {
        loop {
            let mut bhs = [0; BHS_BYTES];
            self.stream.read_exact(&mut bhs).unwrap();
            let header = Header { bhs, ahs: Vec::new() };
            let length = header.data_segment_length();
            let mut data = vec![0; length.next_multiple_of(4)];
            self.stream.read_exact(&mut data).unwrap();
            data.truncate(length);
            let ping = match Response::parse(&header).unwrap() {
                Response::NopIn(ping) => ping,
                answer => return (answer, data),
            };
            let (cmd_sn, exp_stat_sn) = (self.cmd_sn, self.exp_stat_sn);
            let (lun, itt, ttt) = (ping.lun, Itt::RESERVED, ping.ttt);
            self.send(&Request::NopOut(NopOut { immediate: true, lun, itt, ttt, cmd_sn, exp_stat_sn }), &[]);
        }
    }
}
