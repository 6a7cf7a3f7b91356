//! TransportIDs of iSCSI initiator ports (SPC-4 7.6.4.6): the name, and the session that makes it a port.

use crate::scsi::InitiatorPort;

/// PROTOCOL IDENTIFIER.
const ISCSI: u8 = 0x05;
/// FORMAT CODE 01b: name and ISID.
const NAME_AND_ISID: u8 = 0b01 << 6;
const HEADER_BYTES: usize = 4;
const LEAST_NAME_BYTES: usize = 20;
/// The longest: an iSCSI name of 223 bytes, the separator, an ISID and the end.
const MOST_NAME_BYTES: usize = 244;
/// What stands between the name and the ISID.
const SEPARATOR: &str = ",i,0x";

/// `port` as a TransportID with a session identifier.
#[must_use]
pub fn emit(port: &InitiatorPort) -> Vec<u8> {
    let isid: String = port.isid.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{}{SEPARATOR}{isid}", port.name);
    let padded = (name.len() + 1).next_multiple_of(4).max(LEAST_NAME_BYTES);
    let mut bytes = vec![NAME_AND_ISID | ISCSI, 0];
    bytes.extend(u16::try_from(padded).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(name.as_bytes());
    bytes.resize(HEADER_BYTES + padded, 0);
    bytes
}

/// The port that the first TransportID of `bytes` names, and the bytes after it. Those that name a device and not a port
/// (FORMAT CODE 00b) are not understood, and neither are those of other transports.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<(InitiatorPort, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let [format, _, high, low] = *header else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if format != NAME_AND_ISID | ISCSI
        || !length.is_multiple_of(4)
        || !(LEAST_NAME_BYTES..=MOST_NAME_BYTES).contains(&length)
    {
        return None;
    }
    let (text, rest) = rest.split_at_checked(length)?;
    let text = std::str::from_utf8(text.split(|byte| *byte == 0).next()?).ok()?;
    let (name, isid) = text.split_once(SEPARATOR)?;
    if name.is_empty() || isid.len() != 12 || !isid.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(isid, 16).ok()?;
    let [_, _, isid @ ..] = number.to_be_bytes();
    Some((InitiatorPort { name: name.to_ascii_lowercase(), isid }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str) -> InitiatorPort {
        InitiatorPort { name: name.to_owned(), isid: [0x00, 0x02, 0x3d, 0xab, 0xcd, 0xef] }
    }

    #[test]
    fn golden_bytes_both_ways() {
        let bytes = [b"\x45\0\0\x18iqn.a,i,0x00023dabcdef".to_vec(), vec![0; 2]].concat();
        assert_eq!(emit(&port("iqn.a")), bytes);
        let more = [bytes.clone(), vec![7]].concat();
        assert_eq!(parse(&more), Some((port("iqn.a"), &[7][..])));
    }

    #[test]
    fn long_names_fit_and_nonsense_does_not() {
        let longest = port(&"n".repeat(223));
        assert_eq!(parse(&emit(&longest)), Some((longest, &[][..])));
        let good = emit(&port("iqn.a"));
        let spoiled = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            parse(&bytes).is_none()
        };
        assert!(spoiled(0, 0x05) && spoiled(0, 0x46) && spoiled(3, 25) && spoiled(3, 16) && spoiled(3, 255));
        assert!(spoiled(12, b'x') && spoiled(14, b'g') && spoiled(4, 0), "{good:?}");
        for length in 0..good.len() {
            assert!(parse(&good[..length]).is_none(), "{length}");
        }
    }
}
