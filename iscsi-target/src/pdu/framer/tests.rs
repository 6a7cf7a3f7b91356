use proptest::prelude::*;
use sas_backend::buffer::Pool;

use super::super::digest::Digests;
use super::super::{BHS_BYTES, Header, Transmit};
use super::*;

const LIMIT: usize = 300_000;

/// What a stream came to: opcode byte, AHS, data, whether the digest matched.
type Seen = Vec<(u8, Vec<u8>, Vec<u8>, bool)>;

/// Which place the reader of a test chooses for every data segment.
#[derive(Clone, Copy, Debug)]
enum Choice {
    Buffer,
    Memory,
}

fn pdu(tag: u8, ahs_words: usize, data: Vec<u8>, digests: Digests) -> Vec<u8> {
    let mut bhs = [tag; BHS_BYTES];
    bhs[0] = tag & 0x3f;
    let data = if data.is_empty() { vec![] } else { vec![data.into()] };
    Transmit::new(&Header::new(bhs, vec![tag; ahs_words * 4]), data, digests).to_vec()
}

/// Feed `stream` in chunks of the given sizes, over and over.
fn run(stream: &[u8], chunks: &[usize], digests: Digests, choice: Choice) -> Result<Seen, FrameError> {
    let mut framer = Framer::new(LIMIT);
    framer.set_digests(digests);
    let pool = Pool::new();
    let mut seen = Vec::new();
    let mut sizes = chunks.iter().copied().cycle();
    let mut rest = stream;
    let mut header = None;
    while !rest.is_empty() {
        let size = sizes.next().unwrap().min(rest.len());
        let pushed = framer.push(&rest[..size]);
        rest = &rest[pushed..];
        while let Some(item) = framer.poll()? {
            match item {
                Item::Header(next) => {
                    framer.place(match choice {
                        Choice::Buffer => {
                            Place::Buffer { buffer: pool.take(next.data_segment_length() + 10), offset: 10 }
                        }
                        Choice::Memory => Place::Memory(Vec::new()),
                    });
                    header = Some(next);
                }
                Item::Data { place, digest_matches } => {
                    let header = header.take().unwrap();
                    let data = match place {
                        Place::Buffer { buffer, offset } => buffer[offset..].to_vec(),
                        Place::Memory(memory) => memory,
                        Place::Discard => Vec::new(),
                    };
                    seen.push((header.opcode(), header.ahs, data, digest_matches));
                }
            }
        }
    }
    Ok(seen)
}

fn sample(digests: Digests) -> (Vec<u8>, Seen) {
    let bytes = |len: usize| (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<u8>>();
    let parts = [(1, 0, 0), (2, 3, 5), (3, 255, 8192), (4, 0, 262_144), (5, 1, 1), (6, 0, 70_000)];
    let stream = parts.iter().flat_map(|&(tag, ahs, len)| pdu(tag, ahs, bytes(len), digests)).collect();
    let seen = parts.iter().map(|&(tag, ahs, len)| (tag, vec![tag; ahs * 4], bytes(len), true)).collect();
    (stream, seen)
}

const ALL_DIGESTS: [Digests; 4] = [
    Digests { header: false, data: false },
    Digests { header: true, data: false },
    Digests { header: false, data: true },
    Digests { header: true, data: true },
];

#[test]
fn any_chunking_gives_the_same_pdus() {
    for digests in ALL_DIGESTS {
        let (stream, expected) = sample(digests);
        for chunks in [&[1][..], &[7], &[48], &[4096, 1], &[65_536], &[1 << 20]] {
            for choice in [Choice::Buffer, Choice::Memory] {
                assert_eq!(run(&stream, chunks, digests, choice).unwrap(), expected, "{chunks:?} {choice:?}");
            }
        }
    }
}

#[test]
fn a_large_data_segment_is_received_in_place() {
    let stream = pdu(1, 0, vec![9; 100_000], Digests::default());
    let mut framer = Framer::new(LIMIT);
    assert_eq!(framer.push(&stream[..48]), 48);
    assert!(matches!(framer.poll(), Ok(Some(Item::Header(_)))));
    framer.place(Place::Buffer { buffer: Pool::new().take(100_000), offset: 0 });
    let [direct, spare] = framer.recv_slices();
    assert_eq!((direct.len(), spare.len()), (100_000, RECEIVE_BUFFER_BYTES));
    framer.received(100);
    assert!(matches!(framer.poll(), Ok(None)));
    assert_eq!(framer.recv_slices()[0].len(), 99_900);
}

#[test]
fn a_full_receive_buffer_asks_for_nothing() {
    let mut framer = Framer::new(LIMIT);
    assert_eq!(framer.push(&vec![0; 1 << 20]), RECEIVE_BUFFER_BYTES);
    assert!(framer.recv_slices().iter().all(|slice| slice.is_empty()));
}

#[test]
fn a_wrong_header_digest_ends_the_stream() {
    let digests = Digests { header: true, data: false };
    let mut stream = pdu(1, 1, vec![1, 2, 3], digests);
    stream[5] = 0xff;
    assert_eq!(run(&stream, &[1], digests, Choice::Memory), Err(FrameError::HeaderDigest));
}

#[test]
fn a_wrong_data_digest_is_told_and_survived() {
    let digests = Digests { header: false, data: true };
    let mut stream = pdu(1, 0, vec![1, 2, 3], digests);
    stream[49] ^= 1;
    stream.extend(pdu(2, 0, vec![4], digests));
    let seen = run(&stream, &[5], digests, Choice::Memory).unwrap();
    assert_eq!(seen, [(1, vec![], vec![1, 3, 3], false), (2, vec![], vec![4], true)]);
}

#[test]
fn too_long_a_data_segment_ends_the_stream() {
    let stream = pdu(1, 0, vec![0; LIMIT + 1], Digests::default());
    let error = FrameError::DataSegmentTooLong { length: LIMIT + 1, limit: LIMIT };
    let mut framer = Framer::new(LIMIT);
    framer.push(&stream[..48]);
    assert_eq!(framer.poll().unwrap_err(), error);
    assert_eq!(framer.poll().unwrap_err(), error);
    assert!(framer.recv_slices().iter().all(|slice| slice.is_empty()));
}

#[test]
fn discarded_data_is_skipped() {
    let mut framer = Framer::new(LIMIT);
    let stream = [pdu(1, 0, vec![7; 50_001], Digests::default()), pdu(2, 0, vec![], Digests::default())].concat();
    let mut headers = 0;
    for chunk in stream.chunks(10_000) {
        assert_eq!(framer.push(chunk), chunk.len());
        while let Some(item) = framer.poll().unwrap() {
            if let Item::Header(_) = item {
                headers += 1;
                framer.place(Place::Discard);
            }
        }
    }
    assert_eq!(headers, 2);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096), chunk in 1usize..200, digests in 0usize..4) {
        let outcome = run(&bytes, &[chunk], ALL_DIGESTS[digests], Choice::Memory);
        prop_assert!(outcome.is_ok() || outcome.is_err());
    }

    #[test]
    fn random_chunks_equal_the_whole(
        lens in proptest::collection::vec((0usize..40, 0usize..20_000), 1..6),
        chunks in proptest::collection::vec(1usize..30_000, 1..20),
        digests in 0usize..4,
    ) {
        let digests = ALL_DIGESTS[digests];
        let stream: Vec<u8> = lens.iter().flat_map(|&(ahs, len)| pdu(3, ahs, vec![5; len], digests)).collect();
        let whole = run(&stream, &[usize::MAX], digests, Choice::Buffer).unwrap();
        prop_assert_eq!(whole.len(), lens.len());
        prop_assert_eq!(run(&stream, &chunks, digests, Choice::Buffer).unwrap(), whole);
    }
}
