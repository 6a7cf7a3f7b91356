//! Dialogues of a session with a target that is played by the test, PDU for PDU.

use bytes::Bytes;

use super::*;
use crate::initiator::command::Data;
use crate::pdu::command::Residual;
use crate::pdu::data::DataOut;
use crate::pdu::login::Stage;
use crate::pdu::logout::{LogoutOutcome, LogoutResponse};
use crate::pdu::reject::Reject;
use crate::pdu::text::emit_key;
use crate::session::access::Secret;

const MS: fn(u64) -> Duration = Duration::from_millis;
const AGREED: &[(&str, &str)] = &[
    ("HeaderDigest", "None"),
    ("DataDigest", "None"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxRecvDataSegmentLength", "1024"),
    ("FirstBurstLength", "2048"),
    ("MaxBurstLength", "0x1000"),
];

fn options() -> SessionOptions {
    SessionOptions {
        initiator_name: "iqn.2025-01.test:initiator".to_owned(),
        account: None,
        isid: [0x80, 0, 0, 1, 0, 0],
        target_name: Some("iqn.2025-01.test:target".to_owned()),
        lun: 1 << 48,
        digests: Digests::default(),
        first_burst_length: 65536,
        login_timeout: MS(2000),
        nop_interval: MS(1000),
        nop_timeout: MS(1000),
        command_timeout: MS(30_000),
        abort_after: None,
    }
}

/// The target's side of the connection.
struct Peer {
    session: Session,
    framer: Framer,
    digests: Digests,
    stat_sn: StatSn,
    window: u32,
    now: Duration,
}

impl Peer {
    fn new(options: SessionOptions) -> Self {
        let session = Session::new(options, Duration::ZERO);
        let (framer, digests) = (Framer::new(1 << 20), Digests::default());
        Self { session, framer, digests, stat_sn: StatSn(u32::MAX - 1), window: 8, now: Duration::ZERO }
    }

    /// A session in the full feature phase.
    fn logged_in(agreed: &[(&str, &str)]) -> Self {
        let mut peer = Self::new(options());
        peer.log_in(agreed);
        peer
    }

    fn log_in(&mut self, agreed: &[(&str, &str)]) {
        self.expect();
        self.login(Stage::Security, Stage::Operational, &[("AuthMethod", "None")]);
        self.expect();
        self.login(Stage::Operational, Stage::FullFeature, agreed);
        assert_eq!(self.session.poll_event(), Some(Event::LoggedIn));
    }

    fn login(&mut self, current_stage: Stage, next_stage: Stage, keys: &[(&str, &str)]) {
        self.login_step(true, false, current_stage, next_stage, LoginStatus::SUCCESS, keys);
    }

    fn login_step(
        &mut self,
        transit: bool,
        text_continues: bool,
        current_stage: Stage,
        next_stage: Stage,
        status: LoginStatus,
        keys: &[(&str, &str)],
    ) {
        let mut text = Vec::new();
        keys.iter().for_each(|(name, value)| emit_key(&mut text, name, value));
        let response = LoginResponse {
            transit,
            text_continues,
            current_stage,
            next_stage,
            version_max: 0,
            version_active: 0,
            isid: [0x80, 0, 0, 1, 0, 0],
            tsih: 1,
            itt: Itt(0),
            numbers: self.next_numbers(),
            status,
        };
        self.send(&Response::Login(response), text);
    }

    fn numbers(&self) -> Numbers {
        let exp_cmd_sn = CmdSn(1);
        Numbers { stat_sn: self.stat_sn, exp_cmd_sn, max_cmd_sn: exp_cmd_sn.plus(self.window).minus(1) }
    }

    fn next_numbers(&mut self) -> Numbers {
        let numbers = self.numbers();
        self.stat_sn = self.stat_sn.next();
        numbers
    }

    fn send(&mut self, response: &Response, data: Vec<u8>) {
        let bytes = Transmit::new(&response.emit(), vec![data.into()], self.digests).to_vec();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let mut count = 0;
            for mut slice in self.session.recv_slices() {
                let part = rest.len().min(slice.len());
                slice[..part].copy_from_slice(&rest[..part]);
                rest = &rest[part..];
                count += part;
            }
            assert!(count > 0);
            self.session.handle_received(count, self.now);
        }
    }

    /// What the session sends next.
    fn receive(&mut self) -> Option<(Request, Vec<u8>)> {
        let bytes = self.session.poll_transmit()?.to_vec();
        assert_eq!(self.framer.push(&bytes), bytes.len());
        let Ok(Some(Item::Header(header))) = self.framer.poll() else { panic!("no header") };
        self.framer.place(Place::Memory(Vec::new()));
        let Ok(Some(Item::Data { place: Place::Memory(data), digest_matches: true })) = self.framer.poll() else {
            panic!("no data")
        };
        Some((Request::parse(&header).unwrap(), data))
    }

    fn expect(&mut self) -> (Request, Vec<u8>) {
        self.receive().expect("the session has something to say")
    }

    fn submit(&mut self, tag: u64, command: Command) {
        self.session.submit(Tag(tag), command, self.now);
    }

    fn command(&mut self) -> (ScsiCommandSeen, Vec<u8>) {
        match self.expect() {
            (Request::ScsiCommand(command), data) => {
                let seen = ScsiCommandSeen { itt: command.itt, cmd_sn: command.cmd_sn, is_final: command.is_final };
                (seen, data)
            }
            other => panic!("{other:?} is no command"),
        }
    }

    fn data_out(&mut self) -> (DataOut, Vec<u8>) {
        match self.expect() {
            (Request::DataOut(data_out), data) => (data_out, data),
            other => panic!("{other:?} is no Data-Out"),
        }
    }

    fn respond(&mut self, itt: Itt, status: u8, sense: &[u8]) {
        let response = ScsiResponse {
            response: ServiceResponse::CommandCompleted,
            status,
            itt,
            snack_tag: 0,
            numbers: self.next_numbers(),
            exp_data_sn: 0,
            bidirectional_read_residual: Residual::None,
            residual: Residual::None,
        };
        self.send(&Response::ScsiResponse(response), crate::pdu::command::emit_sense(sense));
    }

    fn data_in(&mut self, itt: Itt, data_sn: u32, offset: u32, status: Option<u8>, data: Vec<u8>) {
        let numbers = if status.is_some() { self.next_numbers() } else { self.numbers() };
        let pdu = DataIn {
            is_final: status.is_some(),
            acknowledge: false,
            status: status.map(|status| (status, Residual::None)),
            lun: 0,
            itt,
            ttt: Ttt::RESERVED,
            numbers,
            data_sn,
            buffer_offset: offset,
        };
        self.send(&Response::DataIn(pdu), data);
    }

    fn r2t(&mut self, itt: Itt, r2t_sn: u32, offset: u32, length: u32) {
        let r2t = R2t {
            lun: 1 << 48,
            itt,
            ttt: Ttt(70 + r2t_sn),
            numbers: self.numbers(),
            r2t_sn,
            buffer_offset: offset,
            desired_data_transfer_length: length,
        };
        self.send(&Response::R2t(r2t), vec![]);
    }

    fn error(&mut self) -> SessionError {
        match self.session.poll_event() {
            Some(Event::Closed(error)) => error,
            other => panic!("{other:?} is no end"),
        }
    }
}

struct ScsiCommandSeen {
    itt: Itt,
    cmd_sn: CmdSn,
    is_final: bool,
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| u8::try_from(at / 256 % 256).unwrap()).collect()
}

fn write(len: usize) -> Command {
    Command::write(0, u32::try_from(len / 512).unwrap(), pattern(len), false)
}

/// Our own target is at the other end of `tests/clients/access`; here every byte is somebody else's.
#[test]
fn who_has_an_account_proves_it() {
    let secret = Secret::new(b"a secret of theirs".to_vec().into());
    let account = Some(Account { user: "them".to_owned(), secret });
    for (algorithm, response) in [
        ("5", "0x87e8b900e3ac98b7cd09c49226121696"),
        ("7", "0x86bfbc0aedb53e3a6b37c7f358926d9f8c21ab5a164c35b9856b6337f4cc8912"),
    ] {
        let mut peer = Peer::new(SessionOptions { account: account.clone(), ..options() });
        let (Request::Login(request), text) = peer.expect() else { panic!() };
        assert!(!request.transit && text.ends_with(b"AuthMethod=CHAP,None\0"));
        let security = |peer: &mut Peer, transit, keys: &[(&str, &str)]| {
            peer.login_step(transit, false, Stage::Security, Stage::Operational, LoginStatus::SUCCESS, keys);
            peer.expect()
        };
        let (_, text) = security(&mut peer, false, &[("AuthMethod", "CHAP")]);
        assert_eq!(text, b"CHAP_A=7,5\0");
        let challenge = [("CHAP_A", algorithm), ("CHAP_I", "42"), ("CHAP_C", "0bMDEyMzQ1Njc4OWFiY2RlZg==")];
        let (Request::Login(request), text) = security(&mut peer, false, &challenge) else { panic!() };
        assert_eq!(text, format!("CHAP_N=them\0CHAP_R={response}\0").as_bytes());
        assert!(request.transit);
        security(&mut peer, true, &[]);
        peer.login(Stage::Operational, Stage::FullFeature, AGREED);
        assert_eq!(peer.session.poll_event(), Some(Event::LoggedIn));
    }
    let mut peer = Peer::new(SessionOptions { account, ..options() });
    peer.expect();
    peer.login_step(false, false, Stage::Security, Stage::Operational, LoginStatus::SUCCESS, &[("AuthMethod", "CHAP")]);
    peer.expect();
    let unknown = [("CHAP_A", "6"), ("CHAP_I", "42"), ("CHAP_C", "0x00")];
    peer.login_step(false, false, Stage::Security, Stage::Operational, LoginStatus::SUCCESS, &unknown);
    let no_sense = SessionError::Login("the target's challenge makes no sense");
    assert_eq!(peer.session.poll_event(), Some(Event::Closed(no_sense)));
}

#[test]
fn a_login_names_both_sides_and_offers_what_linux_offers() {
    let mut peer = Peer::new(options());
    let (Request::Login(request), text) = peer.expect() else { panic!("no login") };
    assert!(request.transit);
    assert_eq!((request.current_stage, request.next_stage), (Stage::Security, Stage::Operational));
    assert_eq!((request.isid, request.tsih, request.cmd_sn), ([0x80, 0, 0, 1, 0, 0], 0, CmdSn(1)));
    let expected = b"InitiatorName=iqn.2025-01.test:initiator\0SessionType=Normal\0\
                     TargetName=iqn.2025-01.test:target\0AuthMethod=None\0";
    assert_eq!(text, expected);
    peer.login(Stage::Security, Stage::Operational, &[("AuthMethod", "None")]);
    let (Request::Login(request), text) = peer.expect() else { panic!("no login") };
    assert_eq!((request.current_stage, request.next_stage), (Stage::Operational, Stage::FullFeature));
    assert_eq!(request.exp_stat_sn, StatSn(u32::MAX), "the number after that of the first answer");
    let keys = parse_keys(&text).unwrap();
    assert!(keys.contains(&("InitialR2T".to_owned(), "No".to_owned())));
    assert!(keys.contains(&("HeaderDigest".to_owned(), "None".to_owned())));
}

#[test]
fn a_hesitating_target_is_asked_again_but_not_for_ever() {
    let mut peer = Peer::new(options());
    peer.expect();
    for round in 0..20 {
        peer.login_step(false, round % 2 == 1, Stage::Security, Stage::Security, LoginStatus::SUCCESS, &[]);
        let Some((Request::Login(request), text)) = peer.receive() else {
            assert!(matches!(peer.error(), SessionError::Login(_)));
            assert_eq!(round, 16);
            return;
        };
        assert_eq!((request.transit, text.len()), (round % 2 == 0, 0));
    }
    panic!("asked too often");
}

#[test]
fn a_refused_login_is_the_end() {
    let mut peer = Peer::new(options());
    peer.expect();
    let status = LoginStatus::SERVICE_UNAVAILABLE;
    peer.login_step(false, false, Stage::Security, Stage::Security, status, &[]);
    assert_eq!(peer.error(), SessionError::LoginRefused(status));
    assert_eq!(peer.session.next_timeout(), None);
}

#[test]
fn nonsense_in_a_login_is_the_end() {
    for (key, value) in [("AuthMethod", "CHAP"), ("MaxBurstLength", "17"), ("FirstBurstLength", "x")] {
        let mut peer = Peer::new(options());
        peer.expect();
        peer.login(Stage::Security, Stage::Operational, &[(key, value)]);
        assert!(matches!(peer.error(), SessionError::Login(_)), "{key}={value}");
    }
    let mut peer = Peer::new(options());
    peer.expect();
    peer.login(Stage::Security, Stage::FullFeature, &[]);
    assert!(matches!(peer.error(), SessionError::Login(_)), "a stage was skipped");
}

#[test]
fn a_login_without_an_answer_ends() {
    let mut peer = Peer::new(options());
    assert_eq!(peer.session.next_timeout(), Some(MS(2000)));
    peer.session.handle_timeout(MS(1999));
    assert_eq!(peer.session.poll_event(), None);
    peer.session.handle_timeout(MS(2000));
    assert_eq!(peer.error(), SessionError::Timeout("a login or logout"));
}

#[test]
fn discovery_collects_names() {
    let mut peer = Peer::new(SessionOptions { target_name: None, ..options() });
    peer.log_in(&[]);
    peer.session.send_targets();
    let (Request::Text(request), text) = peer.expect() else { panic!("no text") };
    assert_eq!((request.ttt, text.as_slice()), (Ttt::RESERVED, &b"SendTargets=All\0"[..]));
    let mut response = TextResponse {
        is_final: false,
        text_continues: true,
        lun: 0,
        itt: request.itt,
        ttt: Ttt(5),
        numbers: peer.next_numbers(),
    };
    peer.send(&Response::Text(response.clone()), b"TargetName=iqn.a\0TargetAddress=1.2.3.4:3260,1\0Targ".to_vec());
    let (Request::Text(request), text) = peer.expect() else { panic!("no text") };
    assert_eq!((request.ttt, text.len()), (Ttt(5), 0));
    response.numbers = peer.next_numbers();
    (response.is_final, response.text_continues, response.ttt) = (true, false, Ttt::RESERVED);
    peer.send(&Response::Text(response), b"etAddress=1.2.3.5:3260,2\0TargetName=iqn.b\0".to_vec());
    assert_eq!(peer.session.poll_event(), Some(Event::Targets(vec!["iqn.a".to_owned(), "iqn.b".to_owned()])));
}

#[test]
fn a_small_write_goes_as_immediate_data() {
    let mut peer = Peer::logged_in(AGREED);
    peer.submit(5, write(1024));
    let (command, data) = peer.command();
    assert!(command.is_final);
    assert_eq!(data, pattern(1024));
    peer.respond(command.itt, 0, &[]);
    assert_eq!(peer.session.poll_event(), Some(Event::Completed(Tag(5), Answer::good(vec![]))));
}

#[test]
fn a_large_write_goes_immediate_then_unsolicited_then_as_asked_for() {
    let mut peer = Peer::logged_in(AGREED);
    peer.submit(5, write(5120));
    let (command, data) = peer.command();
    assert!(!command.is_final);
    assert_eq!(data, pattern(5120)[..1024]);
    let (unsolicited, data) = peer.data_out();
    assert_eq!((unsolicited.is_final, unsolicited.ttt, unsolicited.buffer_offset), (true, Ttt::RESERVED, 1024));
    assert_eq!(data, pattern(5120)[1024..2048]);
    assert!(peer.receive().is_none(), "the first burst is over");
    peer.r2t(command.itt, 0, 2048, 2048);
    for (data_sn, offset) in [(0, 2048), (1, 3072)] {
        let (data_out, data) = peer.data_out();
        assert_eq!((data_out.data_sn, data_out.buffer_offset), (data_sn, u32::try_from(offset).unwrap()));
        assert_eq!((data_out.ttt, data_out.is_final, data_out.lun), (Ttt(70), data_sn == 1, 1 << 48));
        assert_eq!(data, pattern(5120)[offset..offset + 1024]);
    }
    peer.r2t(command.itt, 1, 4096, 1024);
    assert_eq!(peer.data_out().1, pattern(5120)[4096..]);
    peer.respond(command.itt, 0, &[]);
    assert!(matches!(peer.session.poll_event(), Some(Event::Completed(Tag(5), _))));
}

#[test]
fn without_immediate_data_everything_is_asked_for() {
    let mut peer = Peer::logged_in(&[("ImmediateData", "No"), ("InitialR2T", "Yes")]);
    peer.submit(5, write(1024));
    let (command, data) = peer.command();
    assert_eq!((command.is_final, data.len()), (true, 0));
    assert!(peer.receive().is_none());
    peer.r2t(command.itt, 0, 0, 1024);
    assert_eq!(peer.data_out().1, pattern(1024));
}

#[test]
fn a_wrong_r2t_is_the_end() {
    for (r2t_sn, offset, length) in [(1, 2048, 512), (0, 0, 512), (0, 2048, 0), (0, 2048, 8192), (0, 2048, 4000)] {
        let mut peer = Peer::logged_in(AGREED);
        peer.submit(5, write(5120));
        let itt = peer.command().0.itt;
        peer.r2t(itt, r2t_sn, offset, length);
        assert!(matches!(peer.error(), SessionError::Protocol(_)), "{r2t_sn} {offset} {length}");
    }
}

#[test]
fn a_read_comes_in_pieces() {
    let mut peer = Peer::logged_in(AGREED);
    peer.submit(5, Command::read(0, 8, 512));
    let itt = peer.command().0.itt;
    peer.data_in(itt, 0, 0, None, vec![1; 1000]);
    peer.data_in(itt, 1, 1000, None, vec![2; 3000]);
    peer.data_in(itt, 2, 4000, Some(0), vec![3; 96]);
    let whole = [vec![1; 1000], vec![2; 3000], vec![3; 96]].concat();
    assert_eq!(peer.session.poll_event(), Some(Event::Completed(Tag(5), Answer::good(whole))));
}

#[test]
fn wrong_data_in_is_the_end() {
    for (data_sn, offset, len) in [(0, 512, 512), (1, 0, 512), (0, 0, 5000)] {
        let mut peer = Peer::logged_in(AGREED);
        peer.submit(5, Command::read(0, 8, 512));
        let itt = peer.command().0.itt;
        peer.data_in(itt, data_sn, offset, None, vec![0; len]);
        assert!(matches!(peer.error(), SessionError::Protocol(_)), "{data_sn} {offset} {len}");
    }
    let mut peer = Peer::logged_in(AGREED);
    peer.data_in(Itt(77), 0, 0, None, vec![]);
    assert!(matches!(peer.error(), SessionError::Protocol(_)), "no such task");
}

#[test]
fn sense_comes_with_the_answer() {
    let mut peer = Peer::logged_in(AGREED);
    peer.submit(5, Command { cdb: vec![0; 6], data: Data::None });
    let itt = peer.command().0.itt;
    peer.respond(itt, 2, &[0x72, 6, 0x2a, 6, 0, 0, 0, 0]);
    let answer = Answer::check_condition(Sense { key: 6, asc: 0x2a, ascq: 6 });
    assert_eq!(peer.session.poll_event(), Some(Event::Completed(Tag(5), answer)));
}

#[test]
fn commands_wait_for_the_window() {
    let mut peer = Peer::new(options());
    peer.window = 2;
    peer.log_in(AGREED);
    for tag in 0..3 {
        peer.submit(tag, Command::test_unit_ready());
    }
    let first = peer.command().0;
    assert_eq!((first.cmd_sn, peer.command().0.cmd_sn), (CmdSn(1), CmdSn(2)));
    assert!(peer.receive().is_none());
    peer.window = 3;
    peer.respond(first.itt, 0, &[]);
    assert_eq!(peer.command().0.cmd_sn, CmdSn(3));
    peer.window = 1;
    peer.submit(4, Command::test_unit_ready());
    assert!(peer.receive().is_none());
}

#[test]
fn a_missing_answer_is_the_end() {
    let mut peer = Peer::logged_in(AGREED);
    peer.submit(5, Command::test_unit_ready());
    let itt = peer.command().0.itt;
    peer.stat_sn = peer.stat_sn.next();
    peer.respond(itt, 0, &[]);
    assert!(matches!(peer.error(), SessionError::Protocol(_)));
}

#[test]
fn pings_of_the_target_are_answered() {
    let mut peer = Peer::logged_in(AGREED);
    let ping = NopIn { lun: 1 << 48, itt: Itt::RESERVED, ttt: Ttt(9), numbers: peer.numbers() };
    peer.send(&Response::NopIn(ping), vec![]);
    let (Request::NopOut(pong), _) = peer.expect() else { panic!("no answer") };
    assert_eq!((pong.immediate, pong.itt, pong.ttt, pong.lun), (true, Itt::RESERVED, Ttt(9), 1 << 48));
}

#[test]
fn a_silent_target_is_pinged_and_then_given_up() {
    let mut peer = Peer::logged_in(AGREED);
    assert_eq!(peer.session.next_timeout(), Some(MS(1000)));
    peer.session.handle_timeout(MS(1000));
    let (Request::NopOut(ping), _) = peer.expect() else { panic!("no ping") };
    assert_eq!(peer.session.next_timeout(), Some(MS(2000)));
    peer.now = MS(1900);
    let pong = NopIn { lun: 0, itt: ping.itt, ttt: Ttt::RESERVED, numbers: peer.next_numbers() };
    peer.send(&Response::NopIn(pong), vec![]);
    assert_eq!(peer.session.next_timeout(), Some(MS(2900)));
    peer.session.handle_timeout(MS(2900));
    peer.session.handle_timeout(MS(3900));
    assert_eq!(peer.error(), SessionError::Timeout("a ping"));
}

#[test]
fn a_command_without_an_answer_is_the_end_although_pings_are_answered() {
    let mut peer = Peer::logged_in(AGREED);
    peer.submit(5, Command::test_unit_ready());
    peer.session.handle_timeout(MS(30_000));
    assert_eq!(peer.error(), SessionError::Timeout("a command"));
}

#[test]
fn a_command_that_takes_too_long_is_aborted_if_that_is_wanted() {
    let mut peer = Peer::new(SessionOptions { abort_after: Some(MS(800)), ..options() });
    peer.log_in(AGREED);
    peer.submit(5, Command::test_unit_ready());
    let (command, _) = peer.command();
    assert_eq!(peer.session.next_timeout(), Some(MS(800)));
    peer.session.handle_timeout(MS(800));
    peer.session.handle_timeout(MS(801));
    let (Request::TaskManagement(request), _) = peer.expect() else { panic!("no abort") };
    assert_eq!((request.function, request.referenced_task_tag), (Function::AbortTask, command.itt));
    assert_eq!((request.ref_cmd_sn, request.immediate), (command.cmd_sn, true));
    assert!(peer.receive().is_none(), "once is enough");
    let answer =
        TaskManagementResponse { response: FunctionResponse::Complete, itt: request.itt, numbers: peer.next_numbers() };
    peer.send(&Response::TaskManagement(answer.clone()), vec![]);
    assert_eq!(peer.session.poll_event(), Some(Event::Aborted(Tag(5))));
    let again = TaskManagementResponse { numbers: peer.next_numbers(), ..answer };
    peer.send(&Response::TaskManagement(again), vec![]);
    assert_eq!(peer.error(), SessionError::Protocol("an answer that nothing asked for"));
}

#[test]
fn a_command_that_is_answered_before_its_abort_has_ended_well() {
    let mut peer = Peer::new(SessionOptions { abort_after: Some(MS(800)), ..options() });
    peer.log_in(AGREED);
    peer.submit(5, Command::test_unit_ready());
    let (command, _) = peer.command();
    peer.session.handle_timeout(MS(800));
    let (Request::TaskManagement(request), _) = peer.expect() else { panic!("no abort") };
    peer.respond(command.itt, 0, &[]);
    assert!(matches!(peer.session.poll_event(), Some(Event::Completed(Tag(5), _))));
    let numbers = peer.next_numbers();
    let response = FunctionResponse::TaskDoesNotExist;
    peer.send(&Response::TaskManagement(TaskManagementResponse { response, itt: request.itt, numbers }), vec![]);
    assert_eq!(peer.session.poll_event(), None);
}

#[test]
fn asynchronous_messages_are_told() {
    let told = [
        (AsyncEvent::ScsiEvent, Event::Changed),
        (AsyncEvent::LogoutRequest, Event::LogoutWanted),
        (AsyncEvent::DropSession, Event::LogoutWanted),
    ];
    for (async_event, event) in told {
        let mut peer = Peer::logged_in(AGREED);
        let numbers = peer.next_numbers();
        let message =
            AsyncMessage { lun: 0, numbers, async_event, async_vcode: 0, parameter1: 0, parameter2: 0, parameter3: 0 };
        peer.send(&Response::AsyncMessage(message), vec![]);
        assert_eq!(peer.session.poll_event(), Some(event));
    }
}

#[test]
fn a_logout_is_answered_and_then_the_end() {
    let mut peer = Peer::logged_in(AGREED);
    peer.session.logout(MS(5));
    let (Request::Logout(request), _) = peer.expect() else { panic!("no logout") };
    assert_eq!(request.reason, LogoutReason::CloseSession);
    let numbers = peer.next_numbers();
    let response =
        LogoutResponse { response: LogoutOutcome::Closed, itt: request.itt, numbers, time2wait: 0, time2retain: 0 };
    peer.send(&Response::Logout(response), vec![]);
    assert_eq!(peer.error(), SessionError::LoggedOut);
}

#[test]
fn a_reject_is_the_end() {
    let mut peer = Peer::logged_in(AGREED);
    let numbers = peer.next_numbers();
    peer.send(&Response::Reject(Reject { reason: RejectReason::ProtocolError, numbers, data_sn: 0 }), vec![0; 48]);
    assert_eq!(peer.error(), SessionError::Rejected(RejectReason::ProtocolError));
}

#[test]
fn digests_protect_both_directions() {
    let mut peer = Peer::new(SessionOptions { digests: Digests { header: true, data: true }, ..options() });
    peer.log_in(&[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")]);
    peer.digests = Digests { header: true, data: true };
    peer.framer.set_digests(peer.digests);
    peer.submit(5, write(512));
    let (command, data) = peer.command();
    assert_eq!(data, pattern(512));
    peer.respond(command.itt, 0, &[]);
    assert!(matches!(peer.session.poll_event(), Some(Event::Completed(Tag(5), _))));
    peer.digests.data = false;
    peer.submit(6, Command::read(0, 1, 512));
    let itt = peer.command().0.itt;
    peer.data_in(itt, 0, 0, Some(0), vec![0; 512]);
    peer.data_in(itt, 0, 0, Some(0), vec![0; 512]);
    assert!(matches!(peer.error(), SessionError::Protocol(_)), "bytes of the next PDU are no digest");
}

#[test]
fn whatever_a_target_sends_the_session_survives() {
    let mut random = crate::initiator::drill::random::SplitMix64::new(1);
    for _ in 0..1000 {
        let mut peer = Peer::logged_in(AGREED);
        peer.submit(1, write(5120));
        peer.submit(2, Command::read(0, 8, 512));
        let mut bhs = [0; 48];
        bhs.fill_with(|| if random.below(3) == 0 { random.next_u64().to_be_bytes()[0] } else { 0 });
        bhs[0] = 0x20 | bhs[0] & 0x1f;
        bhs[16..20].copy_from_slice(&u32::try_from(random.below(4)).unwrap().to_be_bytes());
        bhs[4..7].fill(0);
        let bytes = [&bhs[..], &[0; 256]].concat();
        let mut slices = peer.session.recv_slices();
        slices[1][..bytes.len()].copy_from_slice(&bytes);
        peer.session.handle_received(bytes.len(), MS(1));
        while peer.session.poll_event().is_some() {}
        while peer.session.poll_transmit().is_some() {}
    }
}
