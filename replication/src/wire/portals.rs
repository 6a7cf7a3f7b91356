//! The bodies of frames about the portals of the heads: who holds which addresses, and who is connected to them.
//!
//! | kind | frame | body |
//! | --- | --- | --- |
//! | 32 | Portals | own addresses (1: 1 held, 2 wanted, 3 offered, 4 away), holds yours (1: 0 or 1), carrier (1: 0 or 1), 5 zero, number (8), echo (8), 0 none |
//! | 33 | Clients | per connection: family (1: 4 or 6), server address (4 or 16), port (2), client address, port; the network's byte order |

use nom::bytes::complete::{tag, take};
use nom::combinator::{map, map_opt, map_res};
use nom::multi::many0;
use nom::number::complete::{be_u16, le_u8, le_u64};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use super::Frame;
use super::control::whole;
use super::header::Kind;

/// Connections of clients that a head tells the other one of; it has no use for more.
pub const MAX_CLIENTS: usize = 1024;
/// Bytes of a Portals.
pub(super) const PORTALS_BYTES: usize = 24;
/// The longest Clients: all of them with IPv6.
pub(super) const MAX_CLIENTS_BYTES: usize = MAX_CLIENTS * 37;

/// What a head says about its own portal addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnAddresses {
    /// It holds them.
    Held,
    /// It does not hold them and wants them: give them back.
    Wanted,
    /// It does not hold them and has no use for them: take them.
    Offered,
    /// It does not hold them, or no longer, or not yet; nothing is asked.
    Away,
}

/// What a head says about portal addresses. The newest statement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortalState {
    /// About the sender's own.
    pub own: OwnAddresses,
    /// Whether the sender holds those of the receiver, or is still at removing them.
    pub holds_yours: bool,
    /// Whether clients can reach the sender, as far as it can see.
    pub carrier: bool,
    /// Counts what the sender has said about its own addresses.
    pub number: u64,
    /// The number of the receiver's newest statement that the sender has acted on; 0: none.
    pub echo: u64,
}

/// One end of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint<const N: usize> {
    /// Its address.
    pub ip: [u8; N],
    /// Its port.
    pub port: u16,
}

/// A TCP connection of a client with one of the sender's portals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientConnection {
    /// Over IPv4.
    V4 {
        /// The portal.
        server: Endpoint<4>,
        /// The initiator.
        client: Endpoint<4>,
    },
    /// Over IPv6.
    V6 {
        /// The portal.
        server: Endpoint<16>,
        /// The initiator.
        client: Endpoint<16>,
    },
}

impl OwnAddresses {
    const ALL: [(u8, Self); 4] = [(1, Self::Held), (2, Self::Wanted), (3, Self::Offered), (4, Self::Away)];

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(_, own)| *own == self).map_or(0, |(number, _)| *number)
    }
}

impl PortalState {
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend([self.own.number(), u8::from(self.holds_yours), u8::from(self.carrier)]);
        out.extend([0; 5]);
        out.extend(self.number.to_le_bytes());
        out.extend(self.echo.to_le_bytes());
    }
}

impl<const N: usize> Endpoint<N> {
    fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.ip);
        out.extend(self.port.to_be_bytes());
    }
}

impl ClientConnection {
    fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4 { server, client } => {
                out.push(4);
                server.emit(out);
                client.emit(out);
            }
            Self::V6 { server, client } => {
                out.push(6);
                server.emit(out);
                client.emit(out);
            }
        }
    }
}

/// As many as there is room for.
pub(super) fn emit_clients(clients: &[ClientConnection], out: &mut Vec<u8>) {
    clients.iter().take(MAX_CLIENTS).for_each(|client| client.emit(out));
}

/// A frame about portals; `None` if it is something else or makes no sense.
pub(super) fn parse(kind: Kind, body: &[u8]) -> Option<Frame> {
    match kind {
        Kind::Portals => whole(state, body).map(Frame::Portals),
        Kind::Clients => whole(many0(client), body).filter(|clients| clients.len() <= MAX_CLIENTS).map(Frame::Clients),
        _ => None,
    }
}

fn state(input: &[u8]) -> IResult<&[u8], PortalState> {
    let (rest, own) =
        map_opt(le_u8, |byte| OwnAddresses::ALL.iter().find(|(number, _)| *number == byte).map(|(_, own)| *own))
            .parse_complete(input)?;
    let (rest, holds_yours) = boolean(rest)?;
    let (rest, carrier) = terminated(boolean, tag(&[0; 5][..])).parse_complete(rest)?;
    let (rest, number) = le_u64(rest)?;
    let (rest, echo) = le_u64(rest)?;
    Ok((rest, PortalState { own, holds_yours, carrier, number, echo }))
}

fn boolean(input: &[u8]) -> IResult<&[u8], bool> {
    map_opt(le_u8, |byte| [false, true].get(usize::from(byte)).copied()).parse_complete(input)
}

fn client(input: &[u8]) -> IResult<&[u8], ClientConnection> {
    let v4 = map((endpoint, endpoint), |(server, client)| ClientConnection::V4 { server, client });
    let v6 = map((endpoint, endpoint), |(server, client)| ClientConnection::V6 { server, client });
    preceded(tag(&[4][..]), v4).or(preceded(tag(&[6][..]), v6)).parse_complete(input)
}

fn endpoint<const N: usize>(input: &[u8]) -> IResult<&[u8], Endpoint<N>> {
    let (rest, ip) = map_res(take(N), <[u8; N]>::try_from).parse_complete(input)?;
    let (rest, port) = be_u16(rest)?;
    Ok((rest, Endpoint { ip, port }))
}
