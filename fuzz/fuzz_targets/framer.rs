//! Any bytes, cut at any place: what comes out does not depend on the cuts, and a header that means something means the
//! same when it is written anew.
#![no_main]

use iscsi_target::pdu::digest::Digests;
use iscsi_target::pdu::framer::{FrameError, Item, Place};
use iscsi_target::pdu::{Framer, Header, Request, Response};
use libfuzzer_sys::fuzz_target;
use sas_backend::buffer::Pool;
use twinhead_fuzz::Input;

const LIMIT: usize = 8192;

/// What a stream consists of: headers, each with its data and whether the digest is right.
type Pdus = Vec<(Header, Vec<u8>, bool)>;

/// `cuts` say how many bytes come at once; how it ends is the second.
fn cut(
    bytes: &[u8],
    digests: Digests,
    in_buffers: bool,
    mut cuts: impl FnMut() -> usize,
) -> (Pdus, Option<FrameError>) {
    let pool = Pool::new();
    let mut framer = Framer::new(LIMIT);
    framer.set_digests(digests);
    let (mut pdus, mut rest, mut header) = (Pdus::new(), bytes, None);
    loop {
        loop {
            match framer.poll() {
                Ok(None) => break,
                Ok(Some(Item::Header(found))) => {
                    let length = found.data_segment_length();
                    framer.place(if in_buffers {
                        Place::Buffer { buffer: pool.take(length + 512), offset: 512 }
                    } else {
                        Place::Memory(Vec::new())
                    });
                    header = Some(found);
                }
                Ok(Some(Item::Data { place, digest_matches })) => {
                    let header = header.take().expect("the header was first");
                    let data = match place {
                        Place::Buffer { buffer, offset } => buffer[offset..].to_vec(),
                        Place::Memory(memory) => memory,
                        Place::Discard => panic!("it was to be kept"),
                    };
                    assert_eq!(data.len(), header.data_segment_length());
                    pdus.push((header, data, digest_matches));
                }
                Err(error) => {
                    assert_eq!(framer.poll().expect_err("an error stays"), error);
                    assert_eq!(framer.push(b"more"), 0, "nothing is taken after an error");
                    return (pdus, Some(error));
                }
            }
        }
        if rest.is_empty() {
            return (pdus, None);
        }
        let now = &rest[..cuts().clamp(1, rest.len())];
        let taken = framer.push(now);
        assert!(taken > 0, "with nothing to take out there is room");
        rest = &rest[taken..];
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let digests = Digests { header: kind & 1 != 0, data: kind & 2 != 0 };
    let cuts: [u8; 8] = input.array();
    let stream = input.rest();
    let whole = cut(stream, digests, false, || usize::MAX);
    let mut turn = 0;
    let in_parts = cut(stream, digests, true, || {
        turn += 1;
        usize::from(cuts[turn % cuts.len()])
    });
    assert_eq!(whole, in_parts);
    for (header, _, _) in &whole.0 {
        if let Ok(request) = Request::parse(header) {
            assert_eq!(Request::parse(&request.emit()).as_ref(), Ok(&request));
        }
        if let Ok(response) = Response::parse(header) {
            assert_eq!(Response::parse(&response.emit()).as_ref(), Ok(&response));
        }
    }
});
