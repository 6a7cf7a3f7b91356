use proptest::prelude::*;

use super::*;

#[test]
fn messages_flow_while_both_ends_are_open_only() {
    let mut pair = Pair::ready();
    pair.links[A].open_unit(1, 512, settings());
    pair.settle();
    pair.links[A].send(1, joined(1, 1));
    pair.settle();
    assert!(pair.take(A).is_empty() && pair.take(B).is_empty());
    pair.links[B].open_unit(1, 512, settings());
    pair.settle();
    pair.links[A].send(1, joined(1, 2));
    pair.links[A].send(9, joined(1, 2));
    pair.settle();
    assert_eq!(pair.take(A), [LinkEvent::UnitUp { unit: 1, peer: incarnation(B) }]);
    assert_eq!(
        pair.take(B),
        [LinkEvent::UnitUp { unit: 1, peer: incarnation(A) }, LinkEvent::Message { unit: 1, message: joined(1, 2) },]
    );
}

#[test]
fn what_was_queued_before_a_close_never_arrives() {
    let mut pair = Pair::up();
    pair.links[A].send(1, joined(1, 1));
    pair.links[A].close_unit(1);
    pair.links[A].open_unit(1, 512, settings());
    pair.settle();
    let up = |side: usize| LinkEvent::UnitUp { unit: 1, peer: incarnation(1 - side) };
    assert_eq!(pair.take(A), [up(A)], "one's own close is no news");
    assert_eq!(pair.take(B), [LinkEvent::UnitDown { unit: 1 }, up(B)]);
}

#[test]
fn what_was_on_its_way_to_a_closed_unit_is_dropped_and_counted() {
    let mut pair = Pair::up();
    pair.links[A].send(1, joined(1, 1));
    pair.links[A].send(1, write(1, 1));
    pair.transmit(A, usize::MAX);
    pair.links[B].close_unit(1);
    pair.links[B].open_unit(1, 512, settings());
    pair.settle();
    assert_eq!(pair.take(B), [LinkEvent::UnitUp { unit: 1, peer: incarnation(A) }]);
    assert_eq!(pair.links[B].dropped_messages(), 2);
}

#[test]
fn what_was_received_and_not_yet_told_is_dropped_by_a_close() {
    let mut pair = Pair::up();
    pair.links[A].send(1, joined(1, 1));
    let out = pair.links[A].poll_transmit().unwrap();
    let [_, mut slice] = pair.links[B].recv_slices();
    slice[..out.head.len()].copy_from_slice(&out.head);
    pair.links[B].received(out.head.len(), Millis(1));
    pair.links[B].close_unit(1);
    pair.settle();
    assert_eq!(pair.take(B), []);
}

#[test]
fn both_ends_may_start_anew_at_once() {
    let mut pair = Pair::up();
    for side in [A, B] {
        pair.links[side].close_unit(1);
        pair.links[side].open_unit(1, 512, settings());
    }
    pair.settle();
    for side in [A, B] {
        assert_eq!(pair.take(side), [LinkEvent::UnitUp { unit: 1, peer: incarnation(1 - side) }]);
    }
}

#[test]
fn opening_twice_or_closing_what_is_closed_is_nothing() {
    let mut pair = Pair::up();
    pair.links[A].open_unit(1, 512, settings());
    pair.links[A].close_unit(2);
    pair.settle();
    assert!(pair.take(A).is_empty() && pair.take(B).is_empty());
}

#[test]
fn units_outlive_a_connection_and_get_new_generations() {
    let mut pair = Pair::up();
    pair.links[A].send(1, joined(1, 1));
    pair.transmit(A, usize::MAX);
    let old: Vec<u8> = pair.wires[A].iter().copied().collect();
    let mut pair = pair.reconnect();
    for side in [A, B] {
        let peer = incarnation(1 - side);
        assert!(matches!(
            pair.take(side).as_slice(),
            [
                LinkEvent::UnitDown { unit: 1 },
                LinkEvent::Closed { .. },
                LinkEvent::Ready { .. },
                LinkEvent::UnitUp { unit: 1, peer: up },
            ] if *up == peer
        ));
    }
    pair.feed(B, &old);
    assert_eq!((pair.take(B), pair.links[B].dropped_messages()), (vec![], 1), "not even if it were to come again");
}

#[test]
fn a_peer_that_changes_its_generation_without_a_word_is_met_by_a_new_one() {
    let mut units = Units::new(10);
    let peer = |number| Generation::new(number).unwrap();
    units.open(1, 512, settings());
    let up = units.on_open(1, peer(70), Some(peer(11)), settings()).unwrap();
    assert!(up.up && !up.down);
    assert_eq!(units.towards(1), Some(peer(70)));
    let anew = units.on_open(1, peer(71), Some(peer(11)), settings()).unwrap();
    let open = Frame::UnitOpen { unit: 1, generation: peer(12), echo: Some(peer(71)), settings: settings() };
    assert_eq!(anew, Moves { down: true, send: Some(open), ..Moves::default() });
    assert_eq!((units.towards(1), units.accepts(1, peer(11)), units.accepts(1, peer(12))), (None, None, None));
    assert_eq!(units.on_closed(1, peer(70)), Moves::default(), "that one was over long ago");
    assert!(units.on_open(1, peer(71), Some(peer(12)), settings()).unwrap().up);
}

#[test]
fn a_unit_that_is_configured_differently_stays_down_and_the_others_do_not() {
    let mut pair = Pair::up();
    pair.links[A].open_unit(2, 512, settings_of("/dev/one", "a"));
    pair.links[B].open_unit(2, 512, settings_of("/dev/two", "b"));
    pair.settle();
    pair.links[A].send(2, joined(1, 1));
    pair.links[A].send(1, joined(1, 1));
    pair.settle();
    assert_eq!(pair.take(A), []);
    assert_eq!(pair.take(B), [LinkEvent::Message { unit: 1, message: joined(1, 1) }]);
    assert_eq!(pair.links[A].settings_of_peer(2), Some(&settings_of("/dev/two", "b")));
    assert_eq!(pair.links[B].settings_of_peer(2), Some(&settings_of("/dev/one", "a")));
    assert_eq!(pair.links[A].settings_of_peer(3), None, "nobody has said anything about that one");

    pair.links[B].close_unit(2);
    pair.settle();
    assert_eq!(pair.links[A].settings_of_peer(2), None);
    pair.links[B].open_unit(2, 512, settings_of("/dev/one", "b"));
    pair.settle();
    for side in [A, B] {
        assert_eq!(pair.take(side), [LinkEvent::UnitUp { unit: 2, peer: incarnation(1 - side) }]);
    }
}

#[test]
fn settings_that_may_change_are_told_without_a_break() {
    let mut pair = Pair::up();
    pair.links[A].change_unit(1, settings_of("/dev/one", "b"));
    pair.links[A].change_unit(9, settings());
    pair.links[A].send(1, joined(1, 1));
    pair.settle();
    let heard = [LinkEvent::UnitSettings { unit: 1 }, LinkEvent::Message { unit: 1, message: joined(1, 1) }];
    assert_eq!((pair.take(A), pair.take(B)), (vec![], heard.to_vec()));
    assert_eq!(pair.links[B].settings_of_peer(1), Some(&settings_of("/dev/one", "b")));
    let mut pair = pair.reconnect();
    assert!(matches!(pair.take(B)[..], [.., LinkEvent::UnitUp { unit: 1, .. }]));
    assert_eq!(pair.links[B].settings_of_peer(1), Some(&settings_of("/dev/one", "b")), "over a new connection, too");
}

#[test]
fn a_peer_that_changes_a_fixed_setting_without_closing_is_cut_off() {
    let mut units = Units::new(10);
    let peer = |number| Generation::new(number).unwrap();
    units.open(1, 512, settings());
    assert!(units.on_open(1, peer(70), Some(peer(11)), settings()).unwrap().up);
    let other = units.on_open(1, peer(70), Some(peer(11)), settings_of("/dev/two", "a")).unwrap();
    let open = Frame::UnitOpen { unit: 1, generation: peer(12), echo: None, settings: settings() };
    assert_eq!(other, Moves { down: true, send: Some(open), ..Moves::default() });
    assert_eq!((units.towards(1), units.accepts(1, peer(12))), (None, None));
}

#[test]
fn a_peer_cannot_make_us_remember_units_without_end() {
    let mut units = Units::new(0);
    let generation = Generation::new(1).unwrap();
    for unit in 0..4096 {
        units.on_open(unit, generation, None, settings()).unwrap();
    }
    assert!(units.on_open(4096, generation, None, settings()).is_err());
    assert!(units.on_open(1, generation, None, settings()).is_ok());
    units.on_closed(1, generation);
    assert!(units.on_open(4096, generation, None, settings()).is_ok());
}

#[test]
fn generations_skip_none() {
    let mut units = Units::new(u64::MAX);
    let Some(Frame::UnitOpen { generation, .. }) = units.open_and_tell(1, 512, settings()) else {
        panic!("it was closed")
    };
    assert_eq!(generation.get(), 1);
}

#[derive(Clone, Debug)]
enum Act {
    Open(usize),
    Close(usize),
    Change(usize, bool),
    Send(usize),
    Transmit(usize, usize),
    Deliver(usize, usize),
    Reconnect,
}

fn act() -> impl Strategy<Value = Act> {
    let side = 0..2_usize;
    prop_oneof![
        3 => side.clone().prop_map(Act::Open),
        2 => side.clone().prop_map(Act::Close),
        2 => (side.clone(), any::<bool>()).prop_map(|(side, other)| Act::Change(side, other)),
        6 => side.clone().prop_map(Act::Send),
        8 => (side.clone(), 1..4_usize).prop_map(|(side, count)| Act::Transmit(side, count)),
        8 => (side, prop_oneof![1..60_usize, Just(10_000)]).prop_map(|(side, count)| Act::Deliver(side, count)),
        1 => Just(Act::Reconnect),
    ]
}

/// What a head knows: since which of its own lives the unit is up, and how much it has sent in it.
#[derive(Default)]
struct Watcher {
    lives: u64,
    up: bool,
    sent: u64,
    /// The peer's life that speaks, and how many messages it has said.
    heard: Option<(u64, u64)>,
    last_heard_life: u64,
}

impl Watcher {
    fn watch(&mut self, event: &LinkEvent) {
        match event {
            LinkEvent::UnitUp { .. } => {
                assert!(!self.up, "up twice");
                *self =
                    Self { lives: self.lives + 1, up: true, last_heard_life: self.last_heard_life, ..Self::default() };
            }
            LinkEvent::UnitDown { .. } => {
                assert!(self.up, "down twice");
                self.up = false;
            }
            LinkEvent::Message { message: Message::Joined(tag), .. } => {
                assert!(self.up, "a message while down");
                let (life, count) = self.heard.unwrap_or((tag.epoch.0, 0));
                assert!(life > self.last_heard_life, "a life of the peer is heard in one life of ours only");
                assert_eq!((tag.epoch.0, tag.invitation), (life, count + 1), "all of one life, in order");
                self.heard = Some((life, count + 1));
            }
            LinkEvent::UnitSettings { .. } => assert!(self.up, "only what is up changes"),
            LinkEvent::Ready { .. } | LinkEvent::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
        if let (false, Some((life, _))) = (self.up, self.heard.take_if(|_| !self.up)) {
            self.last_heard_life = life;
        }
    }
}

fn watch_all(pair: &mut Pair, watchers: &mut [Watcher; 2]) {
    for side in [A, B] {
        for event in pair.take(side) {
            watchers[side].watch(&event);
        }
    }
}

proptest! {
    #[test]
    fn lives_are_never_mixed(acts in prop::collection::vec(act(), 0..120)) {
        let mut pair = Pair::ready();
        let mut watchers: [Watcher; 2] = Default::default();
        for act in acts {
            match act {
                Act::Open(side) => pair.links[side].open_unit(1, 512, settings()),
                Act::Close(side) => {
                    pair.links[side].close_unit(1);
                    if watchers[side].up {
                        watchers[side].watch(&LinkEvent::UnitDown { unit: 1 });
                    }
                }
                Act::Change(side, other) => {
                    pair.links[side].change_unit(1, settings_of("/dev/one", if other { "b" } else { "a" }));
                }
                Act::Send(side) if watchers[side].up => {
                    watchers[side].sent += 1;
                    let message = joined(watchers[side].lives, watchers[side].sent);
                    pair.links[side].send(1, message);
                }
                Act::Send(_) => {}
                Act::Transmit(side, count) => drop(pair.transmit(side, count)),
                Act::Deliver(side, count) => drop(pair.deliver(side, count)),
                Act::Reconnect => pair = pair.reconnect(),
            }
            watch_all(&mut pair, &mut watchers);
        }
        for side in [A, B] {
            pair.links[side].open_unit(1, 512, settings());
        }
        pair.settle();
        watch_all(&mut pair, &mut watchers);
        for side in [A, B] {
            prop_assert!(watchers[side].up, "both ends are open and everything was delivered");
            watchers[side].sent += 1;
            let message = joined(watchers[side].lives, watchers[side].sent);
            pair.links[side].send(1, message);
        }
        pair.settle();
        watch_all(&mut pair, &mut watchers);
        for side in [A, B] {
            prop_assert_eq!(watchers[side].heard, Some((watchers[1 - side].lives, watchers[1 - side].sent)));
        }
    }
}
