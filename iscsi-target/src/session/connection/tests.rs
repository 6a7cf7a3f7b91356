use proptest::prelude::*;

use super::*;
use crate::pdu::command::{Attribute, Residual, ScsiCommand, ScsiResponse, parse_sense};
use crate::pdu::data::DataOut;
use crate::pdu::digest::Digests;
use crate::pdu::logout::{LogoutOutcome, LogoutReason, LogoutRequest};
use crate::pdu::nop::NopOut;
use crate::pdu::r2t::R2t;
use crate::pdu::reject::RejectReason;
use crate::pdu::task_mgmt::{Function, TaskManagementRequest};
use crate::pdu::text::{TextRequest, emit_key};
use crate::pdu::{CmdSn, StatSn};
use crate::scsi::{DataIn, Status};
use crate::session::access::Denied;
use crate::session::access::tests::open;
use crate::session::limits::{MAX_IMMEDIATE_COMMANDS, MAX_OUTBOX_PDUS};
use crate::session::{CommandEvent, LoginDenied, TaskManagementFunction};

const FIRST: u32 = u32::MAX - 2;
const LUN: u64 = 1 << 48;

/// An initiator that types what it likes, and a daemon that watches.
struct Bench {
    connection: Connection,
    framer: Framer,
    digests: Digests,
    chunk: usize,
    now_ms: u64,
}

type Pdus = Vec<(Response, Vec<u8>)>;

impl Bench {
    fn new(chunk: usize) -> Self {
        let portal = PortalConfig {
            target_name: "iqn.us".into(),
            target_alias: String::new(),
            target_portal_group_tag: 1,
            portals: vec![],
        };
        Self {
            connection: Connection::new(Arc::new(portal), open(), Pool::new(), Budget::new(u64::MAX), 1000),
            framer: Framer::new(1 << 24),
            digests: Digests::default(),
            chunk,
            now_ms: 1000,
        }
    }

    /// Logged in, with these keys beside the usual ones.
    fn logged_in(chunk: usize, keys: &[(&str, &str)]) -> Self {
        let mut bench = Self::new(chunk);
        let mut text = Vec::new();
        for (name, value) in [("InitiatorName", "iqn.them"), ("TargetName", "iqn.us")].iter().chain(keys) {
            emit_key(&mut text, name, value);
        }
        bench.send(login(), &text);
        let Some(Event::LoginComplete(details)) = bench.connection.poll_event() else { panic!("no login") };
        assert_eq!(details.initiator, InitiatorPort { name: "iqn.them".into(), isid: [0; 6] });
        assert!(bench.receive().is_empty(), "the last response waits for the daemon");
        bench.connection.handle_login_granted(5);
        let answers = bench.receive();
        assert!(matches!(&answers[..], [(Response::Login(last), _)] if last.tsih == 5 && last.transit));
        let uses = |name: &str| keys.contains(&(name, "CRC32C"));
        bench.digests = Digests { header: uses("HeaderDigest"), data: uses("DataDigest") };
        bench.framer.set_digests(bench.digests);
        bench
    }

    fn eager(chunk: usize) -> Self {
        Self::logged_in(chunk, &[("InitialR2T", "No"), ("MaxRecvDataSegmentLength", "262144")])
    }

    fn send(&mut self, request: Request, data: &[u8]) {
        let data = if data.is_empty() { vec![] } else { vec![data.to_vec().into()] };
        let bytes = Transmit::new(&request.emit(), data, self.digests).to_vec();
        self.send_bytes(&bytes);
    }

    fn send_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut count = 0;
            for mut slice in self.connection.recv_slices() {
                let part = slice.len().min(bytes.len() - count).min(self.chunk - count);
                slice[..part].copy_from_slice(&bytes[count..count + part]);
                count += part;
            }
            if count == 0 {
                return;
            }
            self.connection.received(count, self.now_ms);
            bytes = &bytes[count..];
        }
    }

    fn receive(&mut self) -> Pdus {
        let mut pdus = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit() {
            let bytes = transmit.to_vec();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                rest = &rest[self.framer.push(rest)..];
                self.read_items(&mut pdus);
            }
        }
        pdus
    }

    fn read_items(&mut self, pdus: &mut Pdus) {
        while let Some(item) = self.framer.poll().unwrap() {
            match item {
                Item::Header(header) => {
                    pdus.push((Response::parse(&header).unwrap(), Vec::new()));
                    self.framer.place(Place::Memory(Vec::new()));
                }
                Item::Data { place: Place::Memory(data), digest_matches } => {
                    assert!(digest_matches);
                    pdus.last_mut().unwrap().1 = data;
                }
                Item::Data { .. } => unreachable!(),
            }
        }
    }

    fn command(&mut self) -> CommandEvent {
        match self.connection.poll_event() {
            Some(Event::Command(command)) => command,
            other => panic!("{other:?}"),
        }
    }

    fn function(&mut self) -> (TaskManagementId, TaskManagementFunction) {
        match self.connection.poll_event() {
            Some(Event::TaskManagement(event)) => (event.id, event.function),
            other => panic!("{other:?}"),
        }
    }

    fn is_quiet(&mut self) -> bool {
        self.connection.poll_event().is_none() && self.receive().is_empty()
    }

    fn closes(&mut self) -> (Pdus, CloseReason) {
        let pdus = self.receive();
        match self.connection.poll_event() {
            Some(Event::Close(reason)) => {
                assert!(self.connection.poll_event().is_none(), "closing is the last event");
                assert!(self.connection.recv_slices().iter().all(|slice| slice.is_empty()));
                (pdus, reason)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn login() -> Request {
    Request::Login(LoginRequest { cid: 3, ..LoginRequest::new([0; 6], CmdSn(FIRST)) })
}

/// The `nth` command of the session; its task tag is the same number.
fn nth(nth: u32, write: bool, length: u32) -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        is_final: true,
        read: !write && length > 0,
        write,
        attribute: Attribute::Simple,
        lun: LUN,
        itt: Itt(nth),
        expected_data_transfer_length: length,
        cmd_sn: CmdSn(FIRST).plus(nth),
        exp_stat_sn: StatSn(0),
        cdb: vec![0; 16],
        bidirectional_read_length: None,
    }
}

fn data_out(itt: u32, ttt: Ttt, data_sn: u32, buffer_offset: u32, is_final: bool) -> Request {
    let exp_stat_sn = StatSn(0);
    Request::DataOut(DataOut { is_final, lun: LUN, itt: Itt(itt), ttt, exp_stat_sn, data_sn, buffer_offset })
}

fn task_management(function: Function, itt: u32, referenced: u32, cmd_sn: u32) -> Request {
    Request::TaskManagement(TaskManagementRequest {
        immediate: true,
        function,
        lun: LUN,
        itt: Itt(itt),
        referenced_task_tag: Itt(referenced),
        cmd_sn: CmdSn(FIRST).plus(cmd_sn),
        exp_stat_sn: StatSn(0),
        ref_cmd_sn: CmdSn(FIRST).plus(referenced),
        exp_data_sn: 0,
    })
}

fn nop_out(itt: Itt, immediate: bool, nth: u32) -> Request {
    let (cmd_sn, exp_stat_sn) = (CmdSn(FIRST).plus(nth), StatSn(0));
    Request::NopOut(NopOut { immediate, lun: 0, itt, ttt: Ttt::RESERVED, cmd_sn, exp_stat_sn })
}

fn good(data_in: DataIn) -> scsi::Response {
    scsi::Response { status: Status::Good, sense: vec![], data_in, data_out_wanted: None, data_in_wanted: None }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn only_response(pdus: &Pdus) -> (&ScsiResponse, &[u8]) {
    match &pdus[..] {
        [(Response::ScsiResponse(response), data)] => (response, data),
        other => panic!("{other:?}"),
    }
}

fn only_r2t(pdus: &Pdus) -> &R2t {
    match &pdus[..] {
        [(Response::R2t(r2t), _)] => r2t,
        other => panic!("{other:?}"),
    }
}

fn reject_reason(pdu: &(Response, Vec<u8>)) -> RejectReason {
    match &pdu.0 {
        Response::Reject(reject) => reject.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_is_answered_with_data_and_status() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, false, 512)), &[]);
    let command = bench.command();
    assert_eq!((command.lun, command.data_in_max, &command.data_out), (LUN, 512, &None));
    bench.connection.handle_response(command.task, good(DataIn::Parameters(pattern(512))));
    let pdus = bench.receive();
    let [(Response::DataIn(pdu), data)] = &pdus[..] else { panic!("{pdus:?}") };
    assert_eq!(data, &pattern(512));
    assert_eq!((pdu.status, pdu.is_final), (Some((0, Residual::None)), true));
    assert_eq!(pdu.numbers.stat_sn, StatSn(2), "the login response was number 1");
    assert_eq!(pdu.numbers.exp_cmd_sn, CmdSn(FIRST).plus(1));
    assert_eq!(pdu.numbers.max_cmd_sn, CmdSn(FIRST).plus(QUEUE_DEPTH));
}

#[test]
fn writes_collect_their_data_in_every_way_and_chunking() {
    for keys in [&[][..], &[("HeaderDigest", "CRC32C")], &[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")]] {
        for chunk in [1, 47, 5000, 1 << 20] {
            let mut bench =
                Bench::logged_in(chunk, &[&[("InitialR2T", "No"), ("FirstBurstLength", "8192")], keys].concat());
            let bytes = pattern(30_001);
            let command = ScsiCommand { is_final: false, ..nth(0, true, 30_001) };
            bench.send(Request::ScsiCommand(command), &bytes[..1001]);
            bench.send(data_out(0, Ttt::RESERVED, 0, 1001, false), &bytes[1001..5000]);
            bench.send(data_out(0, Ttt::RESERVED, 1, 5000, true), &bytes[5000..8192]);
            let pdus = bench.receive();
            let r2t = only_r2t(&pdus);
            assert_eq!((r2t.buffer_offset, r2t.desired_data_transfer_length, r2t.r2t_sn), (8192, 21_809, 0));
            bench.send(data_out(0, r2t.ttt, 0, 8192, false), &bytes[8192..20_000]);
            bench.send(data_out(0, r2t.ttt, 1, 20_000, true), &bytes[20_000..]);
            let command = bench.command();
            assert_eq!(&*command.data_out.unwrap(), bytes);
            bench.connection.handle_response(command.task, good(DataIn::None));
            let pdus = bench.receive();
            let (response, _) = only_response(&pdus);
            assert_eq!((response.status, response.exp_data_sn, response.residual), (0, 1, Residual::None));
        }
    }
}

#[test]
fn long_writes_are_asked_for_in_bursts() {
    let keys = [("MaxBurstLength", "1024"), ("MaxOutstandingR2T", "2"), ("ImmediateData", "No")];
    let mut bench = Bench::logged_in(1 << 20, &keys);
    bench.send(Request::ScsiCommand(nth(0, true, 2500)), &[]);
    let r2ts = bench.receive();
    let parts: Vec<_> = r2ts.iter().map(|pdu| only_r2t(&vec![pdu.clone()]).clone()).collect();
    let shapes: Vec<_> =
        parts.iter().map(|r2t| (r2t.r2t_sn, r2t.buffer_offset, r2t.desired_data_transfer_length)).collect();
    assert_eq!(shapes, [(0, 0, 1024), (1, 1024, 1024)]);
    assert_ne!(parts[0].ttt, parts[1].ttt);
    bench.send(data_out(0, parts[0].ttt, 0, 0, true), &[1; 1024]);
    let last = only_r2t(&bench.receive()).clone();
    assert_eq!((last.r2t_sn, last.buffer_offset, last.desired_data_transfer_length), (2, 2048, 452));
    bench.send(data_out(0, parts[1].ttt, 0, 1024, true), &[2; 1024]);
    bench.send(data_out(0, last.ttt, 0, 2048, true), &[3; 452]);
    let payload = bench.command().data_out.unwrap();
    assert_eq!((payload[0], payload[1024], payload[2499]), (1, 2, 3));
}

#[test]
fn a_wrong_data_sn_fails_the_command_once_all_data_came() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(ScsiCommand { is_final: false, ..nth(0, true, 1024) }), &[]);
    bench.send(data_out(0, Ttt::RESERVED, 27, 0, false), &[1; 512]);
    assert!(bench.is_quiet());
    bench.send(data_out(0, Ttt::RESERVED, 28, 512, true), &[1; 512]);
    let pdus = bench.receive();
    let (response, sense) = only_response(&pdus);
    assert_eq!(response.status, 2);
    let sense = parse_sense(sense);
    assert_eq!((sense[2], sense[12], sense[13]), (0x0b, 0x47, 0x05));
    assert!(bench.is_quiet());
}

#[test]
fn a_wrong_data_digest_is_rejected_and_fails_the_command() {
    let mut bench = Bench::logged_in(1 << 20, &[("DataDigest", "CRC32C")]);
    let transmit = Transmit::new(&Request::ScsiCommand(nth(0, true, 4)).emit(), vec![vec![1; 4].into()], bench.digests);
    let mut bytes = transmit.to_vec();
    bytes[48] ^= 1;
    bench.send_bytes(&bytes);
    let pdus = bench.receive();
    assert_eq!(reject_reason(&pdus[0]), RejectReason::DataDigestError);
    assert_eq!(pdus[0].1, bytes[..48]);
    assert_eq!(only_response(&pdus[1..].to_vec()).0.status, 2);
    assert!(bench.connection.poll_event().is_none());
}

#[test]
fn a_wrong_header_digest_closes() {
    let mut bench = Bench::logged_in(1 << 20, &[("HeaderDigest", "CRC32C")]);
    bench.send_bytes(&[0; 52]);
    assert!(matches!(bench.closes().1, CloseReason::Frame(_)));
}

#[test]
fn unsolicited_data_against_the_rules_fails() {
    let mut bench = Bench::logged_in(1 << 20, &[("ImmediateData", "No")]);
    bench.send(Request::ScsiCommand(nth(0, true, 512)), &[1; 512]);
    let pdus = bench.receive();
    let sense = parse_sense(only_response(&pdus).1);
    assert_eq!((sense[2], sense[12], sense[13]), (0x0b, 0x0c, 0x0c));
    let stray = data_out(9, Ttt::RESERVED, 0, 0, true);
    bench.send(stray, &[1; 512]);
    assert!(bench.is_quiet(), "data for a task that is gone");
    bench.send(Request::ScsiCommand(nth(1, true, 512)), &[]);
    let r2t = only_r2t(&bench.receive()).clone();
    bench.send(data_out(1, Ttt(r2t.ttt.0 + 1), 0, 0, true), &[1; 512]);
    assert_eq!(reject_reason(&bench.receive()[0]), RejectReason::InvalidPduField);
}

#[test]
fn the_window_bounds_commands_and_wraps() {
    let mut bench = Bench::eager(1 << 20);
    for at in 0..QUEUE_DEPTH {
        bench.send(Request::ScsiCommand(nth(at, false, 0)), &[]);
    }
    let first = bench.command();
    for _ in 1..QUEUE_DEPTH {
        bench.command();
    }
    bench.send(Request::ScsiCommand(nth(QUEUE_DEPTH, false, 0)), &[]);
    assert!(bench.is_quiet(), "beyond MaxCmdSN");
    bench.send(Request::ScsiCommand(nth(5, false, 0)), &[]);
    assert!(bench.is_quiet(), "an old number");
    bench.connection.handle_response(first.task, good(DataIn::None));
    let pdus = bench.receive();
    assert_eq!(only_response(&pdus).0.numbers.max_cmd_sn, CmdSn(FIRST).plus(QUEUE_DEPTH));
    bench.send(Request::ScsiCommand(nth(QUEUE_DEPTH, false, 0)), &[]);
    bench.command();
}

#[test]
fn a_gap_in_the_numbers_closes() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(1, false, 0)), &[]);
    assert_eq!(bench.closes().1, CloseReason::Protocol(ProtocolViolation::CommandGap));
}

#[test]
fn a_task_tag_in_use_is_rejected() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, false, 0)), &[]);
    bench.command();
    bench.send(Request::ScsiCommand(ScsiCommand { itt: Itt(0), ..nth(1, false, 0) }), &[]);
    assert_eq!(reject_reason(&bench.receive()[0]), RejectReason::InvalidPduField);
    bench.send(Request::ScsiCommand(nth(2, false, 0)), &[]);
    bench.command();
}

#[test]
fn immediate_commands_pass_the_window_but_are_bounded() {
    let mut bench = Bench::eager(1 << 20);
    let immediate = |tag: usize| {
        let itt = Itt(u32::try_from(tag).unwrap());
        Request::ScsiCommand(ScsiCommand { immediate: true, itt, ..nth(0, false, 0) })
    };
    for tag in 0..MAX_IMMEDIATE_COMMANDS {
        bench.send(immediate(tag), &[]);
        assert!(bench.command().immediate);
    }
    bench.send(immediate(99), &[]);
    assert_eq!(reject_reason(&bench.receive()[0]), RejectReason::ImmediateCommandReject);
}

#[test]
fn too_long_and_too_many_transfers_are_refused() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, true, u32::MAX)), &[]);
    let pdus = bench.receive();
    assert_eq!(parse_sense(only_response(&pdus).1)[12], 0x24);
    let mut refused = None;
    for at in 1..30 {
        bench.send(Request::ScsiCommand(nth(at, true, 16 << 20)), &[]);
        if let [(Response::ScsiResponse(response), _)] = &bench.receive()[..] {
            refused = Some((at, response.status));
            break;
        }
    }
    assert_eq!(refused, Some((17, 0x28)), "16 such commands fit, and the one that was refused gave its room back");
}

#[test]
fn abort_task_follows_the_task() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, false, 0)), &[]);
    bench.send(Request::ScsiCommand(nth(1, true, 1 << 20)), &[]);
    let issued = bench.command();
    bench.send(task_management(Function::AbortTask, 50, 1, 2), &[]);
    let pdus = bench.receive();
    assert!(matches!(&pdus[..], [(Response::TaskManagement(done), _)] if done.response == FunctionResponse::Complete));
    bench.send(data_out(1, Ttt(0), 0, 0, true), &[0; 512]);
    assert!(bench.is_quiet(), "a task that was collecting is gone");

    bench.send(task_management(Function::AbortTask, 51, 0, 2), &[]);
    let (id, function) = bench.function();
    assert_eq!(function, TaskManagementFunction::AbortTask { lun: LUN, task: issued.task });
    assert!(bench.is_quiet());
    bench.connection.handle_task_management_done(id, FunctionResponse::Complete);
    bench.connection.handle_response(issued.task, good(DataIn::None));
    let pdus = bench.receive();
    let [(Response::TaskManagement(done), _)] = &pdus[..] else { panic!("{pdus:?}") };
    assert_eq!((done.itt, done.response), (Itt(51), FunctionResponse::Complete));
    assert_eq!(done.numbers.max_cmd_sn, CmdSn(FIRST).plus(2 + QUEUE_DEPTH - 1), "both have left the window");
}

#[test]
fn a_task_is_either_answered_or_aborted() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, false, 0)), &[]);
    let command = bench.command();
    bench.send(task_management(Function::AbortTask, 50, 0, 1), &[]);
    let (id, _) = bench.function();
    bench.connection.handle_response(command.task, good(DataIn::None));
    bench.connection.handle_task_management_done(id, FunctionResponse::Complete);
    let pdus = bench.receive();
    assert!(matches!(
        &pdus[..],
        [(Response::ScsiResponse(_), _), (Response::TaskManagement(done), _)]
            if done.response == FunctionResponse::TaskDoesNotExist
    ));
}

#[test]
fn abort_of_an_unknown_task_depends_on_its_number() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, false, 0)), &[]);
    let command = bench.command();
    bench.connection.handle_response(command.task, good(DataIn::None));
    bench.receive();
    let answer = |bench: &mut Bench, referenced| {
        bench.send(task_management(Function::AbortTask, 50, referenced, 2), &[]);
        match &bench.receive()[..] {
            [(Response::TaskManagement(done), _)] => done.response,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(answer(&mut bench, 0), FunctionResponse::TaskDoesNotExist);
    assert_eq!(answer(&mut bench, 1), FunctionResponse::Complete, "never sent, and now it never will be");
    bench.send(Request::ScsiCommand(nth(2, false, 0)), &[]);
    bench.command();
}

#[test]
fn a_reset_ends_the_tasks_of_its_unit_that_came_before_it() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, false, 0)), &[]);
    bench.send(Request::ScsiCommand(ScsiCommand { lun: 0, ..nth(1, false, 0) }), &[]);
    let (inside, outside) = (bench.command(), bench.command());
    bench.send(task_management(Function::LogicalUnitReset, 50, 0, 2), &[]);
    let (id, function) = bench.function();
    assert_eq!(function, TaskManagementFunction::LogicalUnitReset { lun: LUN });
    bench.send(Request::ScsiCommand(nth(2, false, 0)), &[]);
    let later = bench.command();
    bench.connection.handle_task_management_done(id, FunctionResponse::Complete);
    bench.receive();
    for task in [&inside, &outside, &later] {
        bench.connection.handle_response(task.task, good(DataIn::None));
    }
    let tags: Vec<_> = bench.receive().iter().map(|pdu| only_response(&vec![pdu.clone()]).0.itt).collect();
    assert_eq!(tags, [Itt(1), Itt(2)]);
}

#[test]
fn functions_that_are_not_there_say_so() {
    let mut bench = Bench::eager(1 << 20);
    for (function, expected) in [
        (Function::TaskReassign, FunctionResponse::ReassignmentNotSupported),
        (Function::ClearAca, FunctionResponse::NotSupported),
        (Function::Other(11), FunctionResponse::NotSupported),
    ] {
        bench.send(task_management(function, 50, 0, 0), &[]);
        let pdus = bench.receive();
        assert!(matches!(&pdus[..], [(Response::TaskManagement(done), _)] if done.response == expected));
    }
    assert!(bench.is_quiet());
}

#[test]
fn others_may_end_tasks_without_an_answer() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, false, 0)), &[]);
    bench.send(Request::ScsiCommand(nth(1, true, 512)), &[]);
    bench.send(Request::ScsiCommand(ScsiCommand { lun: 0, ..nth(2, false, 0) }), &[]);
    let (gone, other) = (bench.command(), bench.command());
    bench.connection.handle_tasks_aborted(Some(LUN));
    assert!(bench.receive().is_empty(), "not even the R2T that waited");
    bench.connection.handle_response(gone.task, good(DataIn::None));
    bench.connection.handle_task_aborted(other.task);
    bench.connection.handle_response(other.task, good(DataIn::None));
    assert!(bench.is_quiet());
}

#[test]
fn pings_are_answered_with_their_data() {
    let mut bench = Bench::logged_in(1 << 20, &[("MaxRecvDataSegmentLength", "512")]);
    bench.send(nop_out(Itt(9), false, 0), &pattern(600));
    let pdus = bench.receive();
    let [(Response::NopIn(nop), data)] = &pdus[..] else { panic!("{pdus:?}") };
    assert_eq!((nop.itt, nop.ttt, nop.numbers.exp_cmd_sn), (Itt(9), Ttt::RESERVED, CmdSn(FIRST).plus(1)));
    assert_eq!(data, &pattern(512));
    bench.send(nop_out(Itt::RESERVED, true, 1), &[]);
    assert!(bench.is_quiet());
}

#[test]
fn silence_is_met_with_a_ping_and_then_the_end() {
    let mut bench = Bench::eager(1 << 20);
    let due_ms = bench.connection.poll_timeout().unwrap();
    assert_eq!(due_ms, 1000 + PING_INTERVAL_MS);
    bench.connection.handle_timer(due_ms - 1);
    assert!(bench.is_quiet());
    bench.connection.handle_timer(due_ms);
    assert!(matches!(&bench.receive()[..], [(Response::NopIn(ping), _)] if ping.itt == Itt::RESERVED));
    bench.now_ms = due_ms + 1;
    bench.send(nop_out(Itt::RESERVED, true, 0), &[]);
    let next_ms = bench.connection.poll_timeout().unwrap();
    assert_eq!(next_ms, due_ms + 1 + PING_INTERVAL_MS);
    bench.connection.handle_timer(next_ms);
    assert_eq!(bench.connection.poll_timeout(), Some(next_ms + PING_TIMEOUT_MS));
    bench.connection.handle_timer(next_ms + PING_TIMEOUT_MS);
    assert_eq!(bench.closes().1, CloseReason::PingTimeout);
}

#[test]
fn a_login_must_come_to_an_end() {
    let mut bench = Bench::new(1 << 20);
    bench.connection.handle_timer(1000 + LOGIN_TIMEOUT_MS);
    assert_eq!(bench.closes().1, CloseReason::LoginTimeout);
    assert_eq!(bench.connection.poll_timeout(), None);
}

#[test]
fn a_login_may_be_refused_by_either_side_of_the_core() {
    let mut bench = Bench::new(1);
    bench.send(login(), b"InitiatorName=iqn.them\0TargetName=iqn.else\0");
    let (pdus, reason) = bench.closes();
    assert_eq!(reason, CloseReason::LoginRefused(LoginStatus::NOT_FOUND));
    assert!(matches!(&pdus[..], [(Response::Login(last), _)] if last.status == LoginStatus::NOT_FOUND));

    let mut bench = Bench::new(1);
    bench.send(login(), b"InitiatorName=iqn.them\0TargetName=iqn.us\0");
    assert!(matches!(bench.connection.poll_event(), Some(Event::LoginComplete(_))));
    bench.connection.handle_login_refused(LoginStatus::SERVICE_UNAVAILABLE);
    bench.connection.handle_login_granted(1);
    let (pdus, reason) = bench.closes();
    assert_eq!(reason, CloseReason::LoginRefused(LoginStatus::SERVICE_UNAVAILABLE));
    assert_eq!(pdus.len(), 1);
}

#[test]
fn who_is_kept_out_is_named_to_the_operator_once() {
    let mut bench = Bench::new(1);
    bench.connection.entrance.admits_address = false;
    bench.send(login(), b"InitiatorName=iqn.them\0TargetName=iqn.us\0");
    let denied =
        LoginDenied { initiator: "iqn.them".to_owned(), session_type: SessionType::Normal, why: Denied::Address };
    assert!(matches!(bench.connection.poll_event(), Some(Event::LoginDenied(event)) if event == denied));
    let (pdus, reason) = bench.closes();
    assert_eq!(reason, CloseReason::LoginRefused(LoginStatus::AUTHORIZATION_FAILURE));
    assert!(matches!(&pdus[..], [(Response::Login(last), text)] if last.status.is_denial() && text.is_empty()));
}

#[test]
fn nothing_but_a_login_may_come_first() {
    let mut bench = Bench::new(1 << 20);
    bench.send(nop_out(Itt(1), true, 0), &[]);
    assert_eq!(bench.closes().1, CloseReason::Protocol(ProtocolViolation::NotALogin(0)));
    let mut bench = Bench::new(1 << 20);
    bench.send(login(), &[0; 8193]);
    assert!(matches!(bench.closes().1, CloseReason::Frame(_)));
    let mut bench = Bench::eager(1 << 20);
    bench.send(login(), &[]);
    assert_eq!(bench.closes().1, CloseReason::Protocol(ProtocolViolation::LoginInFullFeature));
}

#[test]
fn logout_ends_the_session_after_its_response() {
    let mut bench = Bench::eager(1 << 20);
    bench.send(Request::ScsiCommand(nth(0, false, 0)), &[]);
    let command = bench.command();
    let logout = |reason, cid| {
        let (cmd_sn, exp_stat_sn) = (CmdSn(FIRST).plus(1), StatSn(0));
        Request::Logout(LogoutRequest { immediate: true, reason, itt: Itt(8), cid, cmd_sn, exp_stat_sn })
    };
    for (reason, expected) in [
        (LogoutReason::CloseConnection, LogoutOutcome::CidNotFound),
        (LogoutReason::RemoveConnectionForRecovery, LogoutOutcome::RecoveryNotSupported),
    ] {
        bench.send(logout(reason, 99), &[]);
        assert!(matches!(&bench.receive()[..], [(Response::Logout(answer), _)] if answer.response == expected));
    }
    bench.send(logout(LogoutReason::CloseConnection, 3), &[]);
    assert!(matches!(bench.connection.poll_event(), Some(Event::LoggedOut)));
    bench.send(nop_out(Itt(9), true, 1), &[]);
    bench.connection.handle_response(command.task, good(DataIn::None));
    assert!(bench.receive().is_empty(), "what it had has not ended yet, and nothing else is answered");
    bench.connection.handle_logged_out();
    assert!(bench.connection.poll_event().is_none(), "the response goes first");
    let (pdus, reason) = bench.closes();
    assert!(matches!(&pdus[..], [(Response::Logout(answer), _)] if answer.response == LogoutOutcome::Closed));
    assert_eq!(reason, CloseReason::LoggedOut);
}

#[test]
fn a_logout_that_takes_too_long_ends_the_connection() {
    let mut bench = Bench::eager(1 << 20);
    let (cmd_sn, exp_stat_sn) = (CmdSn(FIRST), StatSn(0));
    let reason = LogoutReason::CloseSession;
    bench.send(
        Request::Logout(LogoutRequest { immediate: true, reason, itt: Itt(8), cid: 3, cmd_sn, exp_stat_sn }),
        &[],
    );
    assert!(matches!(bench.connection.poll_event(), Some(Event::LoggedOut)));
    let due = bench.connection.poll_timeout().unwrap();
    bench.connection.handle_timer(due - 1);
    assert!(bench.connection.poll_event().is_none());
    bench.connection.handle_timer(due);
    let (pdus, reason) = bench.closes();
    assert!(pdus.is_empty());
    assert_eq!(reason, CloseReason::LoggedOut);
}

#[test]
fn an_initiator_that_takes_nothing_cannot_put_off_the_end() {
    let mut bench = Bench::eager(1 << 20);
    bench.connection.send_async(&AsyncNotice::DropConnection { time2wait: 0 });
    assert!(bench.connection.poll_event().is_none());
    assert!(bench.connection.poll_timeout().unwrap() <= 9000);
    bench.connection.handle_timer(9000);
    assert_eq!(bench.connection.poll_timeout(), Some(9000 + LINGER_MS));
    assert!(bench.connection.poll_event().is_none());
    bench.connection.handle_timer(9000 + LINGER_MS);
    assert!(matches!(bench.connection.poll_event(), Some(Event::Close(CloseReason::Dropped))));
    assert_eq!(bench.connection.poll_timeout(), None);
}

#[test]
fn discovery_sessions_take_texts_but_no_commands() {
    let mut bench = Bench::logged_in(1 << 20, &[("SessionType", "Discovery")]);
    let (cmd_sn, exp_stat_sn) = (CmdSn(FIRST), StatSn(0));
    let text = TextRequest {
        immediate: false,
        is_final: true,
        text_continues: false,
        lun: 0,
        itt: Itt(1),
        ttt: Ttt::RESERVED,
        cmd_sn,
        exp_stat_sn,
    };
    bench.send(Request::Text(text), b"SendTargets=All\0");
    let pdus = bench.receive();
    assert!(matches!(&pdus[..], [(Response::Text(_), text)] if text == b"TargetName=iqn.us\0"));
    bench.send(Request::ScsiCommand(nth(1, false, 0)), &[]);
    assert_eq!(reject_reason(&bench.receive()[0]), RejectReason::CommandNotSupported);
}

#[test]
fn snack_is_rejected() {
    let mut bench = Bench::eager(1 << 20);
    let mut bhs = [0; 48];
    bhs[0] = crate::pdu::opcode::SNACK;
    bench.send_bytes(&bhs);
    assert_eq!(reject_reason(&bench.receive()[0]), RejectReason::CommandNotSupported);
}

#[test]
fn what_comes_back_of_a_rejected_header_is_no_longer_than_every_initiator_takes() {
    let mut bench = Bench::eager(1 << 20);
    let mut header = [0; 48 + 255 * 4];
    header[0] = crate::pdu::opcode::SNACK;
    header[4] = 255;
    bench.send_bytes(&header);
    let pdus = bench.receive();
    assert_eq!(reject_reason(&pdus[0]), RejectReason::CommandNotSupported);
    assert_eq!(pdus[0].1, header[..512]);
}

#[test]
fn the_target_may_speak_first() {
    let mut bench = Bench::eager(1 << 20);
    bench.connection.send_async(&AsyncNotice::ScsiEvent { lun: LUN, sense: vec![0x70, 0, 6] });
    bench.connection.send_async(&AsyncNotice::RequestLogout { within: 3 });
    let pdus = bench.receive();
    let events: Vec<_> = pdus
        .iter()
        .map(|(pdu, data)| match pdu {
            Response::AsyncMessage(message) => (message.async_event, message.parameter3, parse_sense(data).len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(events, [(AsyncEvent::ScsiEvent, 0, 3), (AsyncEvent::LogoutRequest, 3, 0)]);
    bench.connection.send_async(&AsyncNotice::DropSession { time2wait: 0 });
    assert_eq!(bench.closes().1, CloseReason::Dropped);
}

#[test]
fn an_initiator_that_does_not_read_is_not_read_from() {
    let mut bench = Bench::eager(1 << 20);
    for at in 0..10_000 {
        bench.send(nop_out(Itt(at), true, 0), &[]);
    }
    assert!(bench.connection.recv_slices().iter().all(|slice| slice.is_empty()));
    assert!(bench.receive().len() > MAX_OUTBOX_PDUS, "sending makes room for what was received");
    assert!(bench.connection.recv_slices().iter().any(|slice| !slice.is_empty()));
}

#[test]
fn commands_carry_the_mark_in_force_when_they_were_received() {
    let mut bench = Bench::eager(1 << 20);
    bench.connection.set_arrival_mark(7);
    bench.send(Request::ScsiCommand(nth(0, true, 512)), &[]);
    let r2t = only_r2t(&bench.receive()).clone();
    bench.connection.set_arrival_mark(8);
    bench.send(data_out(0, r2t.ttt, 0, 0, true), &[0; 512]);
    assert_eq!(bench.command().arrival, 7);
    for at in 0..MAX_OUTBOX_PDUS {
        bench.send(nop_out(Itt(u32::try_from(at).unwrap()), true, 0), &[]);
    }
    bench.send(Request::ScsiCommand(nth(1, false, 0)), &[]);
    assert!(bench.connection.poll_event().is_none(), "no room for answers, so nothing is parsed");
    bench.connection.set_arrival_mark(9);
    bench.receive();
    assert_eq!(bench.command().arrival, 8);
    bench.send(Request::ScsiCommand(nth(2, false, 0)), &[]);
    assert_eq!(bench.command().arrival, 9);
}

/// A daemon that answers whatever it is given.
fn serve(bench: &mut Bench) {
    while let Some(event) = bench.connection.poll_event() {
        match event {
            Event::LoginComplete(_) => bench.connection.handle_login_granted(1),
            Event::Command(command) => {
                let data_in = DataIn::Parameters(vec![0; 700]);
                bench.connection.handle_response(command.task, good(data_in));
            }
            Event::TaskManagement(event) => {
                bench.connection.handle_task_management_done(event.id, FunctionResponse::Complete);
            }
            Event::LoginDenied(_) | Event::LoggedOut | Event::Close(_) => {}
        }
    }
    while bench.connection.poll_transmit().is_some() {}
}

/// PDUs that are nearly right: every field that matters comes from a small set.
fn nearly_a_pdu() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(vec![0u8, 1, 1, 1, 2, 4, 5, 5, 5, 6, 0x10, 0x1f, 3]);
    let fields = prop::collection::vec(prop::sample::select(vec![0u32, 1, 2, 512, 1024, u32::MAX]), 10);
    (opcode, any::<bool>(), any::<u8>(), 0u32..20, fields, 0usize..1100).prop_map(
        |(opcode, immediate, flags, cmd_sn, fields, len)| {
            let mut bhs = [0; 48];
            bhs[0] = opcode | if immediate { 0x40 } else { 0 };
            bhs[1] = flags;
            for (at, field) in fields.iter().enumerate() {
                bhs[8 + at * 4..12 + at * 4].copy_from_slice(&field.to_be_bytes());
            }
            if opcode != 5 {
                bhs[24..28].copy_from_slice(&CmdSn(FIRST).plus(cmd_sn).0.to_be_bytes());
            }
            let data = if len == 0 { vec![] } else { vec![vec![b'a'; len].into()] };
            Transmit::new(&Header::new(bhs, vec![]), data, Digests::default()).to_vec()
        },
    )
}

proptest! {
    #[test]
    fn random_bytes_before_login_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), chunk in 1usize..300) {
        let mut bench = Bench::new(chunk);
        bench.send_bytes(&bytes);
        serve(&mut bench);
    }

    #[test]
    fn random_bytes_after_login_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), chunk in 1usize..300) {
        let mut bench = Bench::eager(chunk);
        bench.send_bytes(&bytes);
        serve(&mut bench);
    }

    #[test]
    fn random_pdus_never_panic(pdus in prop::collection::vec(nearly_a_pdu(), 1..40), serve_every in 1usize..5) {
        let mut bench = Bench::eager(1 << 20);
        for (at, pdu) in pdus.iter().enumerate() {
            bench.send_bytes(pdu);
            if at % serve_every == 0 {
                serve(&mut bench);
            }
        }
        serve(&mut bench);
    }
}
