use super::*;
use crate::session::access::tests::{account, open};

// Digests of an implementation that is not ours, of 2Ah, "a secret of theirs" and "0123456789abcdef"; and of 07h,
// "a secret of ours!" and "their challenge".
const THEIR_MD5: &str = "0x87e8b900e3ac98b7cd09c49226121696";
const THEIR_MD5_BASE64: &str = "0bh+i5AOOsmLfNCcSSJhIWlg==";
const THEIR_SHA256: &str = "0x86bfbc0aedb53e3a6b37c7f358926d9f8c21ab5a164c35b9856b6337f4cc8912";
const OUR_MD5: &str = "0x9c787d5fe2f8f703caa471ff47db2af2";
const OUR_SHA256: &str = "0xe6015e6845c361cab1078e63c3e94fffd54e6d77104dad62a536a73d88bfe3e4";
const THEIR_CHALLENGE: &str = "0x7468656972206368616c6c656e6765";

fn credential() -> Credential {
    Credential { initiator: account("them", "a secret of theirs"), target: Some(account("us", "a secret of ours!")) }
}

fn keys(pairs: &[(&str, &str)]) -> SecurityKeys {
    let mut keys = SecurityKeys::default();
    for (name, value) in pairs {
        let of = match *name {
            "AuthMethod" => &mut keys.auth_method,
            "CHAP_A" => &mut keys.chap_a,
            "CHAP_I" => &mut keys.chap_i,
            "CHAP_C" => &mut keys.chap_c,
            "CHAP_N" => &mut keys.chap_n,
            "CHAP_R" => &mut keys.chap_r,
            other => panic!("{other}"),
        };
        *of = Some((*value).to_owned());
    }
    keys
}

fn said(answers: &Answers) -> String {
    answers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn agreed() -> Authentication {
    let mut authentication = Authentication::new(open().challenge);
    let answers = authentication.handle(keys(&[("AuthMethod", "CHAP,None")]), Demand::Proof(&credential()));
    assert_eq!(said(&answers.unwrap()), "AuthMethod=CHAP");
    authentication
}

/// Challenged with the algorithm that is chosen from these.
fn challenged(algorithms: &str) -> Authentication {
    let mut authentication = agreed();
    let answers = authentication.handle(keys(&[("CHAP_A", algorithms)]), Demand::Proof(&credential())).unwrap();
    let algorithm = if algorithms.contains('7') { 7 } else { 5 };
    assert_eq!(said(&answers), format!("CHAP_A={algorithm} CHAP_I=42 CHAP_C=0x30313233343536373839616263646566"));
    authentication
}

/// The answer to this last text of an initiator, with MD5.
fn answered(last: &[(&str, &str)]) -> Result<String, Denied> {
    let mut authentication = challenged("5");
    let answers = authentication.handle(keys(last), Demand::Proof(&credential()))?;
    assert_eq!(authentication.into_user().as_deref(), Some("them"));
    Ok(said(&answers))
}

#[test]
fn one_way() {
    for response in [THEIR_MD5, &THEIR_MD5.to_uppercase().replace("0X", "0x"), THEIR_MD5_BASE64] {
        assert_eq!(answered(&[("CHAP_N", "them"), ("CHAP_R", response)]), Ok(String::new()), "{response}");
    }
}

#[test]
fn both_ways() {
    for (algorithms, identifier, theirs, ours) in [
        ("5", "7", THEIR_MD5, OUR_MD5),
        ("5,6,7,8", "0x07", THEIR_SHA256, OUR_SHA256),
        ("7", "7", THEIR_SHA256, OUR_SHA256),
    ] {
        let mut authentication = challenged(algorithms);
        let last = [("CHAP_N", "them"), ("CHAP_R", theirs), ("CHAP_I", identifier), ("CHAP_C", THEIR_CHALLENGE)];
        let answers = authentication.handle(keys(&last), Demand::Proof(&credential())).unwrap();
        assert_eq!(said(&answers), format!("CHAP_N=us CHAP_R={ours}"));
        assert_eq!(authentication.may_go_on(Demand::Proof(&credential())), Ok(true));
    }
}

#[test]
fn a_wrong_answer_is_no_proof() {
    for (user, response, why) in [
        ("them", OUR_MD5, Denied::Secret),
        ("them", THEIR_SHA256, Denied::Secret),
        ("them", "0x87", Denied::Secret),
        ("Them", THEIR_MD5, Denied::User),
        ("", THEIR_MD5, Denied::User),
        ("us", THEIR_MD5, Denied::User),
        ("them", "0x87e8b9zz", Denied::Exchange),
        ("them", "", Denied::Exchange),
        (&"x".repeat(256), THEIR_MD5, Denied::Exchange),
        ("them", &format!("0x{}", "00".repeat(1025)), Denied::Exchange),
    ] {
        assert_eq!(answered(&[("CHAP_N", user), ("CHAP_R", response)]), Err(why), "{user} {response}");
    }
}

#[test]
fn the_target_answers_nobody_who_has_not_proven_himself() {
    let last = [("CHAP_N", "them"), ("CHAP_R", OUR_MD5), ("CHAP_I", "7"), ("CHAP_C", THEIR_CHALLENGE)];
    assert_eq!(answered(&last), Err(Denied::Secret));
}

#[test]
fn a_challenge_does_not_come_back() {
    for (value, why) in [
        ("0x30313233343536373839616263646566", Denied::Reflected),
        ("0bMDEyMzQ1Njc4OWFiY2RlZg==", Denied::Reflected),
        ("0x", Denied::Exchange),
        ("their challenge", Denied::Exchange),
        (&format!("0x{}", "00".repeat(1025)), Denied::Exchange),
    ] {
        let last = [("CHAP_N", "them"), ("CHAP_R", THEIR_MD5), ("CHAP_I", "7"), ("CHAP_C", value)];
        assert_eq!(answered(&last), Err(why), "{value}");
    }
    let long = format!("0x{}", "00".repeat(1024));
    assert!(answered(&[("CHAP_N", "them"), ("CHAP_R", THEIR_MD5), ("CHAP_I", "7"), ("CHAP_C", &long)]).is_ok());
}

#[test]
fn keys_that_are_missing_or_out_of_order_end_it() {
    let proof = [("CHAP_N", "them"), ("CHAP_R", THEIR_MD5)];
    for more in [("CHAP_I", "7"), ("CHAP_C", THEIR_CHALLENGE), ("CHAP_A", "5"), ("AuthMethod", "None")] {
        assert_eq!(answered(&[proof[0], proof[1], more]), Err(Denied::Exchange), "{}", more.0);
    }
    for identifier in ["256", "x", ""] {
        let last = [proof[0], proof[1], ("CHAP_I", identifier), ("CHAP_C", THEIR_CHALLENGE)];
        assert_eq!(answered(&last), Err(Denied::Exchange));
    }
    for one in [("CHAP_N", "them"), ("CHAP_R", THEIR_MD5), ("CHAP_A", "5"), ("AuthMethod", "None")] {
        assert_eq!(answered(&[one]), Err(Denied::Exchange), "{}", one.0);
    }
    for early in [proof[0], proof[1], ("AuthMethod", "CHAP"), ("CHAP_I", "7")] {
        let refused = agreed().handle(keys(&[early]), Demand::Proof(&credential()));
        assert_eq!(refused, Err(Denied::Exchange), "{}", early.0);
        let first = [("AuthMethod", "CHAP"), if early.0 == "AuthMethod" { ("CHAP_A", "5") } else { early }];
        let refused = Authentication::new(open().challenge).handle(keys(&first), Demand::Proof(&credential()));
        assert_eq!(refused, Err(Denied::Exchange), "{}", early.0);
    }
    let unasked = Authentication::new(open().challenge).handle(keys(&[("CHAP_A", "5")]), Demand::Proof(&credential()));
    assert_eq!(unasked, Err(Denied::Exchange));
}

#[test]
fn methods_and_algorithms() {
    for list in ["", "6,8", "MD5", "256", "05x"] {
        let refused = agreed().handle(keys(&[("CHAP_A", list)]), Demand::Proof(&credential()));
        assert_eq!(refused, Err(Denied::Algorithm), "{list}");
    }
    let credential = credential();
    for (demand, methods, outcome) in [
        (Demand::Nothing, "CHAP,None", Ok("AuthMethod=None")),
        (Demand::Nothing, "KRB5,CHAP", Err(Denied::NotConfigured)),
        (Demand::Proof(&credential), "KRB5,CHAP", Ok("AuthMethod=CHAP")),
        (Demand::Proof(&credential), "None", Err(Denied::NoChap)),
        (Demand::Proof(&credential), "", Err(Denied::NoChap)),
        (Demand::Impossible, "CHAP,None", Err(Denied::NoCredential)),
    ] {
        let answers = Authentication::new(open().challenge).handle(keys(&[("AuthMethod", methods)]), demand);
        assert_eq!(answers.map(|answers| said(&answers)), outcome.map(str::to_owned), "{demand:?} {methods}");
    }
}

#[test]
fn nobody_leaves_the_stage_without_a_proof() {
    let credential = credential();
    let demand = Demand::Proof(&credential);
    assert_eq!(Authentication::new(open().challenge).may_go_on(demand), Err(Denied::NoChap));
    assert_eq!(Authentication::new(open().challenge).may_go_on(Demand::Impossible), Err(Denied::NoCredential));
    assert_eq!(agreed().may_go_on(demand), Ok(false));
    assert_eq!(challenged("5").may_go_on(demand), Ok(false));
    let mut without = Authentication::new(open().challenge);
    without.handle(keys(&[("AuthMethod", "None")]), Demand::Nothing).unwrap();
    assert_eq!(without.handle(keys(&[("CHAP_A", "5")]), Demand::Nothing), Err(Denied::Exchange));
    assert_eq!((without.may_go_on(Demand::Nothing), without.into_user()), (Ok(true), None));
}

#[test]
fn who_asks_a_target_without_a_secret_is_refused() {
    let credential = Credential { target: None, ..credential() };
    let last = [("CHAP_N", "them"), ("CHAP_R", THEIR_MD5), ("CHAP_I", "7"), ("CHAP_C", THEIR_CHALLENGE)];
    let refused = challenged("5").handle(keys(&last), Demand::Proof(&credential));
    assert_eq!(refused, Err(Denied::NoTargetSecret));
}
