//! Initiators that mean no good, all at once: `hostile PORTAL IQN SECONDS`. Each kind has an address of its own on the
//! loopback.
//!
//! * a storm: connections that never log in, with half a header or none;
//! * the impatient: log in, do nothing, and come again;
//! * slow readers: ask for all that they may, and never read an answer;
//! * hogs: announce writes of which they send the beginning only, and reads for which they have no room.
//!
//! Prints what the target said to them, as JSON.

#![expect(clippy::disallowed_methods, reason = "it has no core: it watches the clock until its time is over")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use iscsi_target::pdu::command::{Attribute, ScsiCommand};
use iscsi_target::pdu::digest::Digests;
use iscsi_target::pdu::login::{LoginRequest, LoginStatus};
use iscsi_target::pdu::text::emit_key;
use iscsi_target::pdu::{BHS_BYTES, CmdSn, Header, Itt, Request, Response, StatSn, Transmit};
use socket2::{Domain, Socket, Type};

/// No more connections than these, however long it takes.
const CONNECTIONS_MAX: usize = 20_000;
/// Between two of them: the machine is shared with who does the work.
const PACE: Duration = Duration::from_millis(1);
/// Connections that one storm holds.
const HELD: usize = 300;
const PATIENCE: Duration = Duration::from_secs(2);
const MIB: u32 = 1 << 20;

type Outcome = Result<TcpStream, &'static str>;

#[derive(Clone)]
struct Victim {
    portal: SocketAddr,
    iqn: String,
    until: Instant,
}

impl Victim {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn connect(&self, from: u8) -> Outcome {
        let connect = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)).into())?;
            socket.connect_timeout(&self.portal.into(), PATIENCE)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            std::io::Result::Ok(TcpStream::from(socket))
        };
        connect().map_err(|_| "not connected")
    }

    /// Ask to be let in, and wait for no answer.
    fn ask(&self, from: u8, isid: u8, session: &str) -> Outcome {
        let mut stream = self.connect(from)?;
        let mut text = Vec::new();
        let name = format!("iqn.2026-11.com.example:hostile{from}");
        for (key, value) in [
            ("InitiatorName", name.as_str()),
            ("TargetName", &self.iqn),
            ("SessionType", session),
            ("InitialR2T", "Yes"),
            ("ImmediateData", "Yes"),
            ("MaxRecvDataSegmentLength", "16777215"),
        ] {
            emit_key(&mut text, key, value);
        }
        send(&mut stream, &login(isid).emit(), text)?;
        Ok(stream)
    }

    fn log_in(&self, from: u8, isid: u8) -> Outcome {
        let mut stream = self.ask(from, isid, "Normal")?;
        let mut bhs = [0; BHS_BYTES];
        stream.read_exact(&mut bhs).map_err(|_| "closed")?;
        let header = Header { bhs, ahs: Vec::new() };
        let mut answer = vec![0; header.data_segment_length().next_multiple_of(4)];
        stream.read_exact(&mut answer).map_err(|_| "closed")?;
        match Response::parse(&header) {
            Ok(Response::Login(login)) if login.status == LoginStatus::SUCCESS => Ok(stream),
            Ok(Response::Login(login)) if login.status == LoginStatus::SERVICE_UNAVAILABLE => Err("unavailable"),
            _ => Err("refused otherwise"),
        }
    }
}

fn login(isid: u8) -> Request {
    Request::Login(LoginRequest::new([0x80, 0, 0, 0, 0, isid], CmdSn(1)))
}

fn send(stream: &mut TcpStream, header: &Header, data: Vec<u8>) -> Result<(), &'static str> {
    let data = if data.is_empty() { vec![] } else { vec![data.into()] };
    let bytes = Transmit::new(header, data, Digests::default()).to_vec();
    stream.write_all(&bytes).map_err(|_| "closed")
}

/// READ(16) or WRITE(16) of `blocks` blocks that announces `announced` bytes.
fn command(nth: u32, write: bool, blocks: u32, announced: u32) -> Header {
    let mut cdb = vec![0; 16];
    cdb[0] = if write { 0x8A } else { 0x88 };
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    let command = ScsiCommand {
        immediate: false,
        is_final: true,
        read: !write,
        write,
        attribute: Attribute::Simple,
        lun: 0,
        itt: Itt(nth),
        expected_data_transfer_length: announced,
        cmd_sn: CmdSn(nth),
        exp_stat_sn: StatSn(2),
        cdb,
        bidirectional_read_length: None,
    };
    Request::ScsiCommand(command).emit()
}

/// Its name, and what it does.
type Kind = (&'static str, fn(&Victim) -> Heard);

/// What was said, and how often.
type Heard = BTreeMap<&'static str, usize>;

fn storm(victim: &Victim) -> Heard {
    let (mut heard, mut held) = (Heard::new(), VecDeque::new());
    let header = login(0).emit().bhs;
    for nth in 0..CONNECTIONS_MAX {
        if victim.is_over() {
            break;
        }
        match victim.connect(2) {
            Ok(mut stream) => {
                // Whether that is taken or not: it is not meant to lead anywhere.
                stream.write_all(&header[..nth % BHS_BYTES]).ok();
                held.push_back(stream);
                *heard.entry("connected").or_default() += 1;
            }
            Err(why) => *heard.entry(why).or_default() += 1,
        }
        if held.len() > HELD {
            held.pop_front();
        }
        thread::sleep(PACE);
    }
    heard
}

fn impatient(victim: &Victim) -> Heard {
    let mut heard = Heard::new();
    for nth in 0..CONNECTIONS_MAX {
        if victim.is_over() {
            break;
        }
        // One address has connections that do not log in beside those that do.
        let from = if nth % 2 == 0 { 2 } else { 3 };
        let said = match nth / 2 % 3 {
            0 => victim.ask(from, 0, "Discovery").map_or_else(|why| why, |_| "gone at once"),
            1 => victim.ask(from, 0, "Normal").map_or_else(|why| why, |_| "gone at once"),
            _ => victim.log_in(from, 0).map_or_else(|why| why, |_| "logged in"),
        };
        *heard.entry(said).or_default() += 1;
        thread::sleep(PACE);
    }
    heard
}

/// Sessions that send what `abuse` says as long as it is taken, and stay.
fn sessions(victim: &Victim, from: u8, abuse: impl Fn(&mut TcpStream, u32) -> Result<(), &'static str>) -> Heard {
    let (mut heard, mut held) = (Heard::new(), Vec::new());
    for isid in 0..8 {
        match victim.log_in(from, isid) {
            Ok(mut stream) => {
                let sent = (1..=128).take_while(|nth| abuse(&mut stream, *nth).is_ok()).count();
                *heard.entry("commands").or_default() += sent;
                held.push(stream);
            }
            Err(why) => *heard.entry(why).or_default() += 1,
        }
    }
    while !victim.is_over() {
        thread::sleep(Duration::from_millis(50));
    }
    heard
}

fn slow_reader(victim: &Victim) -> Heard {
    sessions(victim, 4, |stream, nth| send(stream, &command(nth, false, 16 * MIB / 512, 16 * MIB), Vec::new()))
}

fn writing_hog(victim: &Victim) -> Heard {
    sessions(victim, 5, |stream, nth| send(stream, &command(nth, true, 16 * MIB / 512, 16 * MIB), vec![7; 65_536]))
}

fn reading_hog(victim: &Victim) -> Heard {
    sessions(victim, 6, |stream, nth| send(stream, &command(nth, false, 16 * MIB / 512, 0), Vec::new()))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [portal, iqn, seconds] = arguments.as_slice() else {
        eprintln!("usage: hostile PORTAL IQN SECONDS");
        return ExitCode::from(2);
    };
    let (Ok(portal), Ok(seconds)) = (portal.parse(), seconds.parse()) else {
        eprintln!("PORTAL is an IPv4 address with a port, SECONDS a number");
        return ExitCode::from(2);
    };
    let victim = Victim { portal, iqn: iqn.clone(), until: Instant::now() + Duration::from_secs(seconds) };
    let kinds: [Kind; 5] = [
        ("storm", storm),
        ("impatient", impatient),
        ("slow_reader", slow_reader),
        ("writing_hog", writing_hog),
        ("reading_hog", reading_hog),
    ];
    let threads = kinds.map(|(name, run)| {
        let victim = victim.clone();
        (name, thread::spawn(move || run(&victim)))
    });
    let heard: Vec<String> = threads
        .into_iter()
        .map(|(name, thread)| match thread.join() {
            Ok(heard) => {
                let counts: Vec<_> = heard.iter().map(|(what, count)| format!("\"{what}\":{count}")).collect();
                format!("\"{name}\":{{{}}}", counts.join(","))
            }
            Err(_) => format!("\"{name}\":null"),
        })
        .collect();
    println!("{{{}}}", heard.join(","));
    ExitCode::SUCCESS
}
