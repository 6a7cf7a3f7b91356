use proptest::prelude::*;
use sas_backend::Epoch;
use sas_backend::buffer::Payload;

use super::*;
use crate::block::{Contents, Extent};
use crate::cache::Version;
use crate::message::{Message, Tag};
use crate::wire::Generation;

fn write(number: u64, bytes: usize) -> Frame {
    let contents: Vec<u8> = (0..bytes).map(|at| u8::try_from((at as u64 + number) % 251).unwrap()).collect();
    let message = Message::Write {
        tag: Tag { epoch: Epoch(1), invitation: 1 },
        position: number,
        version: Version(number),
        extent: Extent::new(number, 1),
        data: Pool::new().copy_of(&contents).into(),
    };
    Frame::Message { unit: 1, generation: Generation::new(5).unwrap(), message }
}

fn payload_of(frame: &Frame) -> &Payload {
    match frame {
        Frame::Message { message: Message::Write { data: Contents::Bytes(payload), .. }, .. } => payload,
        other => panic!("{other:?} has no payload"),
    }
}

fn append(frame: &Frame, stream: &mut Vec<u8>) {
    let out = frame.emit();
    stream.extend(out.head);
    stream.extend(out.payload.iter().flat_map(|payload| payload.iter()));
}

/// The frames of a stream that arrives in chunks of these sizes, over and over.
fn cut(stream: &[u8], chunks: &[usize]) -> Vec<Frame> {
    let mut framer = Framer::new(Pool::new());
    framer.allow_payloads();
    let (mut frames, mut at) = (Vec::new(), 0);
    for &chunk in chunks.iter().cycle() {
        let end = stream.len().min(at + chunk);
        at += framer.push(&stream[at..end]);
        while let Some(frame) = framer.poll().unwrap() {
            frames.push(frame);
        }
        if at == stream.len() {
            break;
        }
    }
    frames
}

#[test]
fn a_large_payload_is_received_straight_into_its_buffer() {
    let pool = Pool::new();
    let mut framer = Framer::new(pool.clone());
    framer.allow_payloads();
    let frame = write(1, 1 << 20);
    let out = frame.emit();
    framer.push(&out.head);
    assert_eq!(framer.poll(), Ok(None));
    assert_eq!(pool.in_use_bytes(), 1 << 20);
    let address = {
        let [mut direct, rest] = framer.recv_slices();
        assert_eq!((direct.len(), rest.len()), (1 << 20, RECEIVE_BUFFER_BYTES));
        direct.copy_from_slice(payload_of(&frame));
        direct.as_ptr()
    };
    framer.received(1 << 20);
    let received = framer.poll().unwrap().unwrap();
    assert_eq!(received, frame);
    assert_eq!(payload_of(&received).as_ptr(), address);
}

#[test]
fn an_error_stays() {
    let mut framer = Framer::new(Pool::new());
    framer.push(&[0; 64]);
    assert_eq!(framer.poll(), Err(FrameError::Foreign));
    assert_eq!(framer.push(&[0; 64]), 0);
    assert_eq!(framer.poll(), Err(FrameError::Foreign));
}

#[test]
fn a_damaged_payload_is_not_handed_out() {
    let mut stream = Vec::new();
    append(&write(1, 512), &mut stream);
    *stream.last_mut().unwrap() ^= 1;
    let mut framer = Framer::new(Pool::new());
    framer.allow_payloads();
    framer.push(&stream);
    assert_eq!(framer.poll(), Err(FrameError::PayloadChecksum));
}

#[test]
fn the_buffer_holds_whatever_comes_before_it_is_polled() {
    let mut stream = Vec::new();
    while stream.len() <= RECEIVE_BUFFER_BYTES {
        append(&Frame::Ping { number: stream.len() as u64 }, &mut stream);
    }
    let mut framer = Framer::new(Pool::new());
    assert_eq!(framer.push(&stream), RECEIVE_BUFFER_BYTES);
    assert_eq!(framer.push(&stream), 0);
    while framer.poll().unwrap().is_some() {}
    assert_eq!(framer.push(&stream[RECEIVE_BUFFER_BYTES..]), stream.len() - RECEIVE_BUFFER_BYTES);
    let Ok(Some(Frame::Ping { number })) = framer.poll() else { panic!("the last ping is missing") };
    assert!(usize::try_from(number).unwrap() < RECEIVE_BUFFER_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunks_do_not_matter(
        sizes in prop::collection::vec(prop_oneof![Just(0_usize), 1..2000_usize, 200_000..400_000_usize], 1..12),
        chunks in prop::collection::vec(prop_oneof![1..100_usize, 1000..500_000_usize], 1..12),
    ) {
        let frames: Vec<Frame> = (1..).zip(&sizes).map(|(number, &size)| match size {
            0 => Frame::Ping { number },
            size => write(number, size),
        }).collect();
        let mut stream = Vec::new();
        for frame in &frames {
            append(frame, &mut stream);
        }
        prop_assert_eq!(cut(&stream, &chunks), frames);
    }

    #[test]
    fn byte_by_byte(sizes in prop::collection::vec(0..600_usize, 1..6)) {
        let frames: Vec<Frame> = (1..).zip(&sizes).map(|(number, &size)| write(number, size + 1)).collect();
        let mut stream = Vec::new();
        for frame in &frames {
            append(frame, &mut stream);
        }
        prop_assert_eq!(cut(&stream, &[1]), frames);
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), start in any::<bool>()) {
        let mut framer = Framer::new(Pool::new());
        framer.allow_payloads();
        if start {
            framer.push(b"TWHL\x01\0");
        }
        framer.push(&bytes);
        while matches!(framer.poll(), Ok(Some(_))) {}
    }
}
