//! One initiator with a path to each head, as Linux with open-iscsi and dm-multipath: commands that take too long are
//! aborted and tried on another path, sessions that are silent are dropped, and logged in again.

use std::collections::BTreeMap;
use std::time::Duration;

use iscsi_target::initiator::command::lun_bytes;
use iscsi_target::initiator::multipath::{Action, IoId, Multipath, PathEvent, PathId};
use iscsi_target::initiator::session::{Event, Session, SessionOptions};
use iscsi_target::pdu::digest::Digests;
use sas_backend::HeadId;

use super::TARGET;
use super::translate::{to_command, to_outcome};
use super::wire::{End, Packet};
use crate::world::client::Want;
use crate::world::{Entry, World};

/// How often a host looks at its clock.
const POLL_MS: u64 = 10;

/// See the module.
pub(in crate::world) struct Host {
    multipath: Multipath,
    /// The sessions that there are, and their wires.
    sessions: BTreeMap<HeadId, (Session, u64)>,
    io: Option<(IoId, Want)>,
}

impl Host {
    pub(in crate::world) fn new() -> Self {
        Self { multipath: Multipath::new(2, Duration::ZERO), sessions: BTreeMap::new(), io: None }
    }

    pub(in crate::world) fn is_busy(&self) -> bool {
        self.io.is_some()
    }

    /// What it waits for may have been lost with the power.
    pub(in crate::world) fn want_mut(&mut self) -> Option<&mut Want> {
        self.io.as_mut().map(|(_, want)| want)
    }
}

fn options(host: usize, path: HeadId) -> SessionOptions {
    let ms = Duration::from_millis;
    SessionOptions {
        initiator_name: format!("iqn.2026-11.com.example:host{host}"),
        account: None,
        isid: [0x80, 0, 0, 1, 0, u8::try_from(path.index()).unwrap_or_default()],
        target_name: Some(TARGET.to_owned()),
        lun: lun_bytes(0).expect("the first one"),
        digests: Digests::default(),
        first_burst_length: 512,
        login_timeout: ms(900),
        nop_interval: ms(400),
        nop_timeout: ms(400),
        command_timeout: ms(1_800),
        abort_after: Some(ms(900)),
    }
}

fn head_of(path: PathId) -> HeadId {
    if path.0 == 0 { HeadId::A } else { HeadId::B }
}

fn path_of(head: HeadId) -> PathId {
    PathId(head.index())
}

impl World {
    fn time(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    /// The host's client wants something.
    pub(in crate::world) fn submit_to_host(&mut self, number: usize, want: &Want) -> Result<(), String> {
        // It is sent again after a loss, too, and then nobody knows what bits there are.
        let there = match want {
            Want::Write { extent, .. } if !self.plan.double_faults => Some(self.there(*extent)),
            _ => None,
        };
        let Some(command) = to_command(want, there) else { return Err(format!("no command says {want:?}")) };
        let now = self.time();
        let host = &mut self.hosts[number];
        let io = host.multipath.submit(command, now);
        host.io = Some((io, want.clone()));
        self.drive(number)
    }

    pub(in crate::world) fn on_host_poll(&mut self, number: usize) -> Result<(), String> {
        self.at(POLL_MS, Entry::HostPoll { host: number });
        let now = self.time();
        let host = &mut self.hosts[number];
        for (session, _) in host.sessions.values_mut() {
            if session.next_timeout().is_some_and(|at| at <= now) {
                session.handle_timeout(now);
            }
        }
        if host.multipath.next_timeout(now.saturating_sub(Duration::from_millis(POLL_MS))).is_some_and(|at| at <= now) {
            host.multipath.handle_timeout(now);
        }
        self.drive(number)
    }

    pub(super) fn read_at_host(&mut self, wire: u64) -> Result<(), String> {
        let Some(number) = self.wires.all.get(&wire).map(|wire| wire.host) else { return Ok(()) };
        let path = self.wires.all[&wire].path;
        let now = self.time();
        if let Some((session, _)) = self.hosts[number].sessions.get_mut(&path).filter(|(_, of)| *of == wire)
            && let Some(inbox) = self.wires.inbox(wire, End::Host)
        {
            while !inbox.is_empty() {
                let mut count = 0;
                for mut slice in session.recv_slices() {
                    for byte in slice.iter_mut() {
                        let Some(next) = inbox.pop_front() else { break };
                        *byte = next;
                        count += 1;
                    }
                }
                if count == 0 {
                    break;
                }
                session.handle_received(count, now);
            }
        }
        let reset = self.wires.all.get(&wire).is_some_and(|wire| wire.reset[1]);
        self.drive(number)?;
        if reset {
            self.end_session(number, path, wire, "reset by the target")?;
        }
        Ok(())
    }

    fn end_session(&mut self, number: usize, path: HeadId, wire: u64, why: &str) -> Result<(), String> {
        self.close_wire(wire, End::Host);
        if self.hosts[number].sessions.get(&path).is_some_and(|(_, of)| *of == wire) {
            self.hosts[number].sessions.remove(&path);
            self.note(|| format!("host {number}: path {path} is lost: {why}"));
            let now = self.time();
            self.hosts[number].multipath.handle_path_event(path_of(path), PathEvent::Down(why.to_owned()), now);
            self.drive(number)?;
        }
        Ok(())
    }

    /// Let the cores of a host go on until they want nothing more.
    fn drive(&mut self, number: usize) -> Result<(), String> {
        loop {
            let mut idle = true;
            for path in HeadId::BOTH {
                idle &= !self.drive_session(number, path)?;
            }
            while let Some(action) = self.hosts[number].multipath.poll_action() {
                idle = false;
                self.act(number, action)?;
            }
            while let Some((io, answer)) = self.hosts[number].multipath.poll_result() {
                idle = false;
                if let Some((_, want)) = self.hosts[number].io.take_if(|(asked, _)| *asked == io) {
                    self.note(|| format!("host {number}: {answer} for {want:?}"));
                    self.clients[number].set_want(want.clone());
                    let outcome = to_outcome(&want, &answer)?;
                    self.on_outcome(number, outcome, false)?;
                }
            }
            if idle {
                return Ok(());
            }
        }
    }

    fn act(&mut self, number: usize, action: Action) -> Result<(), String> {
        let now = self.time();
        match action {
            Action::Connect(path) => {
                let path = head_of(path);
                if let Some((_, old)) = self.hosts[number].sessions.remove(&path) {
                    self.close_wire(old, End::Host);
                }
                let wire = self.connect(number, path);
                let session = Session::new(options(number, path), now);
                self.hosts[number].sessions.insert(path, (session, wire));
            }
            Action::Disconnect(path) => {
                if let Some((session, _)) = self.hosts[number].sessions.get_mut(&head_of(path)) {
                    session.logout(now);
                }
            }
            Action::Submit(path, tag, command) => {
                self.note(|| format!("host {number}: to {}: {:02x?}", head_of(path), command.cdb));
                if let Some((session, _)) = self.hosts[number].sessions.get_mut(&head_of(path)) {
                    session.submit(tag, command, now);
                }
            }
        }
        Ok(())
    }

    /// Whether it had anything.
    fn drive_session(&mut self, number: usize, path: HeadId) -> Result<bool, String> {
        let now = self.time();
        let Some((session, wire)) = self.hosts[number].sessions.get_mut(&path) else { return Ok(false) };
        let wire = *wire;
        let mut bytes = Vec::new();
        while let Some(transmit) = session.poll_transmit() {
            bytes.extend(transmit.to_vec());
        }
        let event = session.poll_event();
        let busy = !bytes.is_empty() || event.is_some();
        if !bytes.is_empty() {
            self.transmit(wire, End::Target, Packet::Bytes(bytes));
        }
        let event = match event {
            Some(Event::LoggedIn) => {
                self.count_session();
                PathEvent::Up
            }
            Some(Event::Completed(tag, answer)) => PathEvent::Completed(tag, answer),
            Some(Event::Aborted(tag)) => {
                self.count("commands aborted");
                PathEvent::Aborted(tag)
            }
            Some(Event::Changed) => PathEvent::Changed,
            Some(Event::LogoutWanted) => PathEvent::LogoutWanted,
            Some(Event::Closed(error)) => {
                self.end_session(number, path, wire, &error.to_string())?;
                return Ok(true);
            }
            Some(Event::Targets(_)) | None => return Ok(busy),
        };
        self.hosts[number].multipath.handle_path_event(path_of(path), event, now);
        Ok(true)
    }

    fn count_session(&mut self) {
        self.report.logins += 1;
    }
}
