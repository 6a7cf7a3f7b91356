use proptest::prelude::*;

use super::*;
use crate::wire::Agreement;

fn hello(side: usize) -> Hello {
    let Config { me: head, incarnation, nonce, digest, .. } = config(side);
    Hello { head, incarnation, nonce, digest }
}

fn head_of(frame: &Frame) -> Vec<u8> {
    frame.emit().head
}

/// What this side has to say so far.
fn said(pair: &mut Pair, side: usize) -> Vec<Frame> {
    let mut framer = Framer::new(Pool::new());
    let mut frames = Vec::new();
    while let Some(out) = pair.links[side].poll_transmit() {
        framer.push(&out.head);
        frames.extend(framer.poll().unwrap());
    }
    frames
}

#[test]
fn two_heads_meet_byte_by_byte() {
    let mut pair = Pair::new();
    pair.settle_in(1);
    for side in [A, B] {
        let peer = HeadId::BOTH[1 - side];
        assert_eq!(pair.take(side), [LinkEvent::Ready { peer, incarnation: incarnation(1 - side) }]);
    }
}

#[test]
fn another_secret_is_refused_by_both() {
    let mut pair = Pair::of([config(A), Config { secret: b"guess", ..config(B) }]);
    pair.settle();
    assert_eq!(pair.refusal(A), "the link secrets of the two heads differ");
    assert_eq!(pair.refusal(B), "the link secrets of the two heads differ");
}

#[test]
fn a_refusal_is_told() {
    let mut pair = Pair::of([config(A), config(A)]);
    pair.transmit(B, 1);
    pair.deliver(B, usize::MAX);
    assert_eq!(pair.refusal(A), "both heads are configured as head a");
    let frames = said(&mut pair, A);
    assert_eq!(frames[1], Frame::Refuse { why: "both heads are configured as head a".to_owned() });
    pair.feed(B, &head_of(&frames[1]));
    assert_eq!(pair.refusal(B), "the other head refuses: \"both heads are configured as head a\"");
}

#[test]
fn a_text_of_a_stranger_cannot_forge_log_lines() {
    let mut pair = Pair::new();
    pair.feed(A, &head_of(&Frame::Refuse { why: "x\nall is well\u{1b}[0m".to_owned() }));
    assert_eq!(pair.refusal(A), "the other head refuses: \"x\\nall is well\\u{1b}[0m\"");
}

#[test]
fn another_version_is_refused_by_name() {
    let mut pair = Pair::new();
    let mut bytes = head_of(&Frame::Hello(hello(B)));
    bytes[4] = 9;
    pair.feed(A, &bytes);
    assert_eq!(pair.refusal(A), "the other head speaks version 9 of the link's protocol, this one speaks version 1");
    assert!(matches!(said(&mut pair, A).as_slice(), [Frame::Hello(_), Frame::Refuse { .. }]));
}

#[test]
fn a_recorded_conversation_is_worth_nothing() {
    let mut recorded = Pair::new();
    let mut tape = Vec::new();
    for _ in 0..3 {
        for side in [A, B] {
            recorded.transmit(side, usize::MAX);
            if side == B {
                tape.extend(&recorded.wires[B]);
            }
            recorded.deliver(side, usize::MAX);
        }
    }
    assert!(matches!(recorded.take(A)[..], [LinkEvent::Ready { .. }]));
    let mut again = Pair::of([Config { nonce: [99; 32], ..config(A) }, config(B)]);
    again.feed(A, &tape);
    assert_eq!(again.refusal(A), "the link secrets of the two heads differ");
}

#[test]
fn a_head_does_not_prove_itself_to_itself() {
    let mut pair = Pair::new();
    let own = said(&mut pair, A);
    pair.feed(A, &head_of(&own[0]));
    assert_eq!(pair.refusal(A), "both heads are configured as head a");

    let mut pair = Pair::new();
    let Some(Frame::Hello(own)) = said(&mut pair, A).pop() else { panic!("a Hello comes first") };
    pair.feed(A, &head_of(&Frame::Hello(Hello { head: HeadId::B, ..own })));
    let proof = said(&mut pair, A).pop().unwrap();
    pair.feed(A, &head_of(&proof));
    assert_eq!(pair.refusal(A), "the link secrets of the two heads differ");
}

#[test]
fn nothing_is_accepted_out_of_turn() {
    let proof = Frame::Proof([0; 32]);
    let ping = Frame::Ping { number: 1 };
    let generation = Generation::new(1).unwrap();
    let message = Frame::Message { unit: 1, generation, message: Message::RequestHandover };
    let agreement = Frame::Agreement(Agreement::of(&BTreeMap::new()));
    let open = Frame::UnitOpen { unit: 1, generation, echo: None, settings: settings() };
    let early = [proof, ping, message, agreement, open, Frame::Ready];
    for frame in &early {
        let mut pair = Pair::new();
        pair.feed(A, &head_of(frame));
        assert_eq!(pair.refusal(A), "an unexpected frame before Hello");
    }
    for frame in early[1..].iter().chain([&Frame::Hello(hello(B))]) {
        let mut pair = Pair::new();
        pair.feed(A, &head_of(&Frame::Hello(hello(B))));
        pair.feed(A, &head_of(frame));
        assert_eq!(pair.refusal(A), "an unexpected frame before Proof");
    }
    for (frame, why) in [
        (Frame::Hello(hello(B)), "the other head begins another handshake"),
        (Frame::Refuse { why: "no".to_owned() }, "the other head refuses: \"no\""),
    ] {
        let mut pair = Pair::ready();
        pair.feed(A, &head_of(&frame));
        assert_eq!(pair.take(A), [LinkEvent::Closed { why: why.to_owned() }]);
    }
}

#[test]
fn differing_settings_are_named_on_both_heads() {
    let other = BTreeMap::from([("luns.0.disk", "/dev/two"), ("luns.1.disk", "/dev/three")]);
    let agreement = other.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let mut pair = Pair::of([config(A), Config { digest: [8; 32], agreement, ..config(B) }]);
    pair.settle();
    assert_eq!(
        pair.refusal(A),
        "the configurations differ: luns.0.disk: \"/dev/one\" here, \"/dev/two\" on the other head; \
         luns.1.disk: nothing here, \"/dev/three\" on the other head"
    );
    assert_eq!(
        pair.refusal(B),
        "the configurations differ: luns.0.disk: \"/dev/two\" here, \"/dev/one\" on the other head; \
         luns.1.disk: \"/dev/three\" here, nothing on the other head"
    );
}

#[test]
fn differing_settings_are_told_to_a_proven_head_only() {
    let mut pair = Pair::of([config(A), Config { digest: [8; 32], secret: b"guess", ..config(B) }]);
    pair.transmit(B, usize::MAX);
    pair.deliver(B, usize::MAX);
    pair.feed(A, &head_of(&Frame::Proof([0; 32])));
    assert!(said(&mut pair, A).iter().all(|frame| !matches!(frame, Frame::Agreement(_))));
}

#[test]
fn a_long_refusal_names_some_settings_and_counts_the_others() {
    let agreement = (0..20).map(|index| (format!("luns.{index:02}.disk"), "x".to_owned())).collect();
    let mut pair = Pair::of([config(A), Config { digest: [8; 32], agreement, ..config(B) }]);
    pair.settle();
    let why = pair.refusal(A);
    assert!(why.starts_with("the configurations differ: luns.0.disk: ") && why.ends_with("; and 13 more"), "{why}");
}

#[test]
fn what_a_list_was_too_short_for_is_not_called_different() {
    let all =
        |end: u32| -> BTreeMap<String, String> { (0..end).map(|n| (format!("{n:03}"), "x".repeat(100))).collect() };
    assert!(differing_keys(&all(900), &Agreement::of(&all(900))).is_empty());
    assert_eq!(differing_keys(&all(10), &Agreement::of(&all(9))), ["009"]);
    let mut pair = Pair::of([
        Config { agreement: all(900), ..config(A) },
        Config { agreement: all(901), digest: [8; 32], ..config(B) },
    ]);
    pair.settle();
    assert!(pair.refusal(A).contains("in no setting that both could compare"));
}

#[test]
fn a_handshake_has_its_time() {
    let mut pair = Pair::new();
    assert_eq!(pair.links[A].poll_timeout(), Some(Millis(HANDSHAKE_MS)));
    pair.now = Millis(HANDSHAKE_MS - 1);
    pair.feed(A, b"T");
    pair.links[A].handle_timeout(Millis(HANDSHAKE_MS - 1));
    pair.poll(A);
    assert!(pair.take(A).is_empty());
    pair.links[A].handle_timeout(Millis(HANDSHAKE_MS));
    pair.poll(A);
    assert_eq!(pair.take(A), [LinkEvent::Closed { why: "no handshake within 5000 ms".to_owned() }]);
    assert_eq!(pair.links[A].poll_timeout(), None);
}

#[test]
fn a_link_stands_still_until_it_has_its_units() {
    let mut pair = Pair::new();
    let kept = pair.units[A].take();
    pair.units[B].as_mut().unwrap().open(1, 512, settings());
    pair.settle();
    assert!(matches!(pair.take(A)[..], [LinkEvent::Ready { .. }]));
    let mut units = kept.unwrap();
    units.open(1, 512, settings());
    pair.links[A].adopt(units);
    pair.settle();
    assert_eq!(pair.take(A), [LinkEvent::UnitUp { unit: 1, peer: incarnation(B) }]);
}

#[test]
fn the_secret_is_in_no_debug_output() {
    let shown = format!("{:?}", Link::new(config(A), Pool::new(), Millis(0)));
    assert!(shown.contains("Handshake(before Hello)") && !shown.contains("only the two"), "{shown}");
}

proptest! {
    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0..3_usize, ready in any::<bool>()) {
        let mut pair = if ready { Pair::up() } else { Pair::new() };
        let begin: [&[u8]; 3] = [b"", b"TWHL\x01\0", b"TWHL\x01\0\x13\0"];
        pair.feed(A, begin[start]);
        pair.feed(A, &bytes);
        pair.poll(A);
        let wanted = |event: &LinkEvent| matches!(event, LinkEvent::Message { .. } | LinkEvent::Ready { .. });
        prop_assert!(!pair.take(A).iter().any(wanted));
    }

    #[test]
    fn one_wrong_bit_never_makes_a_pair(bit in 0..(120 + 72) * 8_usize) {
        let mut pair = Pair::new();
        pair.transmit(A, 1);
        pair.transmit(B, 1);
        pair.deliver(A, usize::MAX);
        pair.transmit(B, 1);
        pair.wires[B][bit / 8] ^= 1 << (bit % 8);
        pair.deliver(B, usize::MAX);
        pair.settle();
        let refused = |event: &LinkEvent| matches!(event, LinkEvent::Refused { .. });
        prop_assert!(pair.take(A).iter().chain(&pair.take(B)).all(refused));
    }
}
