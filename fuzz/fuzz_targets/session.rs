//! A session from its login on: PDUs of every kind, right, wrong and half right, with the games that can be played with
//! Data-Out and R2Ts, while the daemon answers, aborts, notifies and is slow.
//!
//! Every byte of Data-Out says where in its command it belongs, so a command that is given out with a byte too few, too
//! many or from elsewhere is seen. Numbers must count up, memory stays within its bound, and after the end nothing comes.
#![no_main]

use std::collections::VecDeque;

use iscsi_target::pdu::data::DataOut;
use iscsi_target::pdu::digest::Digests;
use iscsi_target::pdu::login::LoginRequest;
use iscsi_target::pdu::r2t::R2t;
use iscsi_target::pdu::task_mgmt::FunctionResponse;
use iscsi_target::pdu::text::emit_key;
use iscsi_target::pdu::{CmdSn, Header, Itt, Numbers, Request, Response, StatSn, Ttt, opcode};
use iscsi_target::scsi::{self, DataIn, Status};
use iscsi_target::session::access::AccessPolicy;
use iscsi_target::session::limits::{FIRST_BURST_BYTES, LOGIN_DATA_SEGMENT_BYTES, MAX_OUTBOX_PDUS, QUEUE_DEPTH};
use iscsi_target::session::{AsyncNotice, CommandEvent, Connection, Event, TaskId, TaskManagementId};
use libfuzzer_sys::fuzz_target;
use sas_backend::buffer::Pool;
use twinhead_fuzz::{BUDGET_BYTES, Input, Receiver, TARGET, connection, feed, pdu, request};

const FIRST: CmdSn = CmdSn(u32::MAX - 3);
/// What this initiator takes at once.
const MAX_RECV_DATA_SEGMENT_LENGTH: usize = 1024;
const OPCODES: [u8; 8] = [
    opcode::NOP_OUT,
    opcode::SCSI_COMMAND,
    opcode::SCSI_COMMAND,
    opcode::TASK_MANAGEMENT_REQUEST,
    opcode::TEXT_REQUEST,
    opcode::DATA_OUT,
    opcode::LOGOUT_REQUEST,
    opcode::LOGIN_REQUEST,
];

/// The byte of Data-Out at `offset` of a command. Never 0, which is what fresh memory has.
fn pattern(offset: usize) -> u8 {
    u8::try_from(offset % 251).unwrap_or(0) + 1
}

struct Game {
    connection: Connection,
    receiver: Receiver,
    data_out: Pool,
    data_in: Pool,
    digests: Digests,
    at_a_time: usize,
    now_ms: u64,
    cmd_sn: CmdSn,
    next_data_sn: u32,
    r2ts: VecDeque<R2t>,
    commands: Vec<TaskId>,
    functions: Vec<TaskManagementId>,
    numbers: Option<Numbers>,
    /// Something was sent of which a session cannot see that it is wrong.
    garbled: bool,
    closed: bool,
}

impl Game {
    fn new(input: &mut Input<'_>) -> Self {
        let [settings, at_a_time] = input.array();
        let (data_out, set) = (Pool::new(), |bit: u8| settings & 1 << bit != 0);
        let digests = Digests { header: set(0), data: set(1) };
        let mut game = Self {
            connection: connection(AccessPolicy::default(), &data_out),
            receiver: Receiver::new(LOGIN_DATA_SEGMENT_BYTES as usize),
            data_out,
            data_in: Pool::new(),
            digests,
            at_a_time: if set(2) { usize::MAX } else { usize::from(at_a_time) },
            now_ms: 0,
            cmd_sn: FIRST,
            next_data_sn: 0,
            r2ts: VecDeque::new(),
            commands: Vec::new(),
            functions: Vec::new(),
            numbers: None,
            garbled: false,
            closed: false,
        };
        let mut text = Vec::new();
        let digest = |on: bool| if on { "CRC32C" } else { "None" };
        let session = if set(3) && set(4) && set(5) { "Discovery" } else { "Normal" };
        for (key, value) in [
            ("InitiatorName", "iqn.2026-11.com.example:client"),
            ("TargetName", TARGET),
            ("SessionType", session),
            ("HeaderDigest", digest(digests.header)),
            ("DataDigest", digest(digests.data)),
            ("InitialR2T", if set(3) { "Yes" } else { "No" }),
            ("ImmediateData", if set(4) { "No" } else { "Yes" }),
            ("FirstBurstLength", if set(5) { "512" } else { "4096" }),
            ("MaxBurstLength", if set(6) { "512" } else { "8192" }),
            ("MaxOutstandingR2T", if set(7) { "1" } else { "4" }),
            ("MaxRecvDataSegmentLength", "1024"),
        ] {
            emit_key(&mut text, key, value);
        }
        let login = Request::Login(LoginRequest { cid: 1, ..LoginRequest::new([0; 6], FIRST) });
        assert!(feed(&mut game.connection, &request(&login, &text, Digests::default()), usize::MAX, 0));
        assert!(matches!(game.connection.poll_event(), Some(Event::LoginComplete(_))));
        game.connection.handle_login_granted(1);
        game.receive(usize::MAX);
        game.receiver.set_max_data_segment_length(MAX_RECV_DATA_SEGMENT_LENGTH);
        game.receiver.set_digests(digests);
        game
    }

    fn send(&mut self, header: &Header, data: &[u8], broken: Option<u16>) {
        let mut bytes = pdu(header, data, self.digests);
        if let Some(at) = broken {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= 1;
            self.garbled |= !(self.digests.header && self.digests.data);
        }
        feed(&mut self.connection, &bytes, self.at_a_time, self.now_ms);
    }

    /// A header of which most is any bytes, and the rest is what makes it likely to be taken.
    fn send_any(&mut self, input: &mut Input<'_>) {
        let [kind, fixed, tag] = input.array();
        let mut bhs = input.array::<48>();
        if fixed & 1 == 0 {
            bhs[0] = bhs[0] & 0x40 | OPCODES[usize::from(kind) % OPCODES.len()];
        }
        bhs[4] = if fixed & 0x0E == 0x0E { kind % 4 } else { 0 };
        if fixed & 2 == 0 {
            bhs[8..16].fill(0);
        }
        if fixed & 4 == 0 {
            bhs[16..20].copy_from_slice(&u32::from(tag % 16).to_be_bytes());
        }
        if fixed & 8 == 0 {
            bhs[20..22].fill(0);
        }
        if fixed & 16 == 0 && bhs[0] & 0x3F != opcode::DATA_OUT {
            bhs[24..28].copy_from_slice(&self.cmd_sn.0.to_be_bytes());
        }
        let ahs = input.take(usize::from(bhs[4]) * 4).to_vec();
        bhs[4] = u8::try_from(ahs.len() / 4).unwrap_or(0);
        let ahs = ahs[..usize::from(bhs[4]) * 4].to_vec();
        let length = usize::from(input.u16()) % if fixed & 32 == 0 { 64 } else { 4096 };
        let data: Vec<u8> = match bhs[0] & 0x3F {
            opcode::SCSI_COMMAND => (0..length).map(pattern).collect(),
            opcode::DATA_OUT => {
                let at = u32::from_be_bytes([bhs[40], bhs[41], bhs[42], bhs[43]]) as usize;
                (at..at + length).map(pattern).collect()
            }
            _ => input.take(length).to_vec(),
        };
        let broken = (fixed & 0xC0 == 0xC0).then(|| input.u16());
        self.send(&Header { bhs, ahs }, &data, broken);
    }

    /// What an R2T has asked for, or nearly so.
    fn send_solicited(&mut self, input: &mut Input<'_>) {
        let [choice, wrong] = input.array();
        let Some(r2t) = self.r2ts.get_mut(usize::from(choice) % 3) else { return };
        let asked = r2t.desired_data_transfer_length;
        let length = if choice & 0x40 == 0 { asked.min(1024) } else { u32::from(input.u16()) % 2048 };
        let mut data_out = DataOut {
            is_final: length >= asked,
            lun: r2t.lun,
            itt: r2t.itt,
            ttt: r2t.ttt,
            exp_stat_sn: StatSn(0),
            data_sn: self.next_data_sn,
            buffer_offset: r2t.buffer_offset,
        };
        match wrong {
            0xFF => data_out.is_final ^= true,
            0xFE => data_out.data_sn = data_out.data_sn.wrapping_add(1),
            0xFD => data_out.buffer_offset = data_out.buffer_offset.wrapping_add(512),
            0xFC => data_out.itt = Itt(u32::from(choice)),
            0xFB => data_out.ttt = Ttt(u32::from(choice)),
            0xFA => data_out.ttt = Ttt::RESERVED,
            _ => {}
        }
        if data_out.is_final {
            self.next_data_sn = 0;
            self.r2ts.remove(usize::from(choice) % 3);
        } else {
            self.next_data_sn += 1;
            r2t.buffer_offset = r2t.buffer_offset.wrapping_add(length);
            r2t.desired_data_transfer_length = asked.saturating_sub(length);
        }
        let at = data_out.buffer_offset as usize;
        let data: Vec<u8> = (at..at + length as usize).map(pattern).collect();
        self.send(&Request::DataOut(data_out).emit(), &data, None);
    }

    /// The daemon answers a command.
    fn answer(&mut self, input: &mut Input<'_>) {
        let [which, how] = input.array();
        if self.commands.is_empty() {
            return;
        }
        let task = self.commands.remove(usize::from(which) % self.commands.len());
        let bytes = vec![0xDA; usize::from(input.u16()) % 8192];
        let data_in = match how % 4 {
            0 => DataIn::None,
            1 => DataIn::Parameters(bytes),
            _ => DataIn::Blocks(bytes.chunks(512).map(|block| self.data_in.copy_of(block)).collect()),
        };
        let (status, sense) = match how >> 6 {
            0 => (Status::CheckCondition, vec![0x70; 18]),
            1 => (Status::Busy, vec![]),
            _ => (Status::Good, vec![]),
        };
        let data_out_wanted = (how & 8 != 0).then(|| u64::from(which));
        self.connection
            .handle_response(task, scsi::Response { status, sense, data_in, data_out_wanted, data_in_wanted: None });
        if how & 16 != 0 {
            // Twice is once.
            self.connection.handle_response(task, scsi::Response::good());
        }
    }

    /// What else the daemon does.
    fn manage(&mut self, input: &mut Input<'_>) {
        let [what, which] = input.array();
        let which = usize::from(which);
        match what % 7 {
            0 if !self.functions.is_empty() => {
                let id = self.functions.remove(which % self.functions.len());
                self.connection.handle_task_management_done(id, FunctionResponse::Complete);
            }
            1 if !self.commands.is_empty() => {
                let task = self.commands.remove(which % self.commands.len());
                self.connection.handle_task_aborted(task);
            }
            2 => {
                self.connection.handle_tasks_aborted((which < 128).then_some(0));
            }
            3 => self.connection.send_async(&match which % 8 {
                0 => AsyncNotice::DropConnection { time2wait: 1 },
                1 => AsyncNotice::RequestLogout { within: 1 },
                _ => AsyncNotice::ScsiEvent { lun: 0, sense: vec![0x70; 18] },
            }),
            4 => {
                self.now_ms += u64::from(input.u16());
                self.connection.handle_timer(self.now_ms);
            }
            5 => self.connection.handle_logged_out(),
            _ => self.connection.set_arrival_mark(which as u64),
        }
    }

    /// Read up to `count` PDUs that the target sends.
    fn receive(&mut self, count: usize) {
        let mut left = count;
        while left > 0
            && let Some(transmit) = self.connection.poll_transmit()
        {
            left -= 1;
            for (response, _) in self.receiver.pdus(&transmit.to_vec()) {
                self.on_response(response);
            }
        }
    }

    fn on_response(&mut self, response: Response) {
        let numbers = match &response {
            Response::NopIn(pdu) => pdu.numbers,
            Response::ScsiResponse(pdu) => pdu.numbers,
            Response::TaskManagement(pdu) => pdu.numbers,
            Response::Login(pdu) => pdu.numbers,
            Response::Text(pdu) => pdu.numbers,
            Response::DataIn(pdu) => pdu.numbers,
            Response::Logout(pdu) => pdu.numbers,
            Response::R2t(pdu) => pdu.numbers,
            Response::AsyncMessage(pdu) => pdu.numbers,
            Response::Reject(pdu) => pdu.numbers,
        };
        if let Some(before) = self.numbers.replace(numbers) {
            assert!(numbers.stat_sn.since(before.stat_sn) <= 1, "StatSN counts up");
            assert!(numbers.exp_cmd_sn.since(before.exp_cmd_sn) < 1 << 16, "ExpCmdSN never goes back");
            assert!(numbers.max_cmd_sn.since(before.max_cmd_sn) < 1 << 16, "MaxCmdSN never goes back");
        }
        assert!(numbers.max_cmd_sn.next().since(numbers.exp_cmd_sn) <= QUEUE_DEPTH, "the window is no wider");
        self.cmd_sn = numbers.exp_cmd_sn;
        if let Response::R2t(r2t) = response {
            assert!(r2t.desired_data_transfer_length > 0);
            self.r2ts.push_back(r2t);
        }
    }

    fn on_command(&mut self, command: &CommandEvent) {
        assert!(command.cdb.len() >= 16 && self.commands.len() <= 2 * QUEUE_DEPTH as usize);
        if let Some(data) = &command.data_out
            && !self.garbled
        {
            let wrong = data.iter().enumerate().position(|(at, byte)| *byte != pattern(at));
            assert_eq!(wrong, None, "Data-Out from elsewhere");
        }
        self.commands.push(command.task);
    }

    fn dispatch(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            assert!(!self.closed, "closing is the last event");
            match event {
                Event::Command(command) => self.on_command(&command),
                Event::TaskManagement(event) => self.functions.push(event.id),
                Event::LoggedOut => {}
                Event::Close(_) => self.closed = true,
                Event::LoginComplete(_) | Event::LoginDenied(_) => panic!("it is logged in already"),
            }
        }
    }

    /// What must hold at any moment.
    fn check(&mut self) {
        // Sizes of buffers are powers of two, and one data segment may be on its way for a command that fails.
        let bound = 2 * BUDGET_BYTES as usize + FIRST_BURST_BYTES as usize;
        assert!(self.data_out.in_use_bytes() <= bound, "too much memory");
        if self.closed {
            assert!(self.connection.recv_slices().iter().all(|slice| slice.is_empty()), "nothing is read any more");
            assert!(self.connection.poll_transmit().is_none(), "nothing is sent any more");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let mut game = Game::new(&mut input);
    let pools = [game.data_out.clone(), game.data_in.clone()];
    while !input.is_empty() && !game.closed {
        match input.byte() % 16 {
            0..=5 => game.send_any(&mut input),
            6..=8 => game.send_solicited(&mut input),
            9..=10 => game.answer(&mut input),
            11 => game.manage(&mut input),
            12 => {
                game.garbled = true;
                feed(&mut game.connection, input.take(48), 48, game.now_ms);
            }
            13 => game.receive(1),
            _ => game.receive(MAX_OUTBOX_PDUS),
        }
        game.dispatch();
        game.check();
    }
    drop(game);
    assert!(pools.iter().all(|pool| pool.in_use_bytes() == 0), "all memory is given back");
});
