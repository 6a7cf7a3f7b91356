use std::collections::BTreeMap;

use proptest::prelude::*;
use sas_backend::buffer::Pool;
use sas_backend::{Epoch, HeadId, Incarnation};

use super::header::Header;
use super::*;
use crate::block::{Contents, Extent, Millis, Stretch};
use crate::cache::Version;
use crate::head::{IoError, Operation};
use crate::message::{Forwarded, Mode, PeerRole, PeerState, Tag};
use sas_backend::superblock::Record;

const TAG: Tag = Tag { epoch: Epoch(0x0102), invitation: 3 };

fn generation() -> Generation {
    Generation::new(0x1122_3344_5566_7788).unwrap()
}

fn incarnation() -> Incarnation {
    Incarnation::new(0xab_cdef).unwrap()
}

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn unit_settings() -> UnitSettings {
    UnitSettings::new(settings(&[("disk", "/d")]), settings(&[("name", "db"), ("writers", "")]))
}

fn of_unit(message: Message<Contents>) -> Frame {
    Frame::Message { unit: 7, generation: generation(), message }
}

fn state(role: PeerRole) -> Frame {
    of_unit(Message::State(PeerState { role, epoch: Epoch(5), dirty_blocks: 6, sessions: 0, blocks: 0x0a0b }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Frames with the bytes of their header and body; computed by another program than this one.
fn golden() -> Vec<(Frame, &'static str, &'static str)> {
    let mut all = golden_control();
    all.extend(golden_messages());
    all.extend(golden_forwarding());
    all.extend(golden_records());
    all.extend(golden_holes());
    all.extend(golden_portals());
    all
}

fn golden_control() -> Vec<(Frame, &'static str, &'static str)> {
    vec![
        (
            Frame::Hello(Hello { head: HeadId::B, incarnation: incarnation(), nonce: [0x5a; 32], digest: [0xd1; 32] }),
            "5457484c0100010000000000500000000000000000000000000000003bc2a9b40000000079d7ecc4",
            "0200000000000000efcdab00000000005a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5ad1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1",
        ),
        (
            Frame::Proof(std::array::from_fn(|index| u8::try_from(index).unwrap())),
            "5457484c0100020000000000200000000000000000000000000000004e79dd4600000000a0cb0771",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        ),
        (
            Frame::Agreement(Agreement::of(&settings(&[("a", "xy"), ("bc", "")]))),
            "5457484c01000300000000000e00000000000000000000000000000080aab3260000000037e31fe3",
            "0101006102007879020062630000",
        ),
        (Frame::Ready, "5457484c010004000000000000000000000000000000000000000000000000000000000094b8145c", ""),
        (
            Frame::Refuse { why: "nö".to_owned() },
            "5457484c0100050000000000030000000000000000000000000000002011220b000000002276e7a8",
            "6ec3b6",
        ),
        (
            Frame::Ping { number: 9 },
            "5457484c01000600000000000800000000000000000000000000000077cb2f87000000007a89f002",
            "0900000000000000",
        ),
        (
            Frame::Pong { number: 9 },
            "5457484c01000700000000000800000000000000000000000000000077cb2f870000000073c84b17",
            "0900000000000000",
        ),
        (
            Frame::UnitOpen { unit: 7, generation: generation(), echo: None, settings: UnitSettings::default() },
            "5457484c01000800070000000a0000008877665544332211000000006bf0dde300000000b14c9fad",
            "00000000000000000000",
        ),
        (
            Frame::UnitOpen {
                unit: 7,
                generation: generation(),
                echo: Generation::new(0x99),
                settings: unit_settings(),
            },
            "5457484c010008000700000029000000887766554433221100000000954ba48c00000000c1655419",
            "99000000000000000a0004006469736b02002f6404006e616d65020064620700777269746572730000",
        ),
        (
            Frame::UnitClosed { unit: 7, generation: generation() },
            "5457484c0100090007000000000000008877665544332211000000000000000000000000be38794c",
            "",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn golden_messages() -> Vec<(Frame, &'static str, &'static str)> {
    vec![
        (
            state(PeerRole::Starting),
            "5457484c01001000070000002000000088776655443322110000000068f59df200000000d32d674e",
            "0000000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            of_unit(Message::State(PeerState {
                role: PeerRole::Standby { claim: Some(true) },
                epoch: Epoch(5),
                dirty_blocks: 6,
                sessions: 0x0102_0304,
                blocks: 0x0a0b,
            })),
            "5457484c010010000700000020000000887766554433221100000000e851d12a000000001c52f2d8",
            "0102000004030201050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Standby { claim: None }),
            "5457484c010010000700000020000000887766554433221100000000a3253bcf00000000f838a793",
            "0100000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Standby { claim: Some(false) }),
            "5457484c0100100007000000200000008877665544332211000000002e459cb700000000863959b3",
            "0101000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Standby { claim: Some(true) }),
            "5457484c010010000700000020000000887766554433221100000000b9e4753e00000000043a5bd2",
            "0102000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Changing),
            "5457484c010010000700000020000000887766554433221100000000fe54d0890000000074710bf0",
            "0200000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Owner(Mode::Solo)),
            "5457484c010010000700000020000000887766554433221100000000358476b4000000005f64cb2d",
            "0300000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Owner(Mode::Draining)),
            "5457484c010010000700000020000000887766554433221100000000b8e4d1cc000000002165350d",
            "0301000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Owner(Mode::Joining)),
            "5457484c0100100007000000200000008877665544332211000000002f45384500000000a366376c",
            "0302000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Owner(Mode::Mirrored)),
            "5457484c010010000700000020000000887766554433221100000000a2259f3d00000000dd67c94c",
            "0303000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Owner(Mode::Degrading)),
            "5457484c010010000700000020000000887766554433221100000000f070075300000000a76133ae",
            "0304000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            state(PeerRole::Owner(Mode::HandingOver)),
            "5457484c0100100007000000200000008877665544332211000000007d10a02b00000000d960cd8e",
            "0305000000000000050000000000000006000000000000000b0a000000000000",
        ),
        (
            of_unit(Message::Invite(TAG)),
            "5457484c0100110007000000100000008877665544332211000000008f8d4e1f00000000ae6fdb25",
            "02010000000000000300000000000000",
        ),
        (
            of_unit(Message::Accepted(TAG)),
            "5457484c0100120007000000100000008877665544332211000000008f8d4e1f00000000b5ac161b",
            "02010000000000000300000000000000",
        ),
        (
            of_unit(Message::Write {
                tag: TAG,
                position: 1,
                version: Version(2),
                extent: Extent::new(0x40, 1),
                data: Pool::new().copy_of(&[0x77; 512]).into(),
            }),
            "5457484c0100130007000000300000008877665544332211000200009cb20b61df29de009297406f",
            "020100000000000003000000000000000100000000000000020000000000000040000000000000000100000000000000",
        ),
        (
            of_unit(Message::Confirmed { tag: TAG, position: 8 }),
            "5457484c010014000700000018000000887766554433221100000000128b98d100000000fbf5affe",
            "020100000000000003000000000000000800000000000000",
        ),
        (
            of_unit(Message::Release { tag: TAG, extent: Extent::new(0x40, 4), version: Version(2) }),
            "5457484c010015000700000028000000887766554433221100000000f2312ec80000000052269ccb",
            "02010000000000000300000000000000400000000000000004000000000000000200000000000000",
        ),
        (
            of_unit(Message::Joined(TAG)),
            "5457484c0100160007000000100000008877665544332211000000008f8d4e1f0000000091a8fb4d",
            "02010000000000000300000000000000",
        ),
        (
            of_unit(Message::Handover { tag: TAG, from: incarnation() }),
            "5457484c01001700070000001800000088776655443322110000000083d991c9000000001f69b0ca",
            "02010000000000000300000000000000efcdab0000000000",
        ),
        (
            of_unit(Message::TookOver(TAG)),
            "5457484c0100180007000000100000008877665544332211000000008f8d4e1f00000000ef26ba9d",
            "02010000000000000300000000000000",
        ),
        (
            of_unit(Message::RequestHandover),
            "5457484c0100190007000000000000008877665544332211000000000000000000000000df5e2112",
            "",
        ),
        (
            of_unit(Message::LeaseRequest { sent: Millis(1000) }),
            "5457484c01001a000700000008000000887766554433221100000000c7fb175500000000bf9204c6",
            "e803000000000000",
        ),
        (
            of_unit(Message::LeaseGrant { sent: Millis(1000) }),
            "5457484c01001b000700000008000000887766554433221100000000c7fb175500000000b6d3bfd3",
            "e803000000000000",
        ),
        (
            of_unit(Message::Measure),
            "5457484c01001c0007000000000000008877665544332211000000000000000000000000f21b7751",
            "",
        ),
        (
            of_unit(Message::Measured { blocks: 0x0102 }),
            "5457484c01001d0007000000080000008877665544332211000000000c64537600000000d25bcdcc",
            "0201000000000000",
        ),
        (
            of_unit(Message::Follow { blocks: 0x0102 }),
            "5457484c01001e0007000000080000008877665544332211000000000c64537600000000c99800f2",
            "0201000000000000",
        ),
        (
            of_unit(Message::Followed { blocks: 0x0102 }),
            "5457484c01001f0007000000080000008877665544332211000000000c64537600000000c0d9bbe7",
            "0201000000000000",
        ),
    ]
}

fn golden_forwarding() -> Vec<(Frame, &'static str, &'static str)> {
    vec![
        (
            of_unit(Message::Forward {
                number: 5,
                heard: Millis(1000),
                operation: Operation::Read(Extent::new(0x40, 8)),
            }),
            "5457484c010022000700000028000000887766554433221100000000478d93ca00000000ec0bb03f",
            "0500000000000000e803000000000000000000000000000040000000000000000800000000000000",
        ),
        (
            of_unit(Message::Forward { number: 5, heard: Millis(1000), operation: Operation::Flush }),
            "5457484c010022000700000028000000887766554433221100000000021a0c1b0000000098a9caed",
            "0500000000000000e803000000000000030000000000000000000000000000000000000000000000",
        ),
        (
            of_unit(Message::Forward {
                number: 6,
                heard: Millis(1000),
                operation: Operation::Write {
                    extent: Extent::new(0x40, 1),
                    data: Pool::new().copy_of(&[0x77; 512]).into(),
                    fua: true,
                },
            }),
            "5457484c010022000700000028000000887766554433221100020000db4e4bd3df29de004cc2d87c",
            "0600000000000000e803000000000000020000000000000040000000000000000100000000000000",
        ),
        (
            of_unit(Message::CancelForwarded { number: 5 }),
            "5457484c010023000700000008000000887766554433221100000000c04d09e400000000164e164c",
            "0500000000000000",
        ),
        (
            of_unit(Message::Returned { number: 5, data: Pool::new().copy_of(&[0x77; 512]).into() }),
            "5457484c010024000700000008000000887766554433221100020000c04d09e4df29de00cae48143",
            "0500000000000000",
        ),
        (
            of_unit(Message::Forwarded { number: 5, end: Forwarded::Failed(IoError::NoSpace) }),
            "5457484c010025000700000018000000887766554433221100000000af685be800000000bd775adb",
            "050000000000000005000000000000000000000000000000",
        ),
        (
            of_unit(Message::Forwarded { number: 5, end: Forwarded::Miscompare(77) }),
            "5457484c0100250007000000180000008877665544332211000000000035b539000000009ea85c4f",
            "050000000000000007000000000000004d00000000000000",
        ),
        (
            of_unit(Message::Forward {
                number: 7,
                heard: Millis(1000),
                operation: Operation::CompareAndWrite {
                    extent: Extent::new(0x40, 1),
                    data: Pool::new().copy_of(&[0x77; 1024]).into(),
                    fua: false,
                },
            }),
            "5457484c010022000700000028000000887766554433221100040000c74f1f9d0b518349157382ac",
            "0700000000000000e803000000000000040000000000000040000000000000000100000000000000",
        ),
        (
            of_unit(Message::Forward {
                number: 8,
                heard: Millis(1000),
                operation: Operation::Or {
                    extent: Extent::new(0x40, 1),
                    data: Pool::new().copy_of(&[0x77; 512]).into(),
                    fua: true,
                },
            }),
            "5457484c010022000700000028000000887766554433221100020000e967d2bedf29de0093f75b1e",
            "0800000000000000e803000000000000070000000000000040000000000000000100000000000000",
        ),
    ]
}

fn golden_records() -> Vec<(Frame, &'static str, &'static str)> {
    vec![
        (
            of_unit(Message::Forward {
                number: 5,
                heard: Millis(1000),
                operation: Operation::Ask(b"may I"[..].into()),
            }),
            "5457484c010026000700000015000000887766554433221100000000fded812800000000bf2ce679",
            "0500000000000000e8030000000000006d61792049",
        ),
        (
            of_unit(Message::Answer { number: 5, answer: b"yes"[..].into() }),
            "5457484c01002700070000000b00000088776655443322110000000077a2501f00000000358bb076",
            "0500000000000000796573",
        ),
        (
            of_unit(Message::Record { number: 5, record: Record { kept: 1, bytes: b"held"[..].into() } }),
            "5457484c0100280007000000140000008877665544332211000000007b4ddf0500000000e588559d",
            "0500000000000000010000000000000068656c64",
        ),
        (
            of_unit(Message::RecordKnown { number: 5 }),
            "5457484c010029000700000008000000887766554433221100000000c04d09e4000000004cc4baca",
            "0500000000000000",
        ),
    ]
}

fn golden_holes() -> Vec<(Frame, &'static str, &'static str)> {
    let (extent, hole) = (Extent::new(0x40, 0x1_0000), Contents::Hole { blocks: 0x1_0000 });
    let forward = |number, operation| of_unit(Message::Forward { number, heard: Millis(1000), operation });
    let map = |mapped| Forwarded::Map(Stretch { blocks: 0x20, mapped });
    vec![
        (
            of_unit(Message::Write { tag: TAG, position: 1, version: Version(2), extent, data: hole.clone() }),
            "5457484c01002a000700000030000000887766554433221100000000a2a407c7000000002b4175f4",
            "020100000000000003000000000000000100000000000000020000000000000040000000000000000000010000000000",
        ),
        (
            forward(6, Operation::Write { extent, data: hole, fua: false }),
            "5457484c010022000700000028000000887766554433221100000000c3d0587e00000000e3765513",
            "0600000000000000e803000000000000090000000000000040000000000000000000010000000000",
        ),
        (
            forward(8, Operation::Map(extent)),
            "5457484c0100220007000000280000008877665544332211000000002b1e26f10000000010004d87",
            "0800000000000000e803000000000000080000000000000040000000000000000000010000000000",
        ),
        (
            of_unit(Message::Returned { number: 5, data: Contents::Hole { blocks: 0x20 } }),
            "5457484c01002b000700000010000000887766554433221100000000665e787b000000005b582322",
            "05000000000000002000000000000000",
        ),
        (
            of_unit(Message::Forwarded { number: 8, end: map(true) }),
            "5457484c010025000700000018000000887766554433221100000000151f3dc0000000009cd97a4c",
            "080000000000000008000000000000002000000000000000",
        ),
        (
            of_unit(Message::Forwarded { number: 8, end: map(false) }),
            "5457484c010025000700000018000000887766554433221100000000eb12313200000000121b35f6",
            "080000000000000009000000000000002000000000000000",
        ),
    ]
}

fn golden_portals() -> Vec<(Frame, &'static str, &'static str)> {
    let v6 = |last: u8, port| {
        let mut ip = [0; 16];
        ip[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        ip[15] = last;
        Endpoint { ip, port }
    };
    let v4 = |last, port| Endpoint { ip: [192, 0, 2, last], port };
    let state = PortalState { own: OwnAddresses::Wanted, holds_yours: true, carrier: false, number: 5, echo: 4 };
    vec![
        (
            Frame::Portals(state),
            "5457484c01002000000000001800000000000000000000000000000043cc4e9500000000c8013e68",
            "020100000000000005000000000000000400000000000000",
        ),
        (
            Frame::Clients(vec![
                ClientConnection::V4 { server: v4(1, 3260), client: v4(9, 40000) },
                ClientConnection::V6 { server: v6(1, 3260), client: v6(9, 40001) },
            ]),
            "5457484c010021000000000032000000000000000000000000000000a8585047000000007d4044db",
            "04c00002010cbcc00002099c400620010db80000000000000000000000010cbc20010db80000000000000000000000099c41",
        ),
        (
            Frame::Clients(Vec::new()),
            "5457484c01002100000000000000000000000000000000000000000000000000000000007b31f2a3",
            "",
        ),
    ]
}

/// All frames of which the bytes consist, and the error after them.
fn cut(bytes: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    let mut framer = Framer::new(Pool::new());
    framer.allow_payloads();
    let mut frames = Vec::new();
    let mut rest = bytes;
    loop {
        let count = framer.push(rest);
        rest = &rest[count..];
        loop {
            match framer.poll() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) if rest.is_empty() => return (frames, None),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let OutFrame { mut head, payload } = frame.emit();
    head.extend(payload.iter().flat_map(|payload| payload.iter()));
    head
}

/// The header's checksum made right again.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// With another body, all checksums right.
fn with_body(frame: &Frame, body: &[u8]) -> Vec<u8> {
    let mut bytes = bytes_of(frame);
    drop(bytes.splice(40..frame.emit().head.len(), body.iter().copied()));
    bytes[12..16].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes[28..32].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    resealed(bytes)
}

#[test]
fn golden_bytes_both_ways() {
    for (frame, header, body) in golden() {
        let out = frame.emit();
        assert_eq!((hex(&out.head[..40]).as_str(), hex(&out.head[40..]).as_str()), (header, body), "{frame:?}");
        assert_eq!(cut(&bytes_of(&frame)), (vec![frame], None));
    }
}

#[test]
fn every_kind_has_golden_bytes() {
    let kinds: std::collections::BTreeSet<String> =
        golden().iter().map(|(_, header, _)| header[12..16].to_owned()).collect();
    assert_eq!(kinds.len(), header::KINDS.len());
}

#[test]
fn an_emitted_write_shares_its_payload() {
    let data = Pool::new().copy_of(&[1; 4096]);
    let extent = Extent::new(0, 8);
    let frame =
        of_unit(Message::Write { tag: TAG, position: 1, version: Version(1), extent, data: data.clone().into() });
    assert_eq!(frame.emit().payload.unwrap().as_ptr(), data.as_ptr());
}

#[test]
fn lengths_are_bounded_by_kind() {
    let write = golden().into_iter().find(|(_, header, _)| header[12..16] == *"1300").unwrap().0;
    let too_long = |at: usize, value: u32, frame: &Frame| {
        let mut bytes = bytes_of(frame);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(matches!(cut(&resealed(bytes)), (frames, Some(FrameError::Length { .. })) if frames.is_empty()));
    };
    too_long(24, (16 << 20) + 1, &write);
    too_long(24, 0, &write);
    too_long(24, u32::MAX, &write);
    too_long(12, 49, &write);
    too_long(24, 1, &Frame::Ready);
    too_long(12, 1, &Frame::Ready);
    too_long(12, u32::MAX, &Frame::Agreement(Agreement::of(&settings(&[]))));
    too_long(12, 513, &Frame::Refuse { why: String::new() });
    let mut stranger = Framer::new(Pool::new());
    stranger.push(&bytes_of(&write));
    assert!(matches!(stranger.poll(), Err(FrameError::Length { kind: "Write", .. })), "no payload from a stranger");
}

#[test]
fn bodies_that_make_no_sense_are_refused() {
    let nonsense = |frame: &Frame, change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = frame.emit().head[40..].to_vec();
        change(&mut body);
        let (frames, error) = cut(&with_body(frame, &body));
        assert!(frames.is_empty() && matches!(error, Some(FrameError::Contents(_))), "{frames:?} {error:?}");
    };
    let put = |at: usize, byte: u8| move |body: &mut Vec<u8>| body[at] = byte;
    let frames = golden();
    let of = |kind: &str| frames.iter().find(|(_, header, _)| header[12..16] == *kind).unwrap().0.clone();
    nonsense(&of("0100"), &put(0, 3));
    nonsense(&of("0100"), &put(1, 1));
    nonsense(&of("0100"), &|body| body[8..16].fill(0));
    nonsense(&of("0300"), &put(0, 2));
    nonsense(&of("2000"), &put(0, 0));
    nonsense(&of("2000"), &put(0, 5));
    nonsense(&of("2000"), &put(1, 2));
    nonsense(&of("2000"), &put(3, 1));
    nonsense(&of("2100"), &put(0, 5));
    // A read of no blocks, one with contents, a flush with an address, no such operation, a byte that must be zero.
    nonsense(&of("2200"), &|body| body[32..].fill(0));
    nonsense(&of("2200"), &put(16, 1));
    nonsense(&of("2200"), &put(16, 3));
    nonsense(&of("2200"), &put(17, 1));
    // An answer about no blocks, no such end, a hole of no blocks, one of more than are counted.
    nonsense(&of("2500"), &put(8, 8));
    nonsense(&of("2500"), &put(8, 10));
    let hole = of_unit(Message::Returned { number: 5, data: Contents::Hole { blocks: 0x20 } });
    nonsense(&hole, &put(8, 0));
    nonsense(&hole, &put(15, 0x80));
    nonsense(&of("2200"), &put(16, 11));
    nonsense(&of("2500"), &put(16, 1));
    nonsense(&of("2600"), &put(7, 0x80));
    nonsense(&of("2800"), &put(8, 5));
    nonsense(&of("2800"), &put(9, 1));
    nonsense(&of("2100"), &|body| body.truncate(12));
    nonsense(&of("2100"), &|body| *body = body[..13].repeat(portals::MAX_CLIENTS + 1));
    nonsense(&of("0300"), &put(1, 200));
    nonsense(&of("0300"), &put(3, 0xff));
    nonsense(&of("0300"), &put(3, b'z'));
    nonsense(&of("0500"), &put(1, b'x'));
    nonsense(&of("1000"), &put(0, 4));
    nonsense(&of("1000"), &put(1, 1));
    nonsense(&of("1000"), &put(2, 1));
    nonsense(&of("1000"), &put(15, 0x80));
    nonsense(&state(PeerRole::Owner(Mode::Solo)), &put(1, 6));
    nonsense(&of("1300"), &put(23, 0x80));
    nonsense(&of("1300"), &put(31, 0xff));
    nonsense(&of("1300"), &|body| body[40..48].fill(0));
    nonsense(&of("1300"), &|body| body[32..48].fill(0x7f));
    nonsense(&of("1300"), &|body| body[32..48].fill(0xff));
    nonsense(&of("1700"), &|body| body[16..24].fill(0));
}

#[test]
fn a_header_says_whom_it_is_for() {
    for (frame, at, value) in [(Frame::Ready, 8, 1_u8), (Frame::Ready, 16, 1)] {
        let mut bytes = bytes_of(&frame);
        bytes[at] = value;
        assert_eq!(cut(&resealed(bytes)).1, Some(FrameError::Contents("Ready")));
    }
    let mut bytes = bytes_of(&of_unit(Message::RequestHandover));
    bytes[16..24].fill(0);
    assert_eq!(cut(&resealed(bytes)).1, Some(FrameError::Contents("RequestHandover")));
}

#[test]
fn strangers_and_later_versions_are_told_apart() {
    assert_eq!(cut(&[b'G'; 40]).1, Some(FrameError::Foreign));
    let mut bytes = bytes_of(&Frame::Ready);
    bytes[4] = 2;
    assert_eq!(cut(&bytes).1, Some(FrameError::Version(2)));
    let mut bytes = bytes_of(&Frame::Ready);
    bytes[6] = 99;
    assert_eq!(cut(&resealed(bytes)).1, Some(FrameError::Kind(99)));
}

#[test]
fn long_texts_are_cut_where_they_may_be() {
    let Frame::Refuse { why } = cut(&bytes_of(&Frame::Refuse { why: "ö".repeat(400) })).0.remove(0) else {
        panic!("a Refuse is a Refuse");
    };
    assert_eq!(why, "ö".repeat(256));
    let many: BTreeMap<String, String> =
        (0..2000).map(|index| (format!("luns.{index:04}.disk"), "/dev/disk/by-id/something".to_owned())).collect();
    let agreement = Agreement::of(&many);
    assert!(!agreement.complete && agreement.settings.len() > 1000);
    let frame = Frame::Agreement(agreement);
    assert_eq!(cut(&bytes_of(&frame)), (vec![frame], None));
    let endless = settings(&[("a", "b"), ("c", &"x".repeat(70_000)), ("d", "e")]);
    assert_eq!(Agreement::of(&endless), Agreement { settings: settings(&[("a", "b")]), complete: false });
}

proptest! {
    #[test]
    fn one_wrong_bit_is_found(index in 0..64_usize, bit in any::<prop::sample::Index>()) {
        let frames = golden();
        let bytes = bytes_of(&frames[index % frames.len()].0);
        let bit = bit.index(bytes.len() * 8);
        let mut damaged = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (frames, error) = cut(&damaged);
        prop_assert!(frames.is_empty() && error.is_some());
    }

    #[test]
    fn no_header_is_a_panic(kind in 0..30_u8, rest in prop::array::uniform32(any::<u8>()), allowed in any::<bool>()) {
        let mut bytes = vec![0; 40];
        bytes[8..40].copy_from_slice(&rest);
        bytes[..8].copy_from_slice(&[b'T', b'W', b'H', b'L', 1, 0, kind, 0]);
        let bytes = resealed(bytes);
        let parsed = Header::parse(bytes.first_chunk().unwrap(), if allowed { MAX_PAYLOAD_BYTES } else { 0 });
        if let Ok(header) = parsed {
            prop_assert_eq!(header.emit().to_vec(), bytes);
        }
    }

    #[test]
    fn what_a_body_means_gives_the_body(index in 0..64_usize, body in prop::collection::vec(any::<u8>(), 0..90)) {
        let frames = golden();
        let bytes = with_body(&frames[index % frames.len()].0, &body);
        if let (frames, None) = cut(&bytes) {
            prop_assert_eq!(frames.iter().flat_map(bytes_of).collect::<Vec<_>>(), bytes);
        }
    }
}
