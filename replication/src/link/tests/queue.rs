use super::*;

fn kinds(pair: &mut Pair, side: usize) -> Vec<Frame> {
    let mut framer = Framer::new(Pool::new());
    framer.allow_payloads();
    let mut frames = Vec::new();
    while let Some(OutFrame { head, payload }) = pair.links[side].poll_transmit() {
        framer.push(&head);
        assert_eq!(framer.poll().is_ok_and(|frame| frame.map(|frame| frames.push(frame)).is_some()), payload.is_none());
        if let Some(payload) = payload {
            framer.push(&payload);
            frames.extend(framer.poll().unwrap());
        }
    }
    frames
}

#[test]
fn confirmations_in_a_row_collapse_into_the_newest() {
    let mut pair = Pair::up();
    for message in [confirmed(1, 1), confirmed(1, 2), confirmed(1, 3), confirmed(2, 1), confirmed(2, 2)] {
        pair.links[A].send(1, message);
    }
    pair.links[A].send(1, joined(1, 2));
    pair.links[A].send(1, confirmed(2, 3));
    pair.settle();
    assert_eq!(
        messages(&pair.take(B), 1),
        [confirmed(1, 3), confirmed(2, 2), joined(1, 2), confirmed(2, 3)],
        "a confirmation does not pass what was sent before it"
    );
}

#[test]
fn a_transmitted_confirmation_is_not_touched() {
    let mut pair = Pair::up();
    pair.links[A].send(1, confirmed(1, 1));
    pair.transmit(A, 1);
    pair.links[A].send(1, confirmed(1, 2));
    pair.settle();
    assert_eq!(messages(&pair.take(B), 1), [confirmed(1, 1), confirmed(1, 2)]);
}

#[test]
fn the_lease_does_not_wait_behind_data() {
    let mut pair = Pair::up();
    let (request, grant) = (Message::LeaseRequest { sent: Millis(5) }, Message::LeaseGrant { sent: Millis(4) });
    for message in [write(1, 100), write(2, 100), request.clone(), joined(1, 1), grant.clone()] {
        pair.links[A].send(1, message);
    }
    pair.settle();
    assert_eq!(messages(&pair.take(B), 1), [request, grant, write(1, 100), write(2, 100), joined(1, 1)]);
}

#[test]
fn units_take_turns() {
    let mut pair = Pair::up();
    for side in [A, B] {
        pair.links[side].open_unit(2, 512, settings());
    }
    pair.settle();
    for position in 1..=3 {
        pair.links[A].send(1, write(position, 1));
    }
    pair.links[A].send(2, confirmed(1, 1));
    let order: Vec<u32> = kinds(&mut pair, A)
        .iter()
        .filter_map(|frame| match frame {
            Frame::Message { unit, .. } => Some(*unit),
            _ => None,
        })
        .collect();
    assert_eq!(order, [1, 2, 1, 1]);
}

#[test]
fn closing_one_unit_leaves_the_others_alone() {
    let mut pair = Pair::up();
    for side in [A, B] {
        pair.links[side].open_unit(2, 512, settings());
    }
    pair.settle();
    pair.take(B);
    for position in 1..=3 {
        pair.links[A].send(1, write(position, 1));
        pair.links[A].send(2, write(position, 1));
    }
    pair.links[A].send(1, Message::LeaseRequest { sent: Millis(1) });
    pair.links[A].close_unit(1);
    pair.settle();
    let told = pair.take(B);
    assert_eq!(told[0], LinkEvent::UnitDown { unit: 1 });
    assert_eq!(messages(&told, 1), []);
    assert_eq!(messages(&told, 2), [write(1, 1), write(2, 1), write(3, 1)]);
}

#[test]
fn a_silent_link_is_dead() {
    let mut pair = Pair::up();
    pair.links[A].handle_timeout(Millis(DEAD_MS - 1));
    pair.poll(A);
    assert!(pair.take(A).is_empty());
    assert!(pair.links[A].poll_timeout() <= Some(Millis(DEAD_MS)));
    pair.links[A].handle_timeout(Millis(DEAD_MS));
    pair.poll(A);
    let why = "nothing was heard from head b for 200 ms".to_owned();
    assert_eq!(pair.take(A), [LinkEvent::UnitDown { unit: 1 }, LinkEvent::Closed { why }]);
    assert_eq!(pair.links[A].poll_transmit(), None);
}

#[test]
fn pings_keep_an_idle_link_alive_and_measure_it() {
    let mut pair = Pair::up();
    for now in (0..10 * DEAD_MS).step_by(10) {
        pair.now = Millis(now);
        for side in [A, B] {
            if pair.links[side].poll_timeout() <= Some(pair.now) {
                pair.links[side].handle_timeout(pair.now);
            }
            pair.transmit(side, usize::MAX);
        }
        pair.now = Millis(now + 3);
        pair.settle();
    }
    assert!(pair.take(A).is_empty() && pair.take(B).is_empty());
    assert_eq!(pair.links[A].round_trip_ms(), Some(3));
}

#[test]
fn unanswered_pings_do_not_pile_up() {
    let mut pair = Pair::up();
    for number in 0..100 {
        pair.feed(A, &Frame::Ping { number }.emit().head);
    }
    assert_eq!(kinds(&mut pair, A), [Frame::Pong { number: 99 }]);
    for now in 1..4 {
        pair.links[A].handle_timeout(Millis(now * PING_MS));
    }
    assert_eq!(kinds(&mut pair, A), [Frame::Ping { number: 3 * PING_MS }]);
}

#[test]
fn a_ping_does_not_pass_the_handshake() {
    let mut pair = Pair::new();
    for side in [A, B, A, B] {
        pair.transmit(side, 1);
        pair.deliver(side, usize::MAX);
    }
    pair.transmit(B, 1);
    pair.deliver(B, usize::MAX);
    assert!(matches!(pair.take(A)[..], [LinkEvent::Ready { .. }]), "while its own Ready still waits");
    pair.links[A].handle_timeout(Millis(1));
    assert_eq!(kinds(&mut pair, A), [Frame::Ready, Frame::Ping { number: 1 }]);
}

#[test]
fn a_write_that_is_no_whole_number_of_blocks_ends_the_link() {
    let mut pair = Pair::up();
    pair.links[B].close_unit(1);
    pair.links[B].open_unit(1, 4096, settings());
    pair.settle();
    pair.take(B);
    pair.links[A].send(1, write(1, 8));
    pair.settle();
    let why = "4096 bytes for 8 blocks of 4096 bytes".to_owned();
    assert_eq!(pair.take(B), [LinkEvent::UnitDown { unit: 1 }, LinkEvent::Closed { why }]);
}

#[test]
fn a_write_that_is_too_long_ends_the_link_and_not_the_process() {
    let mut pair = Pair::up();
    pair.links[A].send(1, write(1, 32_769));
    pair.poll(A);
    let why = "a write of 16777728 bytes is too long for the link".to_owned();
    assert_eq!(pair.take(A), [LinkEvent::UnitDown { unit: 1 }, LinkEvent::Closed { why }]);
}

#[test]
fn a_hole_travels_as_its_length() {
    let mut pair = Pair::up();
    let hole = Blocks::hole(1 << 40, 512).unwrap();
    let Message::Write { tag, position, version, .. } = write(1, 1) else { panic!("a write is a write") };
    let sent = Message::Write { tag, position, version, extent: Extent::new(7, 1 << 40), data: hole };
    pair.links[A].send(1, sent.clone());
    pair.settle();
    assert_eq!(messages(&pair.take(B), 1), [sent]);
}

#[test]
fn a_hole_that_was_read_is_no_longer_than_what_can_be_read() {
    let returned = |blocks| Message::Returned { number: 1, data: Blocks::hole(blocks, 512).unwrap() };
    let mut pair = Pair::up();
    pair.links[A].send(1, returned(32_768));
    pair.settle();
    assert_eq!(messages(&pair.take(B), 1), [returned(32_768)]);
    pair.links[A].send(1, returned(32_769));
    pair.settle();
    let why = "a hole of 32769 blocks are not whole blocks of 512 bytes, or too many".to_owned();
    assert_eq!(pair.take(B), [LinkEvent::UnitDown { unit: 1 }, LinkEvent::Closed { why }]);
}

#[test]
fn the_queue_is_bounded() {
    let mut pair = Pair::up();
    for invitation in 0..=1 << 20 {
        pair.links[A].send(1, joined(1, invitation));
    }
    pair.poll(A);
    let why = "the other head does not take what is sent to it".to_owned();
    assert_eq!(pair.take(A), [LinkEvent::UnitDown { unit: 1 }, LinkEvent::Closed { why }]);
}

#[test]
fn what_is_said_of_portals_arrives_before_data_and_only_the_newest_list_of_clients() {
    let mut pair = Pair::up();
    let state = |number| PortalState {
        own: crate::wire::OwnAddresses::Offered,
        holds_yours: false,
        carrier: true,
        number,
        echo: 0,
    };
    let of_port = |port| {
        let end = |port| crate::wire::Endpoint { ip: [10, 0, 0, 1], port };
        vec![ClientConnection::V4 { server: end(3260), client: end(port) }]
    };
    pair.links[A].send(1, write(1, 100));
    pair.links[A].send_clients(of_port(1));
    pair.links[A].send_portals(state(1));
    pair.links[A].send_clients(of_port(2));
    pair.links[A].send_portals(state(2));
    pair.settle();
    let told = pair.take(B);
    let expected = [
        LinkEvent::Portals(state(1)),
        LinkEvent::Portals(state(2)),
        LinkEvent::Clients(of_port(2)),
        LinkEvent::Message { unit: 1, message: write(1, 100) },
    ];
    assert_eq!(told, expected, "every statement counts, of the lists only the newest");
}

#[test]
fn nothing_is_said_of_portals_before_the_handshake() {
    let mut pair = Pair::new();
    pair.links[A].send_clients(Vec::new());
    pair.settle();
    assert!(matches!(pair.take(B)[..], [LinkEvent::Ready { .. }]));
}
