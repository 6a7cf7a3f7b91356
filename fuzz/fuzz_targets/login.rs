//! A stranger's login, text and header: nobody comes in who is not on the list or has not proven himself where that is
//! asked for; every answer can be read; who is refused hears nothing more; and a stranger takes no memory.
#![no_main]

use std::collections::BTreeMap;

use iscsi_target::pdu::digest::Digests;
use iscsi_target::pdu::login::{LoginRequest, LoginStatus, Stage};
use iscsi_target::pdu::{CmdSn, Header, Itt, Request, Response, StatSn};
use iscsi_target::session::access::{AccessPolicy, Account, Credential, Credentials, Secret};
use iscsi_target::session::limits::{LOGIN_DATA_SEGMENT_BYTES, LOGIN_TIMEOUT_MS, MAX_OUTBOX_PDUS};
use iscsi_target::session::{Connection, Event, LoginDetails, SessionType};
use libfuzzer_sys::fuzz_target;
use sas_backend::buffer::Pool;
use twinhead_fuzz::{Input, Receiver, connection, feed, pdu};

const STAGES: [Stage; 4] = [Stage::Security, Stage::Operational, Stage::FullFeature, Stage::Reserved];
const MEMBER: &str = "iqn.2026-11.com.example:member";

fn account(user: &str, secret: &[u8]) -> Account {
    Account { user: user.to_owned(), secret: Secret::new(secret.to_vec().into()) }
}

fn policy(kind: u8) -> AccessPolicy {
    let credential = |user: &str| Credential {
        initiator: account(user, b"a secret of theirs"),
        target: (kind & 4 != 0).then(|| account("target", b"a secret of ours")),
    };
    let credentials = || Credentials {
        by_initiator: BTreeMap::from([(MEMBER.to_owned(), credential("member"))]),
        default: (kind & 8 != 0).then(|| credential("all")),
    };
    AccessPolicy {
        initiators: (kind & 1 != 0).then(|| [MEMBER.to_owned()].into()),
        credentials: (kind & 2 != 0).then(credentials),
        discovery: (kind & 16 != 0).then(|| credential("finder")),
    }
}

fn request(input: &mut Input<'_>) -> (Header, Vec<u8>) {
    let [flags, other, length] = input.array();
    let text = input.take(usize::from(length) << (flags & 3));
    let login = LoginRequest {
        transit: flags & 4 != 0,
        text_continues: flags & 8 != 0,
        current_stage: STAGES[usize::from(flags >> 4 & 3)],
        next_stage: STAGES[usize::from(flags >> 6 & 3)],
        version_max: 0,
        version_min: u8::from(other == 0xFE),
        isid: [0, 0, 0, 0, 0, u8::from(other == 0xFD)],
        tsih: u16::from(other == 0xFC),
        itt: Itt(u32::from(other == 0xFB)),
        cid: 0,
        cmd_sn: CmdSn(7),
        exp_stat_sn: StatSn(0),
    };
    let mut header = Request::Login(login).emit();
    if other == 0xFF {
        let [at, value] = input.array();
        header.bhs[usize::from(at) % 4] = value;
    }
    (header, text.to_vec())
}

fn check_guest(policy: &AccessPolicy, details: &LoginDetails) {
    if details.session_type == SessionType::Discovery {
        assert_eq!(details.user.as_deref(), policy.discovery.as_ref().map(|_| "finder"));
        return;
    }
    let name = &details.initiator.name;
    assert!(policy.admits(name), "{name} is not on the list");
    if let Some(credentials) = &policy.credentials {
        let own = if name.eq_ignore_ascii_case(MEMBER) { "member" } else { "all" };
        assert!(credentials.default.is_some() || own == "member", "{name} has no credential");
        assert_eq!(details.user.as_deref(), Some(own), "{name} has proven nothing");
    }
}

/// What the connection answers; whether the last of it is a refusal.
fn answers(connection: &mut Connection, receiver: &mut Receiver) -> bool {
    let mut refused = false;
    let mut count = 0;
    while let Some(transmit) = connection.poll_transmit() {
        count += 1;
        for (response, _) in receiver.pdus(&transmit.to_vec()) {
            assert!(!refused, "nothing follows a refusal");
            let Response::Login(login) = response else { continue };
            refused = login.status != LoginStatus::SUCCESS;
        }
    }
    assert!(count <= MAX_OUTBOX_PDUS + 1);
    refused
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let [kind, at_a_time] = input.array();
    let policy = policy(kind);
    let pool = Pool::new();
    let mut connection = connection(policy.clone(), &pool);
    let mut receiver = Receiver::new(LOGIN_DATA_SEGMENT_BYTES as usize);
    let (mut closed, mut inside) = (false, false);
    while !closed && !inside && !input.is_empty() {
        let (header, text) = request(&mut input);
        feed(&mut connection, &pdu(&header, &text, Digests::default()), usize::from(at_a_time), 1);
        let mut refused = answers(&mut connection, &mut receiver);
        while let Some(event) = connection.poll_event() {
            assert!(!closed, "closing is the last event");
            match event {
                Event::LoginComplete(details) => {
                    check_guest(&policy, &details);
                    inside = true;
                    connection.handle_login_granted(1);
                }
                Event::LoginDenied(denied) => assert!(refused && !denied.initiator.is_empty()),
                Event::Close(_) => closed = true,
                other => panic!("{other:?} of somebody who is not logged in"),
            }
        }
        refused |= answers(&mut connection, &mut receiver);
        assert!(!refused || closed, "who is refused is not heard any more");
        assert!(!closed || connection.recv_slices().iter().all(|slice| slice.is_empty()));
        assert_eq!(pool.in_use_bytes(), 0, "a stranger takes no memory");
    }
    if !inside && !closed {
        connection.handle_timer(LOGIN_TIMEOUT_MS);
        assert!(matches!(connection.poll_event(), Some(Event::Close(_))), "a login has an end");
    }
});
