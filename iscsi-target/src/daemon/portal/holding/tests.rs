//! Two heads joined by statements that arrive when the test says so, and the rules one by one.

use proptest::prelude::*;
use replication::wire::Endpoint;

use super::*;

const A: usize = 0;
const B: usize = 1;

fn ip(side: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(side).unwrap() + 1])
}

fn client(side: usize, port: u16) -> ClientConnection {
    let server = Endpoint { ip: [192, 0, 2, u8::try_from(side).unwrap() + 1], port: 3260 };
    ClientConnection::V4 { server, client: Endpoint { ip: [192, 0, 2, 9], port } }
}

/// Both heads; changes of addresses are carried out at once unless `slow`.
struct Pair {
    heads: [Holding; 2],
    /// On the way from this side.
    wires: [VecDeque<PortalState>; 2],
    connected: bool,
    slow: bool,
    now: Millis,
    done: [Vec<Action>; 2],
}

impl Pair {
    fn new() -> Self {
        let head = |side: usize| {
            let set = |side: usize| BTreeSet::from([ip(side)]);
            Holding::new(Config { paired: true, own: set(side), theirs: set(1 - side) })
        };
        Self {
            heads: [head(A), head(B)],
            wires: Default::default(),
            connected: false,
            slow: false,
            now: Millis(0),
            done: Default::default(),
        }
    }

    /// Both have started, are connected and hold what is theirs.
    fn up() -> Self {
        let mut pair = Self::new();
        for side in [A, B] {
            pair.event(side, Event::Start);
            pair.event(side, Event::Units { fit: true, owns: side == A });
        }
        pair.connect();
        pair.settle();
        assert_eq!(pair.held(), [vec![A], vec![B]]);
        pair.pass(5_000);
        pair.done = Default::default();
        pair
    }

    fn event(&mut self, side: usize, event: Event) {
        self.heads[side].handle(self.now, event);
        while let Some(action) = self.heads[side].poll_action() {
            match &action {
                Action::State(state) => self.wires[side].push_back(*state),
                Action::Add { change, .. } | Action::Remove { change, .. } if !self.slow => {
                    let change = *change;
                    self.done[side].push(action);
                    self.event(side, Event::Changed { change });
                    continue;
                }
                _ => {}
            }
            self.done[side].push(action);
        }
        if self.connected {
            assert!(!(0..2).any(|of| self.held().iter().all(|held| held.contains(&of))), "an address is held twice");
        }
    }

    fn connect(&mut self) {
        self.connected = false;
        self.wires = Default::default();
        for side in [A, B] {
            self.event(side, Event::LinkUp);
        }
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.wires = Default::default();
        for side in [A, B] {
            self.event(side, Event::LinkDown);
        }
    }

    fn deliver(&mut self, from: usize) -> bool {
        let Some(state) = self.wires[from].pop_front() else { return false };
        self.event(1 - from, Event::Heard(state));
        true
    }

    /// Until nobody has anything more to say. From then on no address is held twice.
    fn settle(&mut self) {
        for _ in 0..100 {
            if !(self.deliver(A) | self.deliver(B)) {
                self.connected = true;
                return;
            }
        }
        panic!("they go on for ever");
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 25 {
            self.now = self.now.after(25);
            self.event(A, Event::Tick);
            self.event(B, Event::Tick);
            self.settle_if_connected();
        }
    }

    fn settle_if_connected(&mut self) {
        if self.heads.iter().all(|head| head.peer.is_some()) {
            self.settle();
        }
    }

    /// Whose addresses each head holds.
    fn held(&self) -> [Vec<usize>; 2] {
        [A, B].map(|side| {
            let sets = [(Set::Own, side), (Set::Theirs, 1 - side)];
            let mut held: Vec<_> =
                sets.into_iter().filter(|(set, _)| self.heads[side].holds(*set)).map(|(_, of)| of).collect();
            held.sort_unstable();
            held
        })
    }

    fn take(&mut self, side: usize) -> Vec<Action> {
        let done = std::mem::take(&mut self.done[side]);
        done.into_iter().filter(|action| !matches!(action, Action::Say(_) | Action::State(_))).collect()
    }

    /// Another process of this head, which knows nothing.
    fn restart(&mut self, side: usize) {
        let config = self.heads[side].config.clone();
        self.heads[side] = Holding::new(config);
        self.event(side, Event::Start);
        self.event(side, Event::Units { fit: true, owns: false });
    }

    /// Head a is gone without a word, and head b has its unit.
    fn taken_over() -> Self {
        let mut pair = Self::up();
        pair.disconnect();
        pair.event(B, Event::TookOver);
        pair
    }
}

#[test]
fn a_pair_starts_each_head_with_its_own() {
    let mut pair = Pair::new();
    pair.event(A, Event::Start);
    let removed = |set| move |action: &Action| matches!(action, Action::Remove { set: of, .. } if *of == set);
    let done = pair.take(A);
    assert!(done.iter().any(removed(Set::Own)) && done.iter().any(removed(Set::Theirs)), "{done:?}");
    assert_eq!(pair.held(), [const { Vec::<usize>::new() }; 2], "what an earlier process left is off first");
    pair.event(B, Event::Start);
    pair.connect();
    pair.settle();
    assert_eq!(pair.held(), [vec![A], vec![B]]);
    assert_eq!(pair.take(A).last(), Some(&Action::Tickle(Vec::new())));
}

#[test]
fn a_head_that_hears_of_nobody_holds_its_own_after_a_while() {
    let mut pair = Pair::new();
    pair.event(A, Event::Start);
    pair.pass(START_MS - 25);
    assert_eq!(pair.held(), [const { Vec::<usize>::new() }; 2]);
    pair.pass(25);
    assert_eq!(pair.held(), [vec![A], vec![]]);
    let mut single = Holding::new(Config { paired: false, own: BTreeSet::from([ip(A)]), theirs: BTreeSet::new() });
    single.handle(Millis(0), Event::Start);
    for change in [1, 2, 3] {
        single.handle(Millis(0), Event::Changed { change });
    }
    assert!(single.holds(Set::Own), "a single head need not wait");
}

#[test]
fn losing_the_link_changes_nothing() {
    let mut pair = Pair::up();
    pair.disconnect();
    pair.pass(10_000);
    assert_eq!(pair.held(), [vec![A], vec![B]]);
    pair.connect();
    pair.settle();
    assert_eq!(pair.held(), [vec![A], vec![B]]);
    assert_eq!((pair.take(A), pair.take(B)), (vec![], vec![]));
}

#[test]
fn a_takeover_without_the_link_adopts_and_tells_the_clients() {
    let mut pair = Pair::up();
    pair.event(B, Event::Clients(vec![client(A, 40_000), client(B, 40_001)]));
    pair.disconnect();
    pair.event(B, Event::TookOver);
    assert_eq!(pair.held()[B], [A, B]);
    let told = Action::Tickle(vec![client(A, 40_000)]);
    let done = pair.take(B);
    let [Action::Add { set: Set::Theirs, .. }, Action::Announce(Set::Theirs), tickle] = &done[..] else {
        panic!("{done:?}")
    };
    assert_eq!(*tickle, told, "only those who were connected with what was taken over");
    pair.pass(4_000);
    let again = [Action::Announce(Set::Theirs), told];
    assert_eq!(pair.take(B), vec![again; ANNOUNCE_MS.len() - 1].concat());
}

#[test]
fn a_takeover_with_the_link_up_adopts_when_the_link_goes_soon_after() {
    let mut pair = Pair::up();
    pair.event(B, Event::TookOver);
    pair.pass(TOGETHER_MS - 100);
    assert_eq!(pair.held()[B], [B], "the other head is there");
    pair.disconnect();
    assert_eq!(pair.held()[B], [A, B]);
    let mut pair = Pair::up();
    pair.event(B, Event::TookOver);
    pair.pass(TOGETHER_MS + 100);
    pair.disconnect();
    pair.pass(5_000);
    assert_eq!(pair.held()[B], [B], "that was another time");
}

#[test]
fn a_fenced_head_without_the_link_lets_all_go_and_asks_when_it_is_back() {
    for fenced_first in [true, false] {
        let mut pair = Pair::up();
        if fenced_first {
            pair.event(A, Event::Fenced);
            assert_eq!(pair.held()[A], [A], "with the link up nobody has adopted anything");
        }
        pair.disconnect();
        pair.event(B, Event::TookOver);
        if !fenced_first {
            assert_eq!(pair.held(), [vec![A], vec![A, B]], "it has not noticed");
            pair.event(A, Event::Fenced);
        }
        assert_eq!(pair.held(), [vec![], vec![A, B]]);
        pair.event(A, Event::Units { fit: false, owns: false });
        pair.pass(10_000);
        assert_eq!(pair.held(), [vec![], vec![A, B]], "not without the other head");
        pair.connect();
        pair.settle();
        assert_eq!(pair.held(), [vec![], vec![A, B]], "it cannot use them yet");
        pair.event(A, Event::Units { fit: true, owns: false });
        pair.settle();
        assert_eq!(pair.held(), [vec![A], vec![B]]);
    }
}

#[test]
fn a_head_that_comes_back_gets_its_addresses_back() {
    let mut pair = Pair::taken_over();
    pair.event(B, Event::Clients(vec![]));
    pair.take(B);
    pair.restart(A);
    pair.connect();
    pair.event(A, Event::Clients(vec![client(A, 50_000)]));
    pair.take(A);
    pair.settle();
    assert_eq!(pair.held(), [vec![A], vec![B]]);
    let given = pair.take(B);
    let [Action::Remove { set: Set::Theirs, .. }, Action::Reset(Set::Theirs)] = given[..] else { panic!("{given:?}") };
    let done = pair.take(A);
    assert!(matches!(done[0], Action::Add { set: Set::Own, .. }));
    assert_eq!(done[1..], [Action::Announce(Set::Own), Action::Tickle(vec![client(A, 50_000)])]);
}

#[test]
fn nothing_is_put_up_before_the_other_head_has_taken_it_off() {
    let mut pair = Pair::taken_over();
    pair.restart(A);
    pair.slow = true;
    pair.connect();
    pair.settle();
    let Some(Action::Remove { change, .. }) =
        pair.take(B).into_iter().rev().find(|action| matches!(action, Action::Remove { .. }))
    else {
        panic!("asked back")
    };
    pair.pass(5_000);
    assert!(!pair.take(A).iter().any(|action| matches!(action, Action::Add { .. })));
    pair.event(B, Event::Changed { change: change + 7 });
    pair.settle();
    assert!(!pair.take(A).iter().any(|action| matches!(action, Action::Add { .. })), "that was another change");
    pair.event(B, Event::Changed { change });
    pair.settle();
    assert!(matches!(pair.take(A)[..], [Action::Add { set: Set::Own, .. }]));
}

#[test]
fn a_head_that_did_not_notice_lets_go_when_it_hears_of_it() {
    let mut pair = Pair::taken_over();
    assert_eq!(pair.held(), [vec![A], vec![A, B]], "stopped, say, and going on now");
    pair.connect();
    pair.settle();
    assert_eq!(pair.held(), [vec![A], vec![B]]);
    let gave = pair.take(A);
    assert!(matches!(gave[0], Action::Remove { set: Set::Own, .. }), "{gave:?}");
}

#[test]
fn the_link_may_break_at_any_statement() {
    for broken_after in 0..8 {
        let mut pair = Pair::taken_over();
        pair.restart(A);
        pair.connect();
        for step in 0..broken_after {
            pair.deliver(step % 2);
        }
        pair.disconnect();
        pair.pass(START_MS + 1_000);
        assert!(pair.held().concat().contains(&A), "somebody has them, {broken_after} statements");
        pair.connect();
        pair.settle();
        pair.pass(1_000);
        assert_eq!(pair.held(), [vec![A], vec![B]], "{broken_after} statements");
    }
}

#[test]
fn an_old_statement_is_no_permission() {
    let mut pair = Pair::up();
    pair.event(A, Event::Carrier(false));
    pair.event(A, Event::Units { fit: true, owns: false });
    for _ in 0..20 {
        pair.now = pair.now.after(25);
        pair.event(A, Event::Tick);
    }
    assert_eq!(pair.held(), [vec![], vec![B]], "offered, and not yet heard");
    pair.event(A, Event::Carrier(true));
    for _ in 0..50 {
        pair.now = pair.now.after(25);
        pair.event(A, Event::Tick);
    }
    assert_eq!(pair.held(), [vec![], vec![B]], "the other head may be taking them just now");
    pair.settle();
    assert_eq!(pair.held(), [vec![A], vec![B]]);
}

#[test]
fn without_carrier_the_units_go_first_and_the_addresses_after_them() {
    let mut pair = Pair::up();
    pair.event(A, Event::Clients(vec![]));
    pair.event(B, Event::Clients(vec![client(A, 40_000)]));
    pair.event(A, Event::Carrier(false));
    pair.pass(100);
    assert_eq!(pair.take(A), [], "not for a moment's loss");
    pair.pass(200);
    assert_eq!(pair.take(A), [Action::HandOver]);
    pair.pass(2_000);
    assert_eq!(pair.take(A), [Action::HandOver, Action::HandOver], "until it has worked");
    assert_eq!(pair.held(), [vec![A], vec![B]]);
    pair.event(A, Event::Units { fit: true, owns: false });
    pair.event(B, Event::Units { fit: true, owns: true });
    pair.settle();
    assert_eq!(pair.held(), [vec![], vec![A, B]]);
    assert!(matches!(pair.take(A)[..], [Action::Remove { set: Set::Own, .. }, Action::Reset(Set::Own)]));
    assert!(pair.take(B).contains(&Action::Tickle(vec![client(A, 40_000)])));
    pair.event(A, Event::Carrier(true));
    pair.pass(500);
    assert_eq!(pair.held(), [vec![], vec![A, B]], "it may be gone again at once");
    pair.pass(1_000);
    assert_eq!(pair.held(), [vec![A], vec![B]]);
    assert!(!pair.take(A).contains(&Action::HandOver) && !pair.take(B).contains(&Action::HandOver), "units stay");
}

#[test]
fn two_heads_without_carrier_do_not_play_ping_pong() {
    let mut pair = Pair::up();
    pair.event(B, Event::Carrier(false));
    pair.event(A, Event::Carrier(false));
    pair.pass(5_000);
    assert_eq!(pair.held(), [vec![A], vec![B]]);
    assert_eq!((pair.take(A), pair.take(B)), (vec![], vec![]));
    pair.event(B, Event::Carrier(true));
    pair.pass(1_500);
    assert!(pair.take(A).contains(&Action::HandOver), "now there is somebody to hand over to");
}

#[test]
fn a_head_without_carrier_and_without_the_link_keeps_what_it_has() {
    let mut pair = Pair::up();
    pair.disconnect();
    pair.event(A, Event::Carrier(false));
    pair.pass(5_000);
    assert_eq!((pair.held()[A].clone(), pair.take(A)), (vec![A], vec![]));
}

#[test]
fn a_head_that_ends_leaves_its_addresses_to_the_other_one() {
    let mut pair = Pair::up();
    pair.event(B, Event::Clients(vec![client(A, 40_000)]));
    pair.event(A, Event::Stop);
    let done = pair.take(A);
    let [Action::Reset(Set::Theirs), Action::Remove { set: Set::Own, .. }, Action::Reset(Set::Own)] = done[..] else {
        panic!("{done:?}")
    };
    pair.event(A, Event::Clients(vec![]));
    pair.settle();
    assert_eq!(pair.held(), [vec![], vec![A, B]]);
    assert_eq!(pair.take(A), [Action::Stopped], "only now");
    assert!(pair.take(B).contains(&Action::Tickle(vec![client(A, 40_000)])));
    pair.disconnect();
    pair.pass(5_000);
    assert_eq!(pair.held()[B], [A, B]);
    pair.restart(A);
    pair.connect();
    pair.settle();
    assert_eq!(pair.held(), [vec![A], vec![B]]);
}

#[test]
fn clients_that_go_because_of_the_move_are_told_all_the_same() {
    let mut pair = Pair::up();
    pair.event(B, Event::Clients(vec![client(A, 40_000)]));
    pair.slow = true;
    pair.event(A, Event::Stop);
    let Some(Action::Remove { change, .. }) =
        pair.take(A).into_iter().find(|done| matches!(done, Action::Remove { .. }))
    else {
        panic!("removes its own")
    };
    pair.event(A, Event::Changed { change });
    pair.deliver(A);
    pair.deliver(A);
    let Some(Action::Add { change, .. }) = pair.take(B).pop() else { panic!("offered") };
    pair.event(B, Event::Clients(Vec::new()));
    pair.event(B, Event::Changed { change });
    assert!(pair.take(B).contains(&Action::Tickle(vec![client(A, 40_000)])));
}

#[test]
fn a_head_that_ends_alone_lets_its_clients_know_itself() {
    let mut pair = Pair::up();
    pair.disconnect();
    pair.event(A, Event::Stop);
    assert_eq!(pair.take(A), [Action::Reset(Set::Own), Action::Reset(Set::Theirs)]);
    pair.pass(FAREWELL_MS);
    let done = pair.take(A);
    assert!(
        matches!(done[..], [Action::Remove { set: Set::Own, .. }, Action::Reset(Set::Own), Action::Stopped]),
        "{done:?}"
    );
    let mut pair = Pair::taken_over();
    pair.take(B);
    pair.event(B, Event::Stop);
    pair.pass(FAREWELL_MS);
    assert_eq!(
        (pair.held()[B].clone(), pair.take(B).last()),
        (vec![], Some(&Action::Stopped)),
        "of the other head, too"
    );
}

#[test]
fn two_heads_that_end_together_do_not_wait_for_each_other() {
    let mut pair = Pair::up();
    pair.event(A, Event::Stop);
    pair.event(B, Event::Stop);
    pair.connected = false;
    pair.pass(LEAVE_MS);
    assert!(pair.take(A).contains(&Action::Stopped) && pair.take(B).contains(&Action::Stopped));
}

#[test]
fn a_head_that_ends_waits_no_longer_than_is_good() {
    let mut pair = Pair::up();
    pair.event(A, Event::Stop);
    pair.take(A);
    for _ in 0..LEAVE_MS / 25 {
        pair.now = pair.now.after(25);
        pair.event(A, Event::Tick);
    }
    assert_eq!(pair.take(A), [Action::Stopped], "nobody answers");
}

#[test]
fn without_addresses_that_move_the_end_is_not_delayed() {
    let none = Config { paired: true, own: BTreeSet::new(), theirs: BTreeSet::new() };
    let mut head = Holding::new(none);
    head.handle(Millis(0), Event::Start);
    head.handle(Millis(0), Event::Stop);
    let actions: Vec<_> = std::iter::from_fn(|| head.poll_action()).collect();
    assert_eq!(actions.last(), Some(&Action::Stopped));
    assert!(!actions.iter().any(|action| matches!(action, Action::Say(_))));
}

#[test]
fn heads_that_fenced_each_other_keep_their_own() {
    let mut pair = Pair::taken_over();
    pair.event(A, Event::Fenced);
    assert_eq!(pair.held(), [vec![], vec![A, B]]);
    pair.event(A, Event::TookOver);
    assert_eq!(pair.held()[A], [A], "of another unit: both serve");
    pair.event(B, Event::Fenced);
    assert_eq!(pair.held(), [vec![A], vec![B]]);
}

#[test]
fn late_messages_of_a_link_that_is_gone_count_for_nothing() {
    let mut pair = Pair::taken_over();
    let wanted = PortalState { own: OwnAddresses::Wanted, holds_yours: true, carrier: true, number: 9, echo: 9 };
    pair.event(B, Event::Heard(wanted));
    assert_eq!(pair.held()[B], [A, B]);
    pair.event(B, Event::LinkDown);
    assert_eq!(pair.held()[B], [A, B]);
}

#[test]
fn the_list_of_clients_is_bounded() {
    let mut pair = Pair::new();
    pair.event(B, Event::Start);
    for first in [0, 2_000, 4_000] {
        pair.event(B, Event::Clients((first..first + 1_024).map(|port| client(A, port)).collect()));
    }
    assert_eq!(pair.heads[B].clients.len(), 2_048);
}

/// What may happen, to which head.
#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver,
    Finish,
    Pass,
    PassLong,
    LinkUp,
    LinkDown,
    TookOver,
    Fenced,
    Carrier(bool),
    Units { fit: bool, owns: bool },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize)>> {
    let step = prop_oneof![
        8 => Just(Step::Deliver),
        8 => Just(Step::Finish),
        4 => Just(Step::Pass),
        1 => Just(Step::PassLong),
        3 => Just(Step::LinkUp),
        1 => Just(Step::LinkDown),
        1 => Just(Step::TookOver),
        1 => Just(Step::Fenced),
        1 => any::<bool>().prop_map(Step::Carrier),
        2 => any::<(bool, bool)>().prop_map(|(fit, owns)| Step::Units { fit, owns }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec((step, 0..2_usize), 0..300)
}

/// Both heads, every statement and every change of an address as late as it likes.
struct Storm {
    pair: Pair,
    /// Changes that the kernel has not finished.
    pending: [VecDeque<u64>; 2],
    up: [bool; 2],
    /// Since the link is up, no address was on both heads at once.
    clean: bool,
}

impl Storm {
    fn new() -> Self {
        let mut storm = Self { pair: Pair::new(), pending: Default::default(), up: [false; 2], clean: false };
        storm.pair.slow = true;
        for side in [A, B] {
            storm.event(side, Event::Start);
        }
        storm
    }

    fn event(&mut self, side: usize, event: Event) {
        self.pair.event(side, event);
        for action in std::mem::take(&mut self.pair.done[side]) {
            if let Action::Add { change, .. } | Action::Remove { change, .. } = action {
                self.pending[side].push_back(change);
            }
        }
        if self.up != [true; 2] {
            self.pair.wires[side].clear();
        }
    }

    fn step(&mut self, step: Step, side: usize) {
        match step {
            Step::Deliver => drop(self.deliver(side)),
            Step::Finish => drop(self.finish(side)),
            Step::Pass | Step::PassLong => {
                self.pair.now = self.pair.now.after(if matches!(step, Step::Pass) { 50 } else { 3_000 });
                self.event(side, Event::Tick);
            }
            // There is no connection without both ends.
            Step::LinkUp if self.up == [false; 2] => {
                self.up = [true; 2];
                self.event(side, Event::LinkUp);
                self.event(1 - side, Event::LinkUp);
            }
            Step::LinkDown if self.up[side] => {
                self.up[side] = false;
                self.pair.wires = Default::default();
                self.event(side, Event::LinkDown);
            }
            Step::LinkUp | Step::LinkDown => {}
            Step::TookOver => self.event(side, Event::TookOver),
            Step::Fenced => self.event(side, Event::Fenced),
            Step::Carrier(carrier) => self.event(side, Event::Carrier(carrier)),
            Step::Units { fit, owns } => self.event(side, Event::Units { fit, owns }),
            Step::Restart => {
                for end in [A, B] {
                    self.step(Step::LinkDown, end);
                }
                self.pending[side].clear();
                let config = self.pair.heads[side].config.clone();
                self.pair.heads[side] = Holding::new(config);
                self.event(side, Event::Start);
            }
        }
        self.check();
    }

    fn deliver(&mut self, from: usize) -> bool {
        let Some(state) = self.pair.wires[from].pop_front() else { return false };
        self.event(1 - from, Event::Heard(state));
        true
    }

    fn finish(&mut self, side: usize) -> bool {
        let Some(change) = self.pending[side].pop_front() else { return false };
        self.event(side, Event::Changed { change });
        true
    }

    fn check(&mut self) {
        let on = |side: usize, of: usize| {
            let set = if side == of { Set::Own } else { Set::Theirs };
            self.pair.heads[side].presence(set) != Presence::Absent
        };
        let twice = (0..2).any(|of| on(A, of) && on(B, of));
        let up = self.up == [true; 2];
        assert!(!(up && self.clean && twice), "an address is on both heads while the link is up");
        self.clean = up && !twice;
    }

    /// Everything is well again, for long enough.
    fn heal(&mut self) {
        for side in [A, B] {
            self.event(side, Event::Carrier(true));
            self.event(side, Event::Units { fit: true, owns: false });
            self.step(Step::LinkDown, side);
        }
        self.step(Step::LinkUp, A);
        for _ in 0..400 {
            self.pair.now = self.pair.now.after(25);
            for side in [A, B] {
                self.event(side, Event::Tick);
                while self.deliver(side) | self.finish(side) | self.deliver(1 - side) | self.finish(1 - side) {
                    self.check();
                }
            }
        }
        assert!(self.clean);
        assert_eq!(self.pair.held(), [vec![A], vec![B]], "each head has its own in the end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_address_is_on_both_heads_while_the_link_is_up_and_each_has_its_own_in_the_end(steps in steps()) {
        let mut storm = Storm::new();
        for (step, side) in steps {
            storm.step(step, side);
        }
        storm.heal();
    }
}
