//! What is said to the network, as bytes: where an address is now, and to a client that its connection is gone.
//!
//! A client whose server has vanished without a word waits for its own timers. It can be told by who has the server's
//! address now. That one has no such connection and would refuse anything that the client sends on it (RFC 9293 3.5.2,
//! RST), but an idle client sends nothing. So it is sent an acknowledgement with a sequence number that it cannot accept,
//! as if from the lost connection; to this its TCP must answer with an acknowledgement of its own (RFC 9293 3.10.7.4),
//! which brings the reset upon it. To a connection that does live, such a segment means nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use replication::wire::{ClientConnection, Endpoint};

/// A hardware address of Ethernet.
pub(super) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;

/// Frames that tell everybody on the network that `ip` is at `mac` now.
pub(super) fn announcements(mac: Mac, ip: IpAddr) -> Vec<Vec<u8>> {
    match ip {
        IpAddr::V4(ip) => vec![arp(mac, ip, ArpOperation::Request), arp(mac, ip, ArpOperation::Reply)],
        IpAddr::V6(ip) => vec![neighbour_advertisement(mac, ip)],
    }
}

/// RFC 826, "ar$op".
#[derive(Clone, Copy)]
enum ArpOperation {
    Request = 1,
    Reply = 2,
}

/// An ARP announcement (RFC 5227 2.3): sender and target are the same address. That is a request; what only listens to
/// replies is told by one.
fn arp(mac: Mac, ip: Ipv4Addr, operation: ArpOperation) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    frame.extend(1_u16.to_be_bytes()); // hardware: Ethernet
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend([6, 4]);
    frame.extend((operation as u16).to_be_bytes());
    frame.extend(mac);
    frame.extend(ip.octets());
    frame.extend(match operation {
        ArpOperation::Request => [0; 6],
        ArpOperation::Reply => mac,
    });
    frame.extend(ip.octets());
    frame
}

/// An unsolicited Neighbor Advertisement to all nodes (RFC 4861 4.4, 7.2.6), with the override flag.
fn neighbour_advertisement(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0]; // type, code, checksum, flags: override
    message.extend(ip.octets());
    message.extend([2, 1]); // option: target link-layer address, 8 bytes
    message.extend(mac);
    let sum = checksum(&[&pseudo_v6(ip, ALL_NODES, PROTOCOL_ICMPV6, message.len()), &message]);
    message[2..4].copy_from_slice(&sum);
    // RFC 2464 7: the multicast address of all nodes on Ethernet.
    let mut frame = ethernet([0x33, 0x33, 0, 0, 0, 1], mac, ETHERTYPE_IPV6);
    // 255: whoever is behind a router cannot have sent it (RFC 4861 7.1.2).
    frame.extend(header_v6(ip, ALL_NODES, PROTOCOL_ICMPV6, 255, message.len()));
    frame.extend(message);
    frame
}

/// An IP packet for the client of a connection that is gone; see the module's description.
pub(super) fn tickle(connection: &ClientConnection) -> Vec<u8> {
    match connection {
        ClientConnection::V4 { server, client } => {
            let (from, to) = (Ipv4Addr::from(server.ip), Ipv4Addr::from(client.ip));
            let pseudo = [&server.ip[..], &client.ip, &[0, PROTOCOL_TCP], &length(TCP_BYTES)].concat();
            let segment = segment(server, client, &pseudo);
            let mut packet = vec![0x45, 0]; // version, length of the header, type of service
            packet.extend(length(20 + segment.len()));
            packet.extend([0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_TCP, 0, 0]); // identification, do not fragment, checksum
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = checksum(&[&packet]);
            packet[10..12].copy_from_slice(&sum);
            packet.extend(segment);
            packet
        }
        ClientConnection::V6 { server, client } => {
            let (from, to) = (Ipv6Addr::from(server.ip), Ipv6Addr::from(client.ip));
            let segment = segment(server, client, &pseudo_v6(from, to, PROTOCOL_TCP, TCP_BYTES));
            let mut packet = header_v6(from, to, PROTOCOL_TCP, HOP_LIMIT, segment.len());
            packet.extend(segment);
            packet
        }
    }
}

const TCP_BYTES: usize = 20;

/// A TCP header without options (RFC 9293 3.1): ACK, both numbers 0.
fn segment<const N: usize>(server: &Endpoint<N>, client: &Endpoint<N>, pseudo: &[u8]) -> [u8; TCP_BYTES] {
    const ACK: u8 = 0x10;
    let mut segment = [0; TCP_BYTES];
    segment[..2].copy_from_slice(&server.port.to_be_bytes());
    segment[2..4].copy_from_slice(&client.port.to_be_bytes());
    segment[12] = 5 << 4; // data offset, in words
    segment[13] = ACK;
    let sum = checksum(&[pseudo, &segment]);
    segment[16..18].copy_from_slice(&sum);
    segment
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes()].concat()
}

fn header_v6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, hop_limit: u8, bytes: usize) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0]; // version, traffic class, flow label
    header.extend(length(bytes));
    header.extend([protocol, hop_limit]);
    header.extend(from.octets());
    header.extend(to.octets());
    header
}

/// RFC 8200 8.1.
fn pseudo_v6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, bytes: usize) -> Vec<u8> {
    [&from.octets()[..], &to.octets(), &[0, 0], &length(bytes), &[0, 0, 0, protocol]].concat()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("these packets are short").to_be_bytes()
}

/// The Internet checksum (RFC 1071) of parts of even length, one after the other.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words =
        parts.iter().flat_map(|part| part.chunks_exact(2)).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0, 0xaa, 1];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_ipv4_address_is_announced_by_a_request_and_a_reply() {
        let frames: Vec<_> = announcements(MAC, "192.0.2.1".parse().unwrap()).iter().map(|frame| hex(frame)).collect();
        let expected = [
            concat!(
                "ffffffffffff",
                "02000000aa01",
                "0806",
                "0001080006040001",
                "02000000aa01",
                "c0000201",
                "000000000000",
                "c0000201"
            ),
            concat!(
                "ffffffffffff",
                "02000000aa01",
                "0806",
                "0001080006040002",
                "02000000aa01",
                "c0000201",
                "02000000aa01",
                "c0000201"
            ),
        ];
        assert_eq!(frames, expected);
    }

    #[test]
    fn an_ipv6_address_is_announced_by_an_unsolicited_advertisement() {
        let frames = announcements(MAC, "2001:db8::1".parse().unwrap());
        assert_eq!(frames.len(), 1);
        assert_eq!(
            hex(&frames[0]),
            concat!(
                "333300000001",
                "02000000aa01",
                "86dd",
                "6000000000203aff",
                "20010db8000000000000000000000001",
                "ff020000000000000000000000000001",
                "8800",
                "4f2a",
                "20000000",
                "20010db8000000000000000000000001",
                "0201",
                "02000000aa01"
            )
        );
    }

    #[test]
    fn a_tickle_is_an_acknowledgement_that_nobody_can_accept() {
        let v4 = |last, port| Endpoint { ip: [192, 0, 2, last], port };
        let packet = tickle(&ClientConnection::V4 { server: v4(1, 3260), client: v4(9, 40000) });
        assert_eq!(
            hex(&packet),
            concat!(
                "4500002800004000",
                "4006",
                "b6c5",
                "c0000201",
                "c0000209",
                "0cbc9c40",
                "0000000000000000",
                "50100000",
                "82cd",
                "0000"
            )
        );
        let v6 = |last: u16, port| Endpoint { ip: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets(), port };
        let packet = tickle(&ClientConnection::V6 { server: v6(1, 3260), client: v6(9, 40001) });
        assert_eq!(
            hex(&packet),
            concat!(
                "60000000",
                "0014",
                "0640",
                "20010db8000000000000000000000001",
                "20010db8000000000000000000000009",
                "0cbc9c41",
                "0000000000000000",
                "50100000",
                "ab5b",
                "0000"
            )
        );
    }
}
