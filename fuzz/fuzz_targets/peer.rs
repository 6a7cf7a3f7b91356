//! Any bytes as what the other head says, and frames with the right checksums around any contents: what is understood is
//! written again byte by byte the same, and nobody unknown makes this head take memory for a payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication::wire::{Frame, Framer, HEADER_BYTES, VERSION};
use sas_backend::buffer::Pool;
use twinhead_fuzz::Input;

/// What the framer takes out of `stream`, as it is written again; whether it came to the end.
fn frames(stream: &[u8], known: bool, cut: usize) -> (Vec<u8>, bool) {
    let pool = Pool::new();
    let mut framer = Framer::new(pool.clone());
    if known {
        framer.allow_payloads();
    }
    let (mut written, mut rest) = (Vec::new(), stream);
    loop {
        loop {
            match framer.poll() {
                Ok(None) => break,
                Ok(Some(frame)) => emit(&frame, &mut written),
                Err(error) => {
                    assert_eq!(framer.poll().expect_err("an error stays"), error);
                    assert_eq!(framer.push(b"more"), 0, "nothing is taken after an error");
                    return (written, false);
                }
            }
        }
        assert!(known || pool.in_use_bytes() == 0, "a stranger's payload takes memory");
        if rest.is_empty() {
            return (written, true);
        }
        let taken = framer.push(&rest[..cut.clamp(1, rest.len())]);
        assert!(taken > 0, "with nothing to take out there is room");
        rest = &rest[taken..];
    }
}

fn emit(frame: &Frame, bytes: &mut Vec<u8>) {
    let out = frame.emit();
    bytes.extend(out.head);
    bytes.extend(out.payload.iter().flat_map(|payload| payload.iter()));
}

/// A frame with the right lengths and checksums.
fn sealed(input: &mut Input<'_>) -> Vec<u8> {
    let [kind, unit, generation, body_bytes, payload_bytes] = input.array();
    let body = input.take(usize::from(body_bytes));
    let payload = input.take(usize::from(payload_bytes));
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
    let mut frame = b"TWHL".to_vec();
    frame.extend(VERSION.to_le_bytes());
    frame.extend(u16::from(kind).to_le_bytes());
    frame.extend(u32::from(unit).to_le_bytes());
    frame.extend(length(body));
    frame.extend(u64::from(generation).to_le_bytes());
    frame.extend(length(payload));
    frame.extend(crc32c::crc32c(body).to_le_bytes());
    frame.extend(crc32c::crc32c(payload).to_le_bytes());
    frame.extend(crc32c::crc32c(&frame).to_le_bytes());
    assert_eq!(frame.len(), HEADER_BYTES);
    [&frame, body, payload].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let [mode, cut] = input.array();
    let known = mode & 1 != 0;
    let mut stream = Vec::new();
    if mode & 2 != 0 {
        stream = input.rest().to_vec();
    } else {
        while !input.is_empty() {
            stream.extend(sealed(&mut input));
        }
    }
    let (written, whole) = frames(&stream, known, usize::MAX);
    assert!(stream.starts_with(&written), "what was understood is written again the same");
    assert_eq!(frames(&stream, known, usize::from(cut)), (written, whole), "wherever it is cut");
});
