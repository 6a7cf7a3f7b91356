//! The connection between the heads, for all units at once.
//!
//! Head b dials, head a listens; the protocol itself is the same in both directions. A [`Link`] is one TCP connection:
//! it begins with a handshake (`handshake`) and ends for good. What outlives it is [`Units`]: which units' links are
//! open, each with generations that make sure that a message reaches the life of the unit it was meant for, or nobody
//! (`units`). Closing one unit's link does not disturb the others.
//!
//! The shell's loop:
//!
//! 1. Read into [`Link::recv_slices`], and say so with [`Link::received`].
//! 2. [`Link::poll_event`] until there is nothing more. Deal with each event before asking for the next: frames are
//!    looked at only there, and a unit that answers a [`LinkEvent::UnitDown`] must not find its link up again already.
//! 3. [`Link::poll_transmit`], the next frame only when the socket has taken the last: a lease would wait behind it.
//! 4. [`Link::handle_timeout`] at [`Link::poll_timeout`], but after reading what the socket has.
//!
//! After [`LinkEvent::Ready`] the link stands still until it is given the [`Units`] by [`Link::adopt`]: a new
//! connection takes them from the one that it replaces only now, when it has proved who it is. (End the old one with
//! [`Link::close`], hand out its events, and take [`Link::into_units`].) After [`LinkEvent::Refused`] or
//! [`LinkEvent::Closed`], transmit what is left and close the socket.
//!
//! The handshake proves who is there when a connection begins, and checksums find damage. Frames are neither encrypted
//! nor signed: the cable between the heads is trusted not to be taken over by somebody in the middle.

mod event;
mod handshake;
mod outbox;
mod units;

use std::collections::VecDeque;
use std::io::IoSliceMut;

use sas_backend::buffer::Pool;

pub use event::{Config, LinkEvent};
pub use handshake::differing_keys;
pub use units::Units;

use crate::block::{Blocks, Contents, Data, Millis};
use crate::message::Message;
use crate::wire::message::exchange_data;
use crate::wire::{
    ClientConnection, Frame, FrameError, Framer, Generation, Hello, MAX_PAYLOAD_BYTES, OutFrame, PortalState,
    UnitSettings,
};
use handshake::{Handshake, Step};
use outbox::Outbox;
use units::Moves;

/// A handshake takes no longer than this.
pub const HANDSHAKE_MS: u64 = 5_000;

/// See the module's description.
#[derive(Debug)]
pub struct Link {
    state: State,
    framer: Framer,
    outbox: Outbox,
    events: VecDeque<LinkEvent>,
    units: Option<Units>,
    now: Millis,
    heard: Millis,
    ping_ms: u64,
    dead_ms: u64,
    round_trip_ms: Option<u64>,
    dropped: u64,
}

#[derive(Debug)]
enum State {
    Handshake { handshake: Box<Handshake>, until: Millis },
    Ready { peer: Hello, ping_at: Millis },
    Closed,
}

impl Link {
    /// The core of a connection that was just made; payloads are received into buffers of `pool`.
    #[must_use]
    pub fn new(config: Config<'_>, pool: Pool, now: Millis) -> Self {
        let handshake = Handshake::new(&config);
        let mut outbox = Outbox::default();
        outbox.push(handshake.hello());
        Self {
            state: State::Handshake { handshake: Box::new(handshake), until: now.after(HANDSHAKE_MS) },
            framer: Framer::new(pool),
            outbox,
            events: VecDeque::new(),
            units: None,
            now,
            heard: now,
            ping_ms: config.ping_ms,
            dead_ms: config.dead_ms,
            round_trip_ms: None,
            dropped: 0,
        }
    }

    /// Where to read to, in this order. When both are empty, poll the events first.
    pub fn recv_slices(&mut self) -> [IoSliceMut<'_>; 2] {
        self.framer.recv_slices()
    }

    /// `count` bytes were read into the slices that [`Link::recv_slices`] gave.
    ///
    /// # Panics
    /// If `count` is more than they hold.
    pub fn received(&mut self, count: usize, now: Millis) {
        self.now = now;
        self.framer.received(count);
        if count > 0 {
            self.heard = now;
        }
    }

    /// Take over the units, after [`LinkEvent::Ready`].
    ///
    /// # Panics
    /// If the link has units already.
    pub fn adopt(&mut self, mut units: Units) {
        assert!(self.units.is_none(), "a link is given its units once");
        if matches!(self.state, State::Ready { .. }) {
            for frame in units.connected() {
                self.outbox.push(frame);
            }
        }
        self.units = Some(units);
    }

    /// The units, for the next connection; `None` if the link never was given any.
    ///
    /// # Panics
    /// If the link is not closed, or its events were not polled: the units that went down would never hear of it.
    #[must_use]
    pub fn into_units(self) -> Option<Units> {
        assert!(matches!(self.state, State::Closed) && self.events.is_empty(), "a link is closed and drained first");
        self.units
    }

    /// Open the link of `unit`, whose blocks have `block_bytes`; nothing happens if it is open.
    ///
    /// # Panics
    /// If the link has no units.
    pub fn open_unit(&mut self, unit: u32, block_bytes: u32, settings: UnitSettings) {
        let frame = self.units_mut().open_and_tell(unit, block_bytes, settings);
        self.tell(frame);
    }

    /// The settings of `unit` have changed, those that may; nothing happens if it is not open.
    ///
    /// # Panics
    /// If the link has no units, or a fixed setting has changed.
    pub fn change_unit(&mut self, unit: u32, settings: UnitSettings) {
        let frame = self.units_mut().change_and_tell(unit, settings);
        self.tell(frame);
    }

    /// What the peer's configuration says about `unit`, if it has opened it on this connection.
    #[must_use]
    pub fn settings_of_peer(&self, unit: u32) -> Option<&UnitSettings> {
        self.units.as_ref()?.settings_of_peer(unit)
    }

    /// Close the link of `unit` with everything queued on it in either direction. There is no [`LinkEvent::UnitDown`].
    ///
    /// # Panics
    /// If the link has no units.
    pub fn close_unit(&mut self, unit: u32) {
        let frame = self.units_mut().close_and_tell(unit);
        self.outbox.forget(unit);
        self.events.retain(|event| event.unit() != Some(unit));
        self.tell(frame);
    }

    /// Queue a message of `unit`; it goes nowhere unless the unit's link is up.
    pub fn send(&mut self, unit: u32, message: Message<Blocks>) {
        let Some(generation) = self.units.as_ref().and_then(|units| units.towards(unit)) else {
            return;
        };
        match exchange_data(message, |blocks, _| fitting(blocks)) {
            Ok(message) => self.outbox.push_message(unit, generation, message),
            Err(bytes) => self.close(&format!("a write of {bytes} bytes is too long for the link")),
        }
        self.check_outbox();
    }

    /// Say something about portal addresses, if the peer is there.
    pub fn send_portals(&mut self, state: PortalState) {
        self.tell(Some(Frame::Portals(state)));
    }

    /// Say which clients are connected with the portals, if the peer is there; instead of a list that still waits.
    pub fn send_clients(&mut self, clients: Vec<ClientConnection>) {
        if matches!(self.state, State::Ready { .. }) {
            self.outbox.clients(clients);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Millis) {
        self.now = now;
        match &mut self.state {
            State::Handshake { until, .. } if now >= *until => {
                self.close(&format!("no handshake within {HANDSHAKE_MS} ms"));
            }
            State::Ready { peer, .. } if now >= self.heard.after(self.dead_ms) => {
                let why = format!("nothing was heard from head {} for {} ms", peer.head, now.since(self.heard));
                self.close(&why);
            }
            State::Ready { ping_at, .. } if now >= *ping_at => {
                *ping_at = now.after(self.ping_ms);
                self.outbox.ping(now.0);
            }
            _ => {}
        }
    }

    /// When [`Link::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        match &self.state {
            State::Handshake { until, .. } => Some(*until),
            State::Ready { ping_at, .. } => Some(self.heard.after(self.dead_ms).min(*ping_at)),
            State::Closed => None,
        }
    }

    /// The connection is over, and `why`; nothing happens if it was before.
    pub fn close(&mut self, why: &str) {
        self.end(LinkEvent::Closed { why: why.to_owned() });
    }

    /// The next thing that has happened.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let stands_still = match self.state {
                State::Handshake { .. } => false,
                State::Ready { .. } => self.units.is_none(),
                State::Closed => true,
            };
            if stands_still {
                return None;
            }
            match self.framer.poll() {
                Ok(Some(frame)) => self.on_frame(frame),
                Ok(None) => return None,
                Err(error) => self.on_frame_error(&error),
            }
        }
    }

    /// The next frame for the socket.
    pub fn poll_transmit(&mut self) -> Option<OutFrame> {
        self.outbox.pop().map(|frame| frame.emit())
    }

    /// How long the peer took for its last answer.
    #[must_use]
    pub fn round_trip_ms(&self) -> Option<u64> {
        self.round_trip_ms
    }

    /// Messages that came for a life of a unit that is over.
    #[must_use]
    pub fn dropped_messages(&self) -> u64 {
        self.dropped
    }

    fn on_frame(&mut self, frame: Frame) {
        let State::Handshake { handshake, .. } = &mut self.state else {
            return self.on_ready_frame(frame);
        };
        match handshake.handle(frame) {
            Step::Send(frame) => self.outbox.push(frame),
            Step::Done(peer) => {
                self.framer.allow_payloads();
                self.state = State::Ready { peer, ping_at: self.now };
                self.events.push_back(LinkEvent::Ready { peer: peer.head, incarnation: peer.incarnation });
            }
            Step::Refuse(why) => self.refuse(why),
            Step::Refused(why) => self.end(LinkEvent::Refused { why }),
        }
    }

    fn on_ready_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Ping { number } => self.outbox.pong(number),
            Frame::Pong { number } => self.round_trip_ms = Some(self.now.since(Millis(number))),
            Frame::UnitOpen { unit, generation, echo, settings } => {
                match self.units_mut().on_open(unit, generation, echo, settings) {
                    Ok(moves) => self.apply(unit, moves),
                    Err(units::TooMany) => self.close("the other head has too many units"),
                }
            }
            Frame::UnitClosed { unit, generation } => {
                let moves = self.units_mut().on_closed(unit, generation);
                self.apply(unit, moves);
            }
            Frame::Message { unit, generation, message } => self.on_message(unit, generation, message),
            Frame::Portals(state) => self.events.push_back(LinkEvent::Portals(state)),
            Frame::Clients(clients) => self.events.push_back(LinkEvent::Clients(clients)),
            Frame::Refuse { why } => self.close(&format!("the other head refuses: {why:?}")),
            Frame::Hello(_) | Frame::Proof(_) | Frame::Agreement(_) | Frame::Ready => {
                self.close("the other head begins another handshake");
            }
        }
    }

    fn on_message(&mut self, unit: u32, generation: Generation, message: Message<Contents>) {
        let Some(block_bytes) = self.units_mut().accepts(unit, generation) else {
            self.dropped += 1;
            return;
        };
        match exchange_data(message, |contents, count| whole_blocks(contents, count, block_bytes)) {
            Ok(message) => self.events.push_back(LinkEvent::Message { unit, message }),
            Err(why) => self.close(&why),
        }
    }

    fn on_frame_error(&mut self, error: &FrameError) {
        match &self.state {
            State::Handshake { .. } => self.refuse(error.to_string()),
            State::Ready { .. } | State::Closed => self.close(&error.to_string()),
        }
    }

    fn apply(&mut self, unit: u32, moves: Moves) {
        let State::Ready { peer, .. } = &self.state else { return };
        let peer = peer.incarnation;
        if moves.down {
            self.outbox.forget(unit);
            self.events.push_back(LinkEvent::UnitDown { unit });
        }
        if moves.changed {
            self.events.push_back(LinkEvent::UnitSettings { unit });
        }
        if moves.up {
            self.events.push_back(LinkEvent::UnitUp { unit, peer });
        }
        self.tell(moves.send);
    }

    /// Tell the peer about the link of a unit, if it is there.
    fn tell(&mut self, frame: Option<Frame>) {
        if let (State::Ready { .. }, Some(frame)) = (&self.state, frame) {
            self.outbox.push(frame);
        }
        self.check_outbox();
    }

    fn check_outbox(&mut self) {
        if self.outbox.is_overfull() {
            self.close("the other head does not take what is sent to it");
        }
    }

    fn refuse(&mut self, why: String) {
        let frame = Frame::Refuse { why: why.clone() };
        self.end(LinkEvent::Refused { why });
        self.outbox.push(frame);
    }

    fn end(&mut self, event: LinkEvent) {
        if matches!(self.state, State::Closed) {
            return;
        }
        let in_handshake = matches!(self.state, State::Handshake { .. });
        self.state = State::Closed;
        if !in_handshake {
            self.outbox.clear();
        }
        for unit in self.units.as_mut().map(Units::disconnected).unwrap_or_default() {
            self.events.push_back(LinkEvent::UnitDown { unit });
        }
        self.events.push_back(event);
    }

    fn units_mut(&mut self) -> &mut Units {
        #[expect(clippy::expect_used, reason = "no frame is polled, and nothing may be asked, before")]
        self.units.as_mut().expect("units are adopted first")
    }
}

/// The contents, or the number of their bytes if there are too many. A hole is short whatever its length.
fn fitting(blocks: Blocks) -> Result<Contents, usize> {
    match blocks.into_contents() {
        Contents::Bytes(payload) if payload.len() > MAX_PAYLOAD_BYTES => Err(payload.len()),
        contents => Ok(contents),
    }
}

/// `count` is what the message says besides; without it a hole is part of what was read, and so no longer than a payload.
fn whole_blocks(contents: Contents, count: Option<u64>, block_bytes: u32) -> Result<Blocks, String> {
    let length = match &contents {
        Contents::Bytes(payload) => format!("{} bytes", payload.len()),
        Contents::Hole { blocks } => format!("a hole of {blocks} blocks"),
    };
    let fits = |blocks: &Blocks| match count {
        Some(count) => blocks.blocks() == count,
        None => blocks.bytes() <= MAX_PAYLOAD_BYTES as u64,
    };
    Blocks::of(contents, block_bytes).filter(fits).ok_or_else(|| match count {
        Some(count) => format!("{length} for {count} blocks of {block_bytes} bytes"),
        None => format!("{length} are not whole blocks of {block_bytes} bytes, or too many"),
    })
}

#[cfg(test)]
mod tests;
