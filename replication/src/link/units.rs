//! The links of single units: which are open, in which generation, and whether the other head agrees.
//!
//! ```text
//!                open                 peer's UnitOpen, echoed        its UnitOpen echoes ours
//!  (not open) -----------> Alone ------------------------> Echoed ----------------------------> Up
//!       ^                    ^                               |                                   |
//!       +------- close ------+------- peer closes -----------+-- the same, in a new generation --+
//! ```
//! A message carries the generation of its receiver, so one that was sent to an earlier life of the receiver's end, or
//! by an earlier life of the sender's, meets a generation that is gone.
//!
//! Each UnitOpen says what its head is configured with. While the fixed settings differ the unit stays Alone on both
//! heads; the other units are none the worse for it. Others may change at any time, by the same UnitOpen once more.

use std::collections::BTreeMap;

use crate::wire::{Frame, Generation, UnitSettings};

/// Units that the peer may name before this head has opened them; more than anybody configures.
const MAX_UNITS: usize = 4096;

/// The units' links of one head; outlives connections.
#[derive(Debug)]
pub struct Units {
    /// The generation drawn last, whichever unit it was for.
    last: u64,
    units: BTreeMap<u32, Unit>,
}

#[derive(Debug, Default)]
struct Unit {
    ours: Option<Ours>,
    /// What the peer said on this connection.
    theirs: Option<Theirs>,
}

#[derive(Debug)]
struct Theirs {
    generation: Generation,
    settings: UnitSettings,
}

#[derive(Debug)]
struct Ours {
    generation: Generation,
    block_bytes: u32,
    settings: UnitSettings,
    round: Round,
}

/// How far both ends have found each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// The peer's generation is not known, or it is not configured alike.
    Alone,
    /// It was told that we know this generation of it.
    Echoed(Generation),
    /// And it has told the same of ours.
    Up(Generation),
}

/// What follows from a frame of the peer, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) down: bool,
    /// The peer's settings have changed while the unit was and is up.
    pub(super) changed: bool,
    pub(super) send: Option<Frame>,
    pub(super) up: bool,
}

/// The peer names more units than there can be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Units {
    /// No unit is open. Generations count from `base` on: a random number, so that no process uses those of another.
    #[must_use]
    pub fn new(base: u64) -> Self {
        Self { last: base, units: BTreeMap::new() }
    }

    /// Open the link of `unit`, whose blocks have `block_bytes`; nothing happens if it is open.
    pub fn open(&mut self, unit: u32, block_bytes: u32, settings: UnitSettings) {
        drop(self.open_and_tell(unit, block_bytes, settings));
    }

    /// The settings of `unit` have changed, those that may; nothing happens if it is not open.
    pub fn change(&mut self, unit: u32, settings: UnitSettings) {
        drop(self.change_and_tell(unit, settings));
    }

    /// What the peer's configuration says about `unit`, if it has opened it on this connection.
    #[must_use]
    pub fn settings_of_peer(&self, unit: u32) -> Option<&UnitSettings> {
        self.units.get(&unit)?.theirs.as_ref().map(|theirs| &theirs.settings)
    }

    /// Close it; nothing happens if it is not open.
    pub fn close(&mut self, unit: u32) {
        drop(self.close_and_tell(unit));
    }

    pub(super) fn open_and_tell(&mut self, unit: u32, block_bytes: u32, settings: UnitSettings) -> Option<Frame> {
        let entry = self.units.entry(unit).or_default();
        if entry.ours.is_some() {
            return None;
        }
        let generation = next(&mut self.last);
        let alike = entry.theirs.as_ref().filter(|theirs| theirs.settings.fixed() == settings.fixed());
        let round = alike.map_or(Round::Alone, |theirs| Round::Echoed(theirs.generation));
        let ours = entry.ours.insert(Ours { generation, block_bytes, settings, round });
        Some(ours.open(unit))
    }

    pub(super) fn change_and_tell(&mut self, unit: u32, settings: UnitSettings) -> Option<Frame> {
        let ours = self.units.get_mut(&unit)?.ours.as_mut()?;
        assert_eq!(ours.settings.fixed(), settings.fixed(), "a unit with other fixed settings is opened anew");
        ours.settings = settings;
        Some(ours.open(unit))
    }

    pub(super) fn close_and_tell(&mut self, unit: u32) -> Option<Frame> {
        let ours = self.units.get_mut(&unit)?.ours.take()?;
        Some(Frame::UnitClosed { unit, generation: ours.generation })
    }

    /// There is a connection: what to tell the peer first.
    pub(super) fn connected(&mut self) -> Vec<Frame> {
        let Self { last, units } = self;
        let opened = units.iter_mut().filter_map(|(&unit, Unit { ours, .. })| {
            let ours = ours.as_mut()?;
            ours.generation = next(last);
            Some(ours.open(unit))
        });
        opened.collect()
    }

    /// There is none any more: the units that were up.
    pub(super) fn disconnected(&mut self) -> Vec<u32> {
        let went_down = self.units.iter_mut().filter_map(|(&unit, Unit { ours, theirs })| {
            *theirs = None;
            let round = std::mem::replace(&mut ours.as_mut()?.round, Round::Alone);
            matches!(round, Round::Up(_)).then_some(unit)
        });
        let went_down = went_down.collect();
        self.units.retain(|_, unit| unit.ours.is_some());
        went_down
    }

    /// The peer has opened its end.
    pub(super) fn on_open(
        &mut self,
        unit: u32,
        from: Generation,
        echo: Option<Generation>,
        settings: UnitSettings,
    ) -> Result<Moves, TooMany> {
        if self.units.len() >= MAX_UNITS && !self.units.contains_key(&unit) {
            return Err(TooMany);
        }
        let entry = self.units.entry(unit).or_default();
        let news = entry.theirs.as_ref().is_none_or(|before| before.settings != settings);
        let theirs = entry.theirs.insert(Theirs { generation: from, settings });
        let Some(ours) = &mut entry.ours else {
            return Ok(Moves::default());
        };
        let alike = ours.settings.fixed() == theirs.settings.fixed();
        let mut moves = Moves { changed: news && alike && ours.round == Round::Up(from), ..Moves::default() };
        if matches!(ours.round, Round::Up(before) if before != from || !alike) {
            moves.down = true;
            ours.generation = next(&mut self.last);
        }
        if !alike {
            ours.round = Round::Alone;
            moves.send = moves.down.then(|| ours.open(unit));
            return Ok(moves);
        }
        if !matches!(ours.round, Round::Echoed(known) | Round::Up(known) if known == from) {
            ours.round = Round::Echoed(from);
            moves.send = Some(ours.open(unit));
        }
        if ours.round == Round::Echoed(from) && echo == Some(ours.generation) {
            ours.round = Round::Up(from);
            moves.up = true;
        }
        Ok(moves)
    }

    /// The peer has closed its end.
    pub(super) fn on_closed(&mut self, unit: u32, from: Generation) -> Moves {
        let Some(entry) = self.units.get_mut(&unit).filter(|entry| entry.hears(from)) else {
            return Moves::default();
        };
        entry.theirs = None;
        let Some(ours) = &mut entry.ours else {
            self.units.remove(&unit);
            return Moves::default();
        };
        let was_up = matches!(ours.round, Round::Up(_));
        ours.round = Round::Alone;
        if !was_up {
            return Moves::default();
        }
        // Only what was up could have been spoken to: an end that never was keeps its generation, or two ends that both
        // start anew would go on doing so for ever.
        ours.generation = next(&mut self.last);
        Moves { down: true, send: Some(ours.open(unit)), ..Moves::default() }
    }

    /// The generation that messages to the peer carry, if the unit is up.
    pub(super) fn towards(&self, unit: u32) -> Option<Generation> {
        match self.units.get(&unit)?.ours.as_ref()?.round {
            Round::Up(theirs) => Some(theirs),
            Round::Alone | Round::Echoed(_) => None,
        }
    }

    /// The block size of a unit for which a message with this generation is meant, if that still counts.
    pub(super) fn accepts(&self, unit: u32, generation: Generation) -> Option<u32> {
        let ours = self.units.get(&unit)?.ours.as_ref()?;
        (ours.generation == generation && matches!(ours.round, Round::Up(_))).then_some(ours.block_bytes)
    }
}

impl Unit {
    /// Whether this is what the peer calls the present life of its end.
    fn hears(&self, from: Generation) -> bool {
        self.theirs.as_ref().is_some_and(|theirs| theirs.generation == from)
    }
}

impl Ours {
    fn open(&self, unit: u32) -> Frame {
        let echo = match self.round {
            Round::Alone => None,
            Round::Echoed(theirs) | Round::Up(theirs) => Some(theirs),
        };
        Frame::UnitOpen { unit, generation: self.generation, echo, settings: self.settings.clone() }
    }
}

fn next(last: &mut u64) -> Generation {
    *last = last.wrapping_add(1).max(1);
    #[expect(clippy::expect_used, reason = "the line above")]
    Generation::new(*last).expect("at least 1")
}
