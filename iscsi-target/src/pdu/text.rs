//! Text Request and Response (RFC 7143 11.10, 11.11), and the text in their data segments (RFC 7143 6.1).

use nom::Parser;
use nom::bytes::complete::{is_not, take_till, take_while};
use nom::character::complete::char;
use nom::combinator::all_consuming;
use nom::multi::many0;
use nom::sequence::{separated_pair, terminated};

use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed, flag};
use super::{BHS_BYTES, CmdSn, Itt, StatSn, Ttt, opcode};

const CONTINUE: u8 = 0x40;
/// The longest key name (RFC 7143 6.1).
pub const MAX_KEY_BYTES: usize = 63;

/// Initiator to target: keys, or an empty request for the rest of a long answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// Immediate delivery.
    pub immediate: bool,
    /// F: the initiator has nothing more to negotiate.
    pub is_final: bool,
    /// C: the text goes on in the next request.
    pub text_continues: bool,
    /// As in the response that this continues, else reserved.
    pub lun: u64,
    /// The same for the whole exchange.
    pub itt: Itt,
    /// Copied from the response that this continues; reserved at the start of an exchange.
    pub ttt: Ttt,
    /// The command number.
    pub cmd_sn: CmdSn,
    /// The answer number that the initiator expects next.
    pub exp_stat_sn: StatSn,
}

/// Target to initiator: keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// F: the exchange is over.
    pub is_final: bool,
    /// C: the text goes on in the next response.
    pub text_continues: bool,
    /// Zero, or with `ttt` what the initiator is to copy.
    pub lun: u64,
    /// As in the request.
    pub itt: Itt,
    /// Set unless `is_final`.
    pub ttt: Ttt,
    /// Sequence numbers.
    pub numbers: Numbers,
}

impl TextRequest {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, lun, itt, ttt, cmd_sn, exp_stat_sn)) =
            (wire::start, wire::lun, wire::itt, wire::ttt, wire::cmd_sn, wire::stat_sn).parse(bhs)?;
        let request = Self {
            immediate: start.immediate,
            is_final: start.flags & FINAL != 0,
            text_continues: start.flags & CONTINUE != 0,
            lun,
            itt,
            ttt,
            cmd_sn,
            exp_stat_sn,
        };
        Ok((rest, request))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        let flags = flag(self.is_final, FINAL) | flag(self.text_continues, CONTINUE);
        BhsWriter::new(opcode::TEXT_REQUEST, self.immediate, flags, 0, 0)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.ttt.0)
            .be32(self.cmd_sn.0)
            .be32(self.exp_stat_sn.0)
            .finish()
    }
}

impl TextResponse {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, lun, itt, ttt, numbers)) =
            (wire::start, wire::lun, wire::itt, wire::ttt, wire::numbers).parse(bhs)?;
        let response = Self {
            is_final: start.flags & FINAL != 0,
            text_continues: start.flags & CONTINUE != 0,
            lun,
            itt,
            ttt,
            numbers,
        };
        Ok((rest, response))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        let flags = flag(self.is_final, FINAL) | flag(self.text_continues, CONTINUE);
        BhsWriter::new(opcode::TEXT_RESPONSE, false, flags, 0, 0)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.ttt.0)
            .numbers(&self.numbers)
            .finish()
    }
}

/// The key=value pairs of a text, in order; `None` if it is not one: every pair ends with a NUL, names are 1 to 63
/// bytes, everything is UTF-8. Stray NULs between pairs are let pass, because initiators pad with them.
#[must_use]
pub fn parse_keys(text: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, pairs) = all_consuming(many0(pair)).parse(text.trim_start_matches('\0')).ok()?;
    let fits = pairs.iter().all(|(name, _)| name.len() <= MAX_KEY_BYTES);
    fits.then(|| pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn pair(input: &str) -> nom::IResult<&str, (&str, &str)> {
    let value = terminated(take_till(|c| c == '\0'), char('\0'));
    terminated(separated_pair(is_not("=\0"), char('='), value), take_while(|c| c == '\0')).parse(input)
}

/// Append `name=value` and its NUL.
pub fn emit_key(text: &mut Vec<u8>, name: &str, value: &str) {
    text.extend_from_slice(name.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    text.push(0);
}

#[cfg(test)]
mod tests {
    use super::super::golden::{request, response, some_numbers};
    use super::super::{Request, Response};
    use super::*;

    #[test]
    fn golden_bytes() {
        request(
            "04800000 00000000 0000000000000000 00000007 ffffffff 00000010 00000020 00000000 00000000 00000000 00000000",
            Request::Text(TextRequest {
                immediate: false,
                is_final: true,
                text_continues: false,
                lun: 0,
                itt: Itt(7),
                ttt: Ttt::RESERVED,
                cmd_sn: CmdSn(0x10),
                exp_stat_sn: StatSn(0x20),
            }),
        );
        response(
            "24400000 00000000 0000000000000000 00000007 00000003 00000020 00000011 00000090 00000000 00000000 00000000",
            Response::Text(TextResponse {
                is_final: false,
                text_continues: true,
                lun: 0,
                itt: Itt(7),
                ttt: Ttt(3),
                numbers: some_numbers(),
            }),
        );
    }

    #[test]
    fn keys_both_ways() {
        let mut text = Vec::new();
        emit_key(&mut text, "SendTargets", "All");
        emit_key(&mut text, "X-empty", "");
        assert_eq!(text, b"SendTargets=All\0X-empty=\0");
        let keys = parse_keys(&text).unwrap();
        assert_eq!(keys, [("SendTargets".into(), "All".into()), ("X-empty".into(), String::new())]);
    }

    #[test]
    fn values_may_hold_an_equals_sign_and_padding_is_let_pass() {
        let keys = parse_keys(b"\0A=b=c\0\0\0B=\0\0").unwrap();
        assert_eq!(keys, [("A".into(), "b=c".into()), ("B".into(), String::new())]);
        assert_eq!(parse_keys(b"").unwrap(), []);
    }

    #[test]
    fn broken_texts_are_refused() {
        let long = [vec![b'k'; MAX_KEY_BYTES + 1], b"=v\0".to_vec()].concat();
        for text in [&b"A=b"[..], b"A\0", b"=b\0", b"A=\xff\0", &long] {
            assert_eq!(parse_keys(text), None, "{text:?}");
        }
    }
}
