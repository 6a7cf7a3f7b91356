//! Any line at the control socket: a request that says the same when it is written anew, or an answer that says what is
//! wrong.
#![no_main]

use iscsi_target::daemon::control::{Response, parse_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    match parse_request(line) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).expect("a request can be written");
            assert_eq!(parse_request(&written).expect("and read"), request);
        }
        Err(Response::Error(why)) => assert!(!why.is_empty()),
        Err(other) => panic!("what cannot be read is answered with {other:?}"),
    }
});
