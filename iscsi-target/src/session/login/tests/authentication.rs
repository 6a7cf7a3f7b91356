//! Whole logins with CHAP, and those that end because of it. The digests are explained in `chap/tests.rs`.

use super::*;
use crate::session::access::tests::{account, entrance};
use crate::session::access::{AccessPolicy, Credential, Credentials};

fn chap() -> Entrance {
    let mutual = Credential {
        initiator: account("them", "a secret of theirs"),
        target: Some(account("us", "a secret of ours!")),
    };
    let credentials = Credentials { default: Some(mutual), ..Credentials::default() };
    entrance(AccessPolicy { credentials: Some(credentials), ..AccessPolicy::default() })
}

/// The next request in the security stage, and the answer to it: whether the stage is left, and what is said.
fn ask(login: Login, entrance: &Entrance, transit: bool, keys: &[&str]) -> (Login, bool, String) {
    let next = request(transit, Stage::Security, Stage::Operational);
    match login.handle(&portal(), entrance, &next, &text(keys)) {
        Step::Answer(login, answer) => {
            assert_eq!(
                answer.response.next_stage,
                if answer.response.transit { Stage::Operational } else { Stage::Security }
            );
            (login, answer.response.transit, words(&answer.text).join(" "))
        }
        other => panic!("{other:?}"),
    }
}

fn denied(step: Step) -> (LoginStatus, Denied) {
    match step {
        Step::Refuse(answer, Some(denied)) => {
            assert_eq!(denied.initiator, "iqn.1993-08.org.debian:01:abc");
            assert!(answer.text.is_empty());
            (answer.response.status, denied.why)
        }
        other => panic!("{other:?}"),
    }
}

const THEIR_PROOF: &str = "CHAP_R=0x86bfbc0aedb53e3a6b37c7f358926d9f8c21ab5a164c35b9856b6337f4cc8912";
const CHALLENGE: &str = "CHAP_A=7 CHAP_I=42 CHAP_C=0x30313233343536373839616263646566";

/// The stage is left with the proof, however early and often the initiator asks for that.
#[test]
fn open_iscsi_proves_itself_and_asks_for_a_proof() {
    for transit in [false, true] {
        let entrance = chap();
        let first = [NAMES[0], "InitiatorAlias=client", NAMES[1], "SessionType=Normal", "AuthMethod=CHAP,None"];
        let (login, went_on, said) = ask(Login::Opening, &entrance, transit, &first);
        assert_eq!((went_on, said.as_str()), (false, "AuthMethod=CHAP TargetPortalGroupTag=2 TargetAlias=twin"));
        let (login, went_on, said) = ask(login, &entrance, transit, &["CHAP_A=8,7,6,5"]);
        assert_eq!((went_on, said.as_str()), (false, CHALLENGE));
        let last = ["CHAP_N=them", THEIR_PROOF, "CHAP_I=7", "CHAP_C=0bdGhlaXIgY2hhbGxlbmdl"];
        let (login, went_on, said) = ask(login, &entrance, true, &last);
        let ours = "CHAP_N=us CHAP_R=0xe6015e6845c361cab1078e63c3e94fffd54e6d77104dad62a536a73d88bfe3e4";
        assert_eq!((went_on, said.as_str()), (true, ours));
        let operational = request(true, Stage::Operational, Stage::FullFeature);
        let complete = complete(login.handle(&portal(), &entrance, &operational, &text(&["HeaderDigest=None"])));
        assert_eq!(complete.user.as_deref(), Some("them"));
    }
}

#[test]
fn one_way_straight_into_full_feature_phase() {
    let entrance = chap();
    let (login, ..) = ask(Login::Opening, &entrance, false, &[NAMES[0], NAMES[1], "AuthMethod=CHAP"]);
    let (login, ..) = ask(login, &entrance, false, &["CHAP_A=7"]);
    let last = request(true, Stage::Security, Stage::FullFeature);
    let complete = complete(login.handle(&portal(), &entrance, &last, &text(&["CHAP_N=them", THEIR_PROOF])));
    assert_eq!(complete.user.as_deref(), Some("them"));
}

#[test]
fn no_way_around_the_proof() {
    let entrance = chap();
    for (current, next, method) in [
        (Stage::Operational, Stage::FullFeature, None),
        (Stage::Security, Stage::Operational, Some("AuthMethod=None")),
        (Stage::Security, Stage::FullFeature, None),
    ] {
        let keys: Vec<&str> = NAMES.into_iter().chain(method).collect();
        let step = Login::Opening.handle(&portal(), &entrance, &request(true, current, next), &text(&keys));
        assert_eq!(denied(step), (LoginStatus::AUTHENTICATION_FAILURE, Denied::NoChap), "{keys:?}");
    }
    let begun = || {
        let (login, ..) = ask(Login::Opening, &entrance, false, &[NAMES[0], NAMES[1], "AuthMethod=CHAP"]);
        ask(login, &entrance, false, &["CHAP_A=7"]).0
    };
    let security = request(true, Stage::Security, Stage::Operational);
    let wrong = begun().handle(&portal(), &entrance, &security, &text(&["CHAP_N=them", "CHAP_R=0x00"]));
    assert_eq!(denied(wrong), (LoginStatus::AUTHENTICATION_FAILURE, Denied::Secret));
    let ahead = request(true, Stage::Operational, Stage::FullFeature);
    assert_eq!(status(begun().handle(&portal(), &entrance, &ahead, &[])), LoginStatus::INVALID_DURING_LOGIN);
    let (login, went_on, said) = ask(begun(), &entrance, true, &[]);
    assert_eq!((went_on, said.as_str()), (false, ""), "silence is no proof");
    let again = login.handle(&portal(), &entrance, &security, &text(&["CHAP_A=5"]));
    assert_eq!(status(again), LoginStatus::INITIATOR_ERROR, "a key is sent once");
    let other_name = begun().handle(&portal(), &entrance, &security, &text(&["InitiatorName=iqn.other", THEIR_PROOF]));
    assert_eq!(status(other_name), LoginStatus::INITIATOR_ERROR, "nobody becomes somebody else on the way");
}

#[test]
fn a_discovery_session_has_a_credential_of_its_own() {
    let keys = text(&[NAMES[0], "SessionType=Discovery"]);
    let whole = request(true, Stage::Operational, Stage::FullFeature);
    complete(Login::Opening.handle(&portal(), &chap(), &whole, &keys));
    let discovery = Credential { initiator: account("finder", "a secret of theirs"), target: None };
    let entrance = entrance(AccessPolicy { discovery: Some(discovery), ..AccessPolicy::default() });
    let step = Login::Opening.handle(&portal(), &entrance, &whole, &keys);
    assert_eq!(denied(step), (LoginStatus::AUTHENTICATION_FAILURE, Denied::NoChap));
    complete(Login::Opening.handle(&portal(), &entrance, &whole, &text(&NAMES)));
    let first = [NAMES[0], "SessionType=Discovery", "AuthMethod=CHAP"];
    let (login, _, said) = ask(Login::Opening, &entrance, true, &first);
    assert_eq!(said, "AuthMethod=CHAP");
    let (login, _, said) = ask(login, &entrance, true, &["CHAP_A=5,7"]);
    assert_eq!(said, CHALLENGE);
    let (_, went_on, _) = ask(login, &entrance, true, &["CHAP_N=finder", THEIR_PROOF]);
    assert!(went_on);
}

#[test]
fn who_may_not_use_the_target_is_told_so() {
    let listed =
        AccessPolicy { initiators: Some([NAMES[0].replace("InitiatorName=", "")].into()), ..AccessPolicy::default() };
    let others =
        AccessPolicy { initiators: Some(["iqn.2026-11.x:other".to_owned()].into()), ..AccessPolicy::default() };
    let whole = request(true, Stage::Operational, Stage::FullFeature);
    complete(Login::Opening.handle(&portal(), &entrance(listed.clone()), &whole, &text(&NAMES)));
    let step = Login::Opening.handle(&portal(), &entrance(others.clone()), &whole, &text(&NAMES));
    assert_eq!(denied(step), (LoginStatus::AUTHORIZATION_FAILURE, Denied::Initiator));
    let elsewhere = Entrance { admits_address: false, ..entrance(listed) };
    let step = Login::Opening.handle(&portal(), &elsewhere, &whole, &text(&NAMES));
    assert_eq!(denied(step), (LoginStatus::AUTHORIZATION_FAILURE, Denied::Address));
    let discovery = text(&[NAMES[0], "SessionType=Discovery"]);
    complete(Login::Opening.handle(&portal(), &entrance(others), &whole, &discovery));
}
