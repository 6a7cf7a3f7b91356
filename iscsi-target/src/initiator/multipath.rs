//! Which path a command takes. Pure: events of the paths in, requests to the paths and answers out.
//!
//! ```text
//!  Down --retry_at--> Connecting --login--> Up: identify -> ask for the port groups -> I/O by the path's state
//!    ^                    |                 |  \--logout wanted, another unit--> Closing
//!    \--------- lost, refused, silent ------+----------------------------------------/
//! ```
//! I/O goes to active/optimized paths, else to active/non-optimized ones, else it waits; it is retried until a target
//! answers it for good. When only standby paths are left, one of them is activated (SET TARGET PORT GROUPS), as Linux
//! does when it changes the path group.

mod judgement;
mod member;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::command::{Answer, Command};
use super::port_groups::{Group, GroupState, Identity, parse_groups};
use super::session::Tag;
use judgement::Judgement;
use member::{Link, Member, Probe};

/// Between two attempts to connect.
pub const RECONNECT_INTERVAL: Duration = Duration::from_millis(250);
/// The same for a path that leads to another unit, and between two looks at a path that works.
const SLOW_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at a path while none works.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Between two attempts to activate.
const ACTIVATE_INTERVAL: Duration = Duration::from_millis(250);
/// In the beginning nothing is activated until each path was tried or this time is over.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// The tag of a probe; I/O counts from 0.
const PROBE: Tag = Tag(u64::MAX);

/// A path, by its place in the list of portals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathId(pub usize);

/// A command given to [`Multipath::submit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IoId(pub u64);

/// What a path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathEvent {
    /// Logged in.
    Up,
    /// Lost, or not connected at all, and why. Its commands will not be answered.
    Down(String),
    /// A command has ended.
    Completed(Tag, Answer),
    /// A command was aborted, because it took too long.
    Aborted(Tag),
    /// Ask for the state again.
    Changed,
    /// The target asks for a logout.
    LogoutWanted,
}

/// What a path is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect and log in.
    Connect(PathId),
    /// Log out.
    Disconnect(PathId),
    /// Execute a command.
    Submit(PathId, Tag, Command),
}

/// Something that a human may want to know about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which path.
    pub path: PathId,
    /// When.
    pub at: Duration,
    /// What.
    pub text: String,
}

/// See the module's description.
#[derive(Debug)]
pub struct Multipath {
    members: Vec<Member>,
    ios: BTreeMap<IoId, Command>,
    /// I/O that is on no path, the oldest first.
    waiting: BTreeSet<IoId>,
    next_io: u64,
    unit: Option<Vec<u8>>,
    settle_at: Duration,
    actions: VecDeque<Action>,
    results: VecDeque<(IoId, Answer)>,
    notices: VecDeque<Notice>,
}

impl Multipath {
    /// As many paths, all to be connected.
    #[must_use]
    pub fn new(paths: usize, now: Duration) -> Self {
        let mut multipath = Self {
            members: (0..paths).map(|_| Member::new(now)).collect(),
            ios: BTreeMap::new(),
            waiting: BTreeSet::new(),
            next_io: 0,
            unit: None,
            settle_at: now + SETTLE_TIME,
            actions: VecDeque::new(),
            results: VecDeque::new(),
            notices: VecDeque::new(),
        };
        multipath.maintain(now);
        multipath
    }

    /// Execute `command` on whatever path works.
    pub fn submit(&mut self, command: Command, now: Duration) -> IoId {
        let id = IoId(self.next_io);
        self.next_io += 1;
        self.ios.insert(id, command);
        self.waiting.insert(id);
        self.maintain(now);
        id
    }

    /// Something happened on a path.
    ///
    /// # Panics
    /// If there is no such path.
    pub fn handle_path_event(&mut self, path: PathId, event: PathEvent, now: Duration) {
        match event {
            PathEvent::Up => {
                self.members[path.0].on_up(now);
                self.note(path, now, "connected");
            }
            PathEvent::Down(reason) => self.on_down(path, &reason, now),
            PathEvent::Completed(PROBE, answer) => self.on_probe(path, &answer, now),
            PathEvent::Completed(Tag(id), answer) => self.on_answer(path, IoId(id), answer, now),
            PathEvent::Aborted(PROBE) => {
                let member = &mut self.members[path.0];
                member.probe = None;
                member.mark_stale(now);
            }
            PathEvent::Aborted(Tag(id)) => {
                // Another path may be better; if there is none it is tried again here.
                if self.members[path.0].in_flight.remove(&IoId(id)) {
                    self.members[path.0].mark_stale(now);
                    self.waiting.insert(IoId(id));
                }
            }
            PathEvent::Changed => {
                self.members[path.0].mark_stale(now);
                self.note(path, now, "told of a change");
            }
            PathEvent::LogoutWanted => self.disconnect(path),
        }
        self.maintain(now);
    }

    /// The time has come that [`Multipath::next_timeout`] gave.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.maintain(now);
    }

    /// When to call [`Multipath::handle_timeout`], if nothing happens before.
    #[must_use]
    pub fn next_timeout(&self, now: Duration) -> Option<Duration> {
        let of_members = self.members.iter().flat_map(|member| {
            let is_waiting = !self.waiting.is_empty();
            let resume_at = (is_waiting && member.rank().is_some()).then_some(member.paused_until);
            let activate_at = member.activate_at.filter(|_| is_waiting && member.can_be_activated());
            [member.next_timeout(), resume_at, activate_at]
        });
        of_members.flatten().chain([self.settle_at]).filter(|at| *at > now).min()
    }

    /// The next request to a path.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next command that is answered for good.
    pub fn poll_result(&mut self) -> Option<(IoId, Answer)> {
        self.results.pop_front()
    }

    /// The next piece of news.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether some path takes I/O now.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.members.iter().any(|member| member.rank().is_some())
    }

    /// Paths that are logged in.
    pub fn connected(&self) -> impl Iterator<Item = PathId> {
        self.members.iter().enumerate().filter(|(_, member)| member.link == Link::Up).map(|(index, _)| PathId(index))
    }

    fn on_down(&mut self, path: PathId, reason: &str, now: Duration) {
        let member = &mut self.members[path.0];
        let was_up = matches!(member.link, Link::Up | Link::Closing);
        let worked = member.rank().is_some();
        let is_news = was_up || !member.is_tried;
        let interval = if member.is_refused { SLOW_INTERVAL } else { RECONNECT_INTERVAL };
        member.link = Link::Down { retry_at: now + interval };
        member.state = None;
        member.probe = None;
        member.is_tried = true;
        self.waiting.append(&mut member.in_flight);
        if is_news {
            self.note(path, now, format!("{}: {reason}", if was_up { "lost" } else { "not connected" }));
        }
        // The other head may have taken over, or may have to be asked to.
        for other in self.members.iter_mut().filter(|other| worked && other.rank().is_none()) {
            other.refresh_at = now;
        }
    }

    fn on_answer(&mut self, path: PathId, id: IoId, answer: Answer, now: Duration) {
        let member = &mut self.members[path.0];
        if !member.in_flight.remove(&id) {
            return;
        }
        if self.judge(path, &answer, now) {
            self.ios.remove(&id);
            self.results.push_back((id, answer));
        } else {
            self.waiting.insert(id);
        }
    }

    /// Learn what an answer tells about its path; whether the answer is final.
    fn judge(&mut self, path: PathId, answer: &Answer, now: Duration) -> bool {
        let member = &mut self.members[path.0];
        match Judgement::of(answer) {
            Judgement::Final => return true,
            Judgement::Refresh => member.mark_stale(now),
            Judgement::Pause(pause) => member.paused_until = member.paused_until.max(now + pause),
            Judgement::State(state) => self.learn(path, state, now),
        }
        false
    }

    fn learn(&mut self, path: PathId, state: GroupState, now: Duration) {
        let is_working_elsewhere = self.is_working();
        let member = &mut self.members[path.0];
        let is_news = member.state != Some(state);
        member.state = Some(state);
        member.is_stale = false;
        member.refresh_at = now
            + match state {
                GroupState::ActiveOptimized | GroupState::ActiveNonOptimized => SLOW_INTERVAL,
                GroupState::Transitioning => POLL_INTERVAL,
                // What was active a moment ago and is not any more: the other paths know more, and so does this one soon.
                _ if !is_working_elsewhere || is_news => POLL_INTERVAL,
                _ => SLOW_INTERVAL,
            };
        if is_news {
            self.note(path, now, format!("{state}"));
            for (_, other) in self.members.iter_mut().enumerate().filter(|(index, _)| *index != path.0) {
                other.refresh_at = now;
            }
        }
    }

    fn on_probe(&mut self, path: PathId, answer: &Answer, now: Duration) {
        let member = &mut self.members[path.0];
        let Some(probe) = member.probe.take() else { return };
        member.refresh_at = now + POLL_INTERVAL;
        match (probe, Judgement::of(answer)) {
            (Probe::Identify, Judgement::Final) => self.on_identity(path, answer, now),
            (Probe::Groups, Judgement::Final) => self.on_groups(path, answer, now),
            (Probe::Activate, Judgement::Final) => self.on_activated(path, answer, now),
            (Probe::Activate, _) => {
                member.activate_at = Some(now + ACTIVATE_INTERVAL);
                self.judge(path, answer, now);
            }
            (_, Judgement::Refresh) => member.mark_stale(now),
            (_, Judgement::State(state)) => self.learn(path, state, now),
            (_, Judgement::Pause(_)) => {}
        }
    }

    fn on_identity(&mut self, path: PathId, answer: &Answer, now: Duration) {
        // Old targets have no such page: a unit without a name and without ALUA.
        let identity = if answer.is_good() { Identity::parse(&answer.data) } else { None }.unwrap_or_default();
        if let (Some(known), Some(found)) = (&self.unit, &identity.unit)
            && known != found
        {
            self.note(path, now, "leads to another logical unit and is not used");
            self.members[path.0].is_refused = true;
            return self.disconnect(path);
        }
        self.unit = self.unit.take().or_else(|| identity.unit.clone());
        let has_groups = identity.group.is_some();
        let member = &mut self.members[path.0];
        member.identity = Some(identity);
        member.refresh_at = now;
        member.is_stale = has_groups;
        if !has_groups {
            self.learn(path, GroupState::ActiveOptimized, now);
        }
    }

    fn on_groups(&mut self, path: PathId, answer: &Answer, now: Duration) {
        let member = &mut self.members[path.0];
        if !answer.is_good() {
            if std::mem::take(&mut member.extended) {
                member.refresh_at = now;
            } else {
                self.learn(path, GroupState::ActiveOptimized, now);
            }
            return;
        }
        let own = member.group();
        let groups: Vec<Group> = parse_groups(&answer.data).unwrap_or_default();
        if let Some(group) = groups.iter().find(|group| Some(group.id) == own) {
            self.learn(path, group.state, now);
        }
        // Each path is believed about itself only; when another one says otherwise, it is asked.
        for member in &mut self.members {
            let says = groups.iter().find(|group| Some(group.id) == member.group() && Some(group.id) != own);
            if says.is_some_and(|group| member.state.is_some_and(|state| state != group.state)) {
                member.refresh_at = member.refresh_at.min(now + POLL_INTERVAL);
            }
        }
    }

    fn on_activated(&mut self, path: PathId, answer: &Answer, now: Duration) {
        let member = &mut self.members[path.0];
        let is_unknown = answer.sense.is_some_and(|sense| sense.key == 0x05);
        member.activate_at = (!is_unknown).then_some(now + ACTIVATE_INTERVAL);
        member.mark_stale(now);
        let outcome = if answer.is_good() { "activated".to_owned() } else { format!("not activated: {answer}") };
        self.note(path, now, outcome);
    }

    fn disconnect(&mut self, path: PathId) {
        let member = &mut self.members[path.0];
        if member.link == Link::Up {
            member.link = Link::Closing;
            self.actions.push_back(Action::Disconnect(path));
        }
    }

    /// What is due, whatever happened last.
    fn maintain(&mut self, now: Duration) {
        for index in 0..self.members.len() {
            self.connect_or_probe(PathId(index), now);
        }
        if !self.waiting.is_empty() {
            self.activate_if_needed(now);
            self.dispatch(now);
        }
    }

    fn connect_or_probe(&mut self, path: PathId, now: Duration) {
        let member = &mut self.members[path.0];
        match member.link {
            Link::Down { retry_at } if retry_at <= now => {
                member.link = Link::Connecting;
                self.actions.push_back(Action::Connect(path));
            }
            _ => {
                if let Some(probe) = member.due_probe(now) {
                    self.probe(path, probe);
                }
            }
        }
    }

    fn probe(&mut self, path: PathId, probe: Probe) {
        let member = &mut self.members[path.0];
        let command = match probe {
            Probe::Identify => Command::inquiry_device_identification(),
            Probe::Groups => Command::report_target_port_groups(member.extended),
            Probe::Activate => Command::activate(member.group().unwrap_or_default()),
        };
        member.probe = Some(probe);
        self.actions.push_back(Action::Submit(path, PROBE, command));
    }

    fn activate_if_needed(&mut self, now: Duration) {
        let is_settled = now >= self.settle_at || self.members.iter().all(|member| member.is_tried);
        if !is_settled || self.is_working() || self.members.iter().any(Member::is_undecided) {
            return;
        }
        let is_due = |member: &Member| member.can_be_activated() && member.activate_at.is_some_and(|at| at <= now);
        let of_state = |state| move |member: &Member| is_due(member) && member.state == Some(state);
        let position = |state| self.members.iter().position(of_state(state));
        if let Some(index) = position(GroupState::Standby).or_else(|| position(GroupState::Unavailable)) {
            self.probe(PathId(index), Probe::Activate);
        }
    }

    fn dispatch(&mut self, now: Duration) {
        let Some(best) = self.members.iter().filter_map(Member::rank).min() else { return };
        while let Some(id) = self.waiting.first().copied() {
            let takes_io = |member: &Member| member.rank() == Some(best) && member.paused_until <= now;
            let candidates = (0..self.members.len()).filter(|index| takes_io(&self.members[*index]));
            let Some(index) = candidates.min_by_key(|index| self.members[*index].in_flight.len()) else { return };
            self.waiting.pop_first();
            if let Some(command) = self.ios.get(&id) {
                self.members[index].in_flight.insert(id);
                self.actions.push_back(Action::Submit(PathId(index), Tag(id.0), command.clone()));
            }
        }
    }

    fn note(&mut self, path: PathId, at: Duration, text: impl Into<String>) {
        self.notices.push_back(Notice { path, at, text: text.into() });
    }
}
