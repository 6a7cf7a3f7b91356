use Type::{
    ExclusiveAccess as EA, ExclusiveAccessAllRegistrants as EAAR, ExclusiveAccessRegistrantsOnly as EARO,
    WriteExclusive as WE, WriteExclusiveAllRegistrants as WEAR, WriteExclusiveRegistrantsOnly as WERO,
};

use super::*;
use crate::scsi::InitiatorPort;

const PORTS: [u16; 2] = [1, 0x101];

fn nexus(name: &str) -> Nexus {
    through(name, 1)
}

fn through(name: &str, relative_port: u16) -> Nexus {
    Nexus { initiator: InitiatorPort { name: format!("iqn.{name}"), isid: [0; 6] }, relative_port }
}

fn register(old: u64, new: u64) -> Register {
    Register { key: Some(Key(old)), new: Key(new), others: vec![], all_ports: false, keep: false }
}

/// A table, and who does something to it.
struct Bench(Table);

impl Bench {
    /// a, b and c registered with the keys 10, 11 and 12.
    fn registered() -> Self {
        let mut bench = Self(Table::default());
        for (name, key) in [("a", 10), ("b", 11), ("c", 12)] {
            bench.ok(name, Request::Register(register(0, key)));
        }
        bench
    }

    /// The same, and a holds the reservation.
    fn held(kind: Type) -> Self {
        let mut bench = Self::registered();
        bench.ok("a", Request::Reserve { key: Key(10), kind });
        bench
    }

    fn ask(&mut self, name: &str, request: Request) -> Result<Effects, Refusal> {
        self.0.execute(&nexus(name), &request, &PORTS)
    }

    fn ok(&mut self, name: &str, request: Request) -> Effects {
        self.ask(name, request).unwrap()
    }

    fn names(&self) -> String {
        self.0.registrants().iter().map(|one| one.nexus.initiator.name.trim_start_matches("iqn.")).collect()
    }

    fn holder(&self) -> Option<(Type, Option<Nexus>)> {
        self.0.reservation().map(|held| (held.kind, held.holder.clone()))
    }
}

fn told(effects: &Effects) -> Vec<(String, u8)> {
    let of = |(nexus, attention): &(Nexus, Attention)| {
        (nexus.initiator.name.trim_start_matches("iqn.").to_owned(), attention.code().ascq)
    };
    effects.news.iter().map(of).collect()
}

fn preempt(key: u64, victim: u64, kind: Type) -> Request {
    Request::Preempt { key: Key(key), victim: Key(victim), kind: Some(kind), abort: true }
}

#[test]
fn who_may_do_what_as_a_table() {
    use crate::scsi::opcodes::ReservationClass as C;
    let row = |kind: Option<Type>| {
        let bench = kind.map_or_else(Bench::registered, Bench::held);
        let cell =
            |name: &str| {
                [C::Always, C::Persistent, C::Read, C::Change]
                    .map(|class| {
                        if bench.0.bars(&nexus(name)).is_some_and(|held| class.conflicts_with(held)) {
                            'x'
                        } else {
                            '.'
                        }
                    })
                    .iter()
                    .collect::<String>()
            };
        format!("{} {} {}", cell("a"), cell("b"), cell("stranger"))
    };
    // Holder, registrant, stranger; for each: always, persistent, read, change.
    assert_eq!(row(None), ".... .... ....");
    assert_eq!(row(Some(WE)), ".... ...x ...x");
    assert_eq!(row(Some(EA)), ".... ..xx ..xx");
    assert_eq!(row(Some(WERO)), ".... .... ...x");
    assert_eq!(row(Some(EARO)), ".... .... ..xx");
    assert_eq!(row(Some(WEAR)), ".... .... ...x");
    assert_eq!(row(Some(EAAR)), ".... .... ..xx");
}

#[test]
fn registering() {
    let mut bench = Bench(Table::default());
    assert_eq!(bench.ask("a", Request::Register(register(5, 10))), Err(Refusal::Conflict), "not with a key");
    bench.ok("a", Request::Register(register(0, 0)));
    assert_eq!(bench.names(), "", "nothing to do");
    bench.ok("a", Request::Register(Register { keep: true, ..register(0, 10) }));
    assert!(bench.0.is_kept());
    assert_eq!(bench.ask("a", Request::Register(register(0, 20))), Err(Refusal::Conflict));
    bench.ok("a", Request::Register(register(10, 20)));
    assert!(!bench.0.is_kept());
    assert_eq!((bench.0.key_of(&nexus("a")), bench.0.key_of(&through("a", 2))), (Some(Key(20)), None));
    bench.ok("a", Request::Register(Register { key: None, ..register(0, 30) }));
    assert_eq!(bench.0.key_of(&nexus("a")), Some(Key(30)), "whatever it was");
    bench.ok("a", Request::Register(register(30, 0)));
    assert_eq!((bench.names().as_str(), bench.0.generation()), ("", 5));
}

#[test]
fn registering_through_all_ports_and_for_others() {
    let mut bench = Bench(Table::default());
    bench.ok("a", Request::Register(Register { all_ports: true, ..register(0, 10) }));
    assert_eq!(PORTS.map(|port| bench.0.key_of(&through("a", port))), [Some(Key(10)); 2]);
    let others = |names: &[&str]| names.iter().map(|name| nexus(name).initiator).collect();
    bench.ok("b", Request::Register(Register { others: others(&["c", "d"]), ..register(0, 11) }));
    assert_eq!(bench.names(), "aabcd");
    let again = Register { others: others(&["f", "c"]), ..register(0, 12) };
    assert_eq!(bench.ask("e", Request::Register(again.clone())), Err(Sense::invalid_parameter(28).into()));
    assert_eq!(bench.names(), "aabcd", "all or nothing");
    let known = Register { key: Some(Key(11)), ..again };
    assert_eq!(bench.ask("b", Request::Register(known)), Err(Sense::invalid_parameter(20).into()));
    bench.ok("a", Request::Register(Register { all_ports: true, ..register(10, 0) }));
    assert_eq!(bench.names(), "bcd");
}

#[test]
fn there_is_an_end_to_it() {
    let mut bench = Bench(Table::default());
    for index in 0..REGISTRANTS_MAX {
        bench.ok(&index.to_string(), Request::Register(register(0, 1)));
    }
    let full = Err(SenseCode::INSUFFICIENT_REGISTRATION_RESOURCES.into());
    assert_eq!(bench.ask("one", Request::Register(register(0, 1))), full);
    bench.ok("7", Request::Register(register(1, 2)));
}

#[test]
fn reserving() {
    let mut bench = Bench::held(WE);
    assert_eq!(bench.ask("stranger", Request::Reserve { key: Key(0), kind: WE }), Err(Refusal::Conflict));
    assert_eq!(bench.ask("a", Request::Reserve { key: Key(11), kind: WE }), Err(Refusal::Conflict));
    bench.ok("a", Request::Reserve { key: Key(10), kind: WE });
    assert_eq!(bench.ask("a", Request::Reserve { key: Key(10), kind: EA }), Err(Refusal::Conflict));
    assert_eq!(bench.ask("b", Request::Reserve { key: Key(11), kind: WE }), Err(Refusal::Conflict));
    let mut bench = Bench::held(WEAR);
    bench.ok("b", Request::Reserve { key: Key(11), kind: WEAR });
    assert_eq!(bench.ask("b", Request::Reserve { key: Key(11), kind: EAAR }), Err(Refusal::Conflict));
    assert_eq!((bench.holder(), bench.0.generation()), (Some((WEAR, None)), 3), "not counted");
}

#[test]
fn releasing() {
    for (kind, others) in [(WE, 0), (EA, 0), (WERO, 2), (EARO, 2), (WEAR, 2), (EAAR, 2)] {
        let mut bench = Bench::held(kind);
        let key = Key(10);
        let wrong = if kind == WE { EA } else { WE };
        let refused = Err(SenseCode::INVALID_RELEASE_OF_PERSISTENT_RESERVATION.into());
        assert_eq!(bench.ask("a", Request::Release { key, kind: Some(wrong) }), refused);
        assert_eq!(bench.ask("a", Request::Release { key, kind: None }), refused);
        assert_eq!(bench.ask("stranger", Request::Release { key, kind: Some(kind) }), Err(Refusal::Conflict));
        if !kind.is_held_by_all() {
            assert_eq!(bench.ok("b", Request::Release { key: Key(11), kind: Some(kind) }), Effects::default());
            assert!(bench.holder().is_some(), "not its own");
        }
        let effects = bench.ok("a", Request::Release { key, kind: Some(kind) });
        assert_eq!((told(&effects).len(), bench.holder()), (others, None), "{kind:?}");
        assert_eq!(bench.ok("a", Request::Release { key, kind: Some(kind) }), Effects::default());
    }
}

#[test]
fn the_reservation_ends_with_the_registration_of_its_holder() {
    let away = || Request::Register(register(10, 0));
    assert_eq!(told(&Bench::held(WE).ok("a", away())), []);
    let mut bench = Bench::held(EARO);
    assert_eq!(told(&bench.ok("a", away())), [("b".to_owned(), 4), ("c".to_owned(), 4)]);
    assert_eq!(bench.holder(), None);
    let mut bench = Bench::held(EAAR);
    bench.ok("a", away());
    bench.ok("b", Request::Register(register(11, 0)));
    assert_eq!(bench.holder(), Some((EAAR, None)), "as long as there is a registrant");
    bench.ok("c", Request::Register(register(12, 0)));
    assert_eq!(bench.holder(), None);
}

#[test]
fn clearing() {
    let mut bench = Bench::held(EA);
    assert_eq!(bench.ask("b", Request::Clear { key: Key(10) }), Err(Refusal::Conflict));
    let effects = bench.ok("b", Request::Clear { key: Key(11) });
    assert_eq!(told(&effects), [("a".to_owned(), 3), ("c".to_owned(), 3)]);
    assert_eq!((bench.names().as_str(), bench.holder(), bench.0.generation()), ("", None, 4));
}

#[test]
fn preempting_the_holder_takes_the_reservation() {
    let mut bench = Bench::held(WERO);
    let effects = bench.ok("b", preempt(11, 10, EARO));
    assert_eq!(told(&effects), [("c".to_owned(), 4), ("a".to_owned(), 5)]);
    assert_eq!(effects.aborted, [nexus("a")]);
    assert_eq!((bench.names().as_str(), bench.holder()), ("bc", Some((EARO, Some(nexus("b"))))));
    let effects = bench.ok("b", preempt(11, 11, EARO));
    assert_eq!((told(&effects), bench.names().as_str()), (vec![], "bc"), "oneself: nothing but another reservation");
    bench.ok("c", preempt(12, 11, WEAR));
    assert_eq!(bench.holder(), Some((WEAR, None)));
    let no_type = Request::Preempt { key: Key(12), victim: Key(0), kind: None, abort: false };
    assert_eq!(bench.ask("c", no_type), Err(Sense::invalid_cdb(2, None).into()));
}

#[test]
fn preempting_others_takes_their_registrations() {
    let mut bench = Bench::held(WE);
    let effects = bench.ok("b", preempt(11, 12, EA));
    assert_eq!(told(&effects), [("c".to_owned(), 5)]);
    assert_eq!((bench.names().as_str(), bench.holder()), ("ab", Some((WE, Some(nexus("a"))))), "the type is ignored");
    assert_eq!(bench.ask("b", preempt(11, 12, EA)), Err(Refusal::Conflict), "nobody has it any more");
    assert_eq!(bench.ask("b", preempt(11, 0, EA)), Err(Sense::invalid_parameter(8).into()));
    assert_eq!(bench.ask("stranger", preempt(11, 10, EA)), Err(Refusal::Conflict));
}

#[test]
fn preempting_all_registrants() {
    let mut bench = Bench::held(EAAR);
    let effects = bench.ok("b", preempt(11, 12, EA));
    assert_eq!((told(&effects).len(), bench.names().as_str(), bench.holder()), (1, "ab", Some((EAAR, None))));
    let effects = bench.ok("b", preempt(11, 0, EA));
    assert_eq!(told(&effects), [("a".to_owned(), 5)]);
    assert_eq!((bench.names().as_str(), bench.holder()), ("b", Some((EA, Some(nexus("b"))))));
}

#[test]
fn moving() {
    let to = |name: &str| Move { key: Key(10), new: Key(20), unregister: true, keep: true, to: through(name, 0x101) };
    let mut bench = Bench::held(WERO);
    assert_eq!(bench.ask("b", Request::Move(Move { key: Key(11), ..to("d") })), Err(Refusal::Conflict));
    let elsewhere = Move { to: through("d", 7), ..to("d") };
    assert_eq!(bench.ask("a", Request::Move(elsewhere)), Err(Sense::invalid_parameter(18).into()));
    let nowhere = Move { to: nexus("a"), ..to("a") };
    assert_eq!(bench.ask("a", Request::Move(nowhere)), Err(Sense::invalid_parameter(24).into()));
    bench.ok("a", Request::Move(to("d")));
    assert_eq!((bench.names().as_str(), bench.holder()), ("bcd", Some((WERO, Some(through("d", 0x101))))));
    assert_eq!(bench.0.key_of(&through("d", 0x101)), Some(Key(20)));
    let of_all = Bench::held(EAAR).ask("a", Request::Move(to("d")));
    assert_eq!(of_all, Err(Refusal::Conflict), "nobody in particular holds it");
}
