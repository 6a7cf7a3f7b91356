use super::*;

mod authentication;

use crate::pdu::digest::Digests;
use crate::session::access::tests::open;

fn portal() -> PortalConfig {
    PortalConfig {
        target_name: "iqn.2026-11.io.twinhead:disk".into(),
        target_alias: "twin".into(),
        target_portal_group_tag: 2,
        portals: Vec::new(),
    }
}

fn request(transit: bool, current_stage: Stage, next_stage: Stage) -> LoginRequest {
    LoginRequest {
        transit,
        current_stage,
        next_stage,
        itt: Itt(1),
        ..LoginRequest::new([0x80, 1, 2, 3, 4, 5], CmdSn(1))
    }
}

fn text(keys: &[&str]) -> Vec<u8> {
    keys.iter().flat_map(|key| [key.as_bytes(), &[0]].concat()).collect()
}

fn answer(step: Step) -> (Login, Vec<String>) {
    match step {
        Step::Answer(login, answer) => (login, words(&answer.text)),
        other => panic!("{other:?}"),
    }
}

fn words(text: &[u8]) -> Vec<String> {
    parse_keys(text).unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn complete(step: Step) -> Box<CompleteLogin> {
    match step {
        Step::Complete(complete) => complete,
        other => panic!("{other:?}"),
    }
}

fn status(step: Step) -> LoginStatus {
    match step {
        Step::Refuse(answer, _) => {
            assert!(!answer.response.transit);
            answer.response.status
        }
        other => panic!("{other:?}"),
    }
}

const NAMES: [&str; 2] = ["InitiatorName=iqn.1993-08.org.debian:01:abc", "TargetName=iqn.2026-11.io.twinhead:disk"];

#[test]
fn open_iscsi_logs_in() {
    let security = text(&[
        "InitiatorName=iqn.1993-08.org.debian:01:abc",
        "InitiatorAlias=client",
        "TargetName=iqn.2026-11.io.twinhead:disk",
        "SessionType=Normal",
        "AuthMethod=None",
    ]);
    let first = request(true, Stage::Security, Stage::Operational);
    let (login, answers) = answer(Login::Opening.handle(&portal(), &open(), &first, &security));
    assert_eq!(answers, ["AuthMethod=None", "TargetPortalGroupTag=2", "TargetAlias=twin"]);
    let operational = text(&[
        "HeaderDigest=None",
        "DataDigest=None",
        "DefaultTime2Wait=2",
        "DefaultTime2Retain=0",
        "IFMarker=No",
        "OFMarker=No",
        "ErrorRecoveryLevel=0",
        "InitialR2T=No",
        "ImmediateData=Yes",
        "MaxBurstLength=16776192",
        "FirstBurstLength=262144",
        "MaxOutstandingR2T=1",
        "MaxConnections=1",
        "DataPDUInOrder=Yes",
        "DataSequenceInOrder=Yes",
        "MaxRecvDataSegmentLength=262144",
    ]);
    let second = request(true, Stage::Operational, Stage::FullFeature);
    let complete = complete(login.handle(&portal(), &open(), &second, &operational));
    let (last, negotiation, identity) = complete.granted(7);
    assert_eq!((last.response.tsih, last.response.transit, last.response.next_stage), (7, true, Stage::FullFeature));
    let expected = "HeaderDigest=None DataDigest=None DefaultTime2Wait=0 DefaultTime2Retain=0 IFMarker=No OFMarker=No \
                    ErrorRecoveryLevel=0 InitialR2T=No ImmediateData=Yes MaxBurstLength=1048576 \
                    FirstBurstLength=262144 MaxOutstandingR2T=1 MaxConnections=1 DataPDUInOrder=Yes \
                    DataSequenceInOrder=Yes MaxRecvDataSegmentLength=262144";
    assert_eq!(words(&last.text).join(" "), expected);
    assert_eq!(negotiation.initiator_alias.as_deref(), Some("client"));
    assert_eq!(negotiation.parameters.digests, Digests::default());
    assert_eq!(identity.isid, [0x80, 1, 2, 3, 4, 5]);
}

const LIBISCSI_NAMES: [&str; 4] = [
    "InitiatorName=iqn.2010-11.iscsi-test",
    "InitiatorAlias=iqn.2010-11.ronnie:iscsi-test",
    "TargetName=iqn.2026-11.io.twinhead:disk",
    "SessionType=Normal",
];

const LIBISCSI_OFFERS: [&str; 15] = [
    "HeaderDigest=None,CRC32C",
    "DataDigest=None",
    "InitialR2T=No",
    "ImmediateData=Yes",
    "MaxBurstLength=262144",
    "FirstBurstLength=262144",
    "DefaultTime2Wait=2",
    "DefaultTime2Retain=0",
    "MaxOutstandingR2T=1",
    "ErrorRecoveryLevel=0",
    "IFMarker=No",
    "OFMarker=No",
    "MaxConnections=1",
    "MaxRecvDataSegmentLength=262144",
    "DataPDUInOrder=Yes",
];

#[test]
fn libiscsi_logs_in_with_one_request() {
    let keys = text(&[&LIBISCSI_NAMES[..], &LIBISCSI_OFFERS].concat());
    let first = request(true, Stage::Operational, Stage::FullFeature);
    let (_, negotiation, _) = complete(Login::Opening.handle(&portal(), &open(), &first, &keys)).granted(1);
    assert_eq!(negotiation.parameters.max_burst_length, 262_144);
    assert!(!negotiation.parameters.initial_r2t);
}

#[test]
fn libiscsi_with_a_user_name_introduces_itself_twice() {
    let security = text(&[&LIBISCSI_NAMES[..], &["AuthMethod=CHAP,None"]].concat());
    let first = request(true, Stage::Security, Stage::Operational);
    let (login, answers) = answer(Login::Opening.handle(&portal(), &open(), &first, &security));
    assert_eq!(answers[0], "AuthMethod=None");
    let keys = text(&[&LIBISCSI_NAMES[..], &LIBISCSI_OFFERS].concat());
    let second = request(true, Stage::Operational, Stage::FullFeature);
    complete(login.handle(&portal(), &open(), &second, &keys));
}

#[test]
fn discovery_needs_no_target_name_and_hears_no_tag() {
    let keys = text(&[NAMES[0], "SessionType=Discovery", "MaxBurstLength=512", "HeaderDigest=None"]);
    let first = request(true, Stage::Operational, Stage::FullFeature);
    let (last, negotiation, _) = complete(Login::Opening.handle(&portal(), &open(), &first, &keys)).granted(1);
    assert_eq!(negotiation.session_type, Some(SessionType::Discovery));
    let expected = ["MaxBurstLength=Irrelevant", "HeaderDigest=None", "MaxRecvDataSegmentLength=262144"];
    assert_eq!(words(&last.text), expected);
}

#[test]
fn what_is_wrong_is_named() {
    let first = request(false, Stage::Operational, Stage::Security);
    for (keys, expected) in [
        (&["TargetName=iqn.2026-11.io.twinhead:disk"][..], LoginStatus::MISSING_PARAMETER),
        (&NAMES[..1], LoginStatus::MISSING_PARAMETER),
        (&[NAMES[0], "TargetName=iqn.other"], LoginStatus::NOT_FOUND),
        (&[NAMES[0], NAMES[1], "SessionType=Strange"], LoginStatus::SESSION_TYPE_NOT_SUPPORTED),
        (&[NAMES[0], NAMES[1], "AuthMethod=None"], LoginStatus::INITIATOR_ERROR),
        (&["no key"], LoginStatus::INITIATOR_ERROR),
    ] {
        assert_eq!(status(Login::Opening.handle(&portal(), &open(), &first, &text(keys))), expected, "{keys:?}");
    }
    let chap = text(&[NAMES[0], NAMES[1], "AuthMethod=CHAP"]);
    let security = request(false, Stage::Security, Stage::Security);
    let refused = status(Login::Opening.handle(&portal(), &open(), &security, &chap));
    assert_eq!(refused, LoginStatus::AUTHENTICATION_FAILURE);
}

#[test]
fn stages_go_forward_only() {
    let names = text(&NAMES);
    let handle = |request: &LoginRequest| Login::Opening.handle(&portal(), &open(), request, &names);
    let full = request(false, Stage::FullFeature, Stage::FullFeature);
    assert_eq!(status(handle(&full)), LoginStatus::INVALID_DURING_LOGIN);
    let reserved = request(true, Stage::Security, Stage::Reserved);
    assert_eq!(status(handle(&reserved)), LoginStatus::INITIATOR_ERROR);
    let back = request(true, Stage::Operational, Stage::Security);
    assert_eq!(status(handle(&back)), LoginStatus::INITIATOR_ERROR);
    let both = LoginRequest { text_continues: true, ..request(true, Stage::Operational, Stage::FullFeature) };
    assert_eq!(status(handle(&both)), LoginStatus::INITIATOR_ERROR);
    let old = LoginRequest { version_min: 1, ..request(false, Stage::Security, Stage::Security) };
    assert_eq!(status(handle(&old)), LoginStatus::UNSUPPORTED_VERSION);
    let (login, _) = answer(handle(&request(true, Stage::Security, Stage::Operational)));
    let again = request(false, Stage::Security, Stage::Security);
    assert_eq!(status(login.handle(&portal(), &open(), &again, &[])), LoginStatus::INVALID_DURING_LOGIN);
    let (login, _) = answer(handle(&request(false, Stage::Operational, Stage::Security)));
    let other = LoginRequest { cid: 9, ..request(false, Stage::Operational, Stage::Security) };
    assert_eq!(status(login.handle(&portal(), &open(), &other, &[])), LoginStatus::INITIATOR_ERROR);
}

#[test]
fn a_text_may_come_in_parts_but_not_without_end() {
    let whole = text(&NAMES);
    let (head, tail) = whole.split_at(20);
    let part = LoginRequest { text_continues: true, ..request(false, Stage::Operational, Stage::Security) };
    let (login, answers) = answer(Login::Opening.handle(&portal(), &open(), &part, head));
    assert!(answers.is_empty());
    let last = request(true, Stage::Operational, Stage::FullFeature);
    complete(login.handle(&portal(), &open(), &last, tail));

    let (login, _) = answer(Login::Opening.handle(&portal(), &open(), &part, &vec![b'a'; MAX_TEXT_BYTES]));
    assert_eq!(status(login.handle(&portal(), &open(), &part, b"a")), LoginStatus::INITIATOR_ERROR);
}

#[test]
fn a_refused_login_says_why() {
    let last = request(true, Stage::Operational, Stage::FullFeature);
    let refused = complete(Login::Opening.handle(&portal(), &open(), &last, &text(&NAMES)))
        .refused(LoginStatus::SERVICE_UNAVAILABLE);
    assert_eq!(refused.response.status, LoginStatus::SERVICE_UNAVAILABLE);
    assert!(!refused.response.transit && refused.text.is_empty());
}

#[test]
fn nobody_comes_in_while_it_is_full() {
    let full = Entrance { is_full: true, ..open() };
    let first = request(true, Stage::Operational, Stage::FullFeature);
    let refused = status(Login::Opening.handle(&portal(), &full, &first, &text(&NAMES)));
    assert_eq!(refused, LoginStatus::SERVICE_UNAVAILABLE);
}
