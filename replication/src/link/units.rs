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

use std::collections::BTreeMap;

use crate::wire::{Frame, Generation};

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
    /// The peer's generation, as it said on this connection.
    theirs: Option<Generation>,
}

#[derive(Debug)]
struct Ours {
    generation: Generation,
    block_bytes: u32,
    round: Round,
}

/// How far both ends have found each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// The peer's generation is not known.
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
    pub fn open(&mut self, unit: u32, block_bytes: u32) {
        drop(self.open_and_tell(unit, block_bytes));
    }

    /// Close it; nothing happens if it is not open.
    pub fn close(&mut self, unit: u32) {
        drop(self.close_and_tell(unit));
    }

    pub(super) fn open_and_tell(&mut self, unit: u32, block_bytes: u32) -> Option<Frame> {
        let entry = self.units.entry(unit).or_default();
        if entry.ours.is_some() {
            return None;
        }
        let generation = next(&mut self.last);
        let round = entry.theirs.map_or(Round::Alone, Round::Echoed);
        entry.ours = Some(Ours { generation, block_bytes, round });
        Some(Frame::UnitOpen { unit, generation, echo: entry.theirs })
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
            Some(Frame::UnitOpen { unit, generation: ours.generation, echo: None })
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
    pub(super) fn on_open(&mut self, unit: u32, from: Generation, echo: Option<Generation>) -> Result<Moves, TooMany> {
        if self.units.len() >= MAX_UNITS && !self.units.contains_key(&unit) {
            return Err(TooMany);
        }
        let entry = self.units.entry(unit).or_default();
        entry.theirs = Some(from);
        let Some(ours) = &mut entry.ours else {
            return Ok(Moves::default());
        };
        let mut moves = Moves::default();
        if matches!(ours.round, Round::Up(before) if before != from) {
            moves.down = true;
            ours.generation = next(&mut self.last);
        }
        if !matches!(ours.round, Round::Echoed(known) | Round::Up(known) if known == from) {
            ours.round = Round::Echoed(from);
            moves.send = Some(Frame::UnitOpen { unit, generation: ours.generation, echo: Some(from) });
        }
        if ours.round == Round::Echoed(from) && echo == Some(ours.generation) {
            ours.round = Round::Up(from);
            moves.up = true;
        }
        Ok(moves)
    }

    /// The peer has closed its end.
    pub(super) fn on_closed(&mut self, unit: u32, from: Generation) -> Moves {
        let Some(entry) = self.units.get_mut(&unit).filter(|entry| entry.theirs == Some(from)) else {
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
        let open = Frame::UnitOpen { unit, generation: ours.generation, echo: None };
        Moves { down: true, send: Some(open), up: false }
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

fn next(last: &mut u64) -> Generation {
    *last = last.wrapping_add(1).max(1);
    #[expect(clippy::expect_used, reason = "the line above")]
    Generation::new(*last).expect("at least 1")
}
