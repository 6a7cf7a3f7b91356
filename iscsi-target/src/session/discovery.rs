//! Text exchanges in full feature phase (RFC 7143 11.10): SendTargets above all, in as many parts as it takes.

use super::SessionType;
use super::keys::{Negotiation, TextStage};
use super::limits::{MAX_KEYS, MAX_TEXT_BYTES};
use super::portal::PortalConfig;
use crate::pdu::reject::RejectReason;
use crate::pdu::text::{TextRequest, TextResponse, emit_key, parse_keys};
use crate::pdu::{Itt, Numbers, Ttt};

const SEND_TARGETS: &str = "SendTargets";

/// The one exchange that a connection may have open.
#[derive(Debug)]
pub(super) struct TextExchange {
    state: State,
    next_ttt: u32,
    /// Whether this initiator may use the target, and so hears where it is.
    shows_target: bool,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Parts of the request have come, the last one has not.
    Asking {
        itt: Itt,
        ttt: Ttt,
        text: Vec<u8>,
    },
    /// Parts of the answer have gone; `text` is the rest.
    Answering {
        itt: Itt,
        ttt: Ttt,
        text: Vec<u8>,
    },
}

impl TextExchange {
    pub(super) fn new(shows_target: bool) -> Self {
        Self { state: State::Idle, next_ttt: 1, shows_target }
    }

    /// The answer to one request, or why it is refused (which ends the exchange).
    pub(super) fn handle(
        &mut self,
        portal: &PortalConfig,
        negotiation: &mut Negotiation,
        request: &TextRequest,
        text: &[u8],
    ) -> Result<(TextResponse, Vec<u8>), RejectReason> {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let mut collected = match state {
            // A reserved tag begins a new exchange, whatever there was before.
            _ if request.ttt == Ttt::RESERVED => Vec::new(),
            State::Asking { itt, ttt, text } if (itt, ttt) == (request.itt, request.ttt) => text,
            State::Answering { itt, ttt, text: rest } if (itt, ttt) == (request.itt, request.ttt) => {
                let is_pure_continuation = text.is_empty() && !request.text_continues;
                return if is_pure_continuation {
                    Ok(self.answer(negotiation, request, rest))
                } else {
                    Err(RejectReason::ProtocolError)
                };
            }
            _ => return Err(RejectReason::InvalidPduField),
        };
        if collected.len() + text.len() > MAX_TEXT_BYTES {
            return Err(RejectReason::LongOperationReject);
        }
        collected.extend_from_slice(text);
        if request.text_continues {
            if request.is_final {
                return Err(RejectReason::ProtocolError);
            }
            let ttt = self.take_ttt();
            self.state = State::Asking { itt: request.itt, ttt, text: collected };
            return Ok((response(request, false, false, ttt), Vec::new()));
        }
        let answers = answer_keys(portal, self.shows_target, negotiation, &collected)?;
        Ok(self.answer(negotiation, request, answers))
    }

    /// As much of `text` as one PDU may carry; the rest waits for the next request.
    fn answer(
        &mut self,
        negotiation: &Negotiation,
        request: &TextRequest,
        mut text: Vec<u8>,
    ) -> (TextResponse, Vec<u8>) {
        let limit = usize::try_from(negotiation.parameters.max_recv_data_segment_length).unwrap_or(usize::MAX);
        let rest = text.split_off(text.len().min(limit));
        if rest.is_empty() && request.is_final {
            return (response(request, true, false, Ttt::RESERVED), text);
        }
        let ttt = self.take_ttt();
        let text_continues = !rest.is_empty();
        self.state = if text_continues {
            State::Answering { itt: request.itt, ttt, text: rest }
        } else {
            State::Asking { itt: request.itt, ttt, text: Vec::new() }
        };
        (response(request, false, text_continues, ttt), text)
    }

    fn take_ttt(&mut self) -> Ttt {
        let ttt = Ttt(self.next_ttt);
        self.next_ttt = if self.next_ttt == Ttt::RESERVED.0 - 1 { 1 } else { self.next_ttt + 1 };
        ttt
    }
}

fn response(request: &TextRequest, is_final: bool, text_continues: bool, ttt: Ttt) -> TextResponse {
    TextResponse { is_final, text_continues, lun: 0, itt: request.itt, ttt, numbers: Numbers::default() }
}

fn answer_keys(
    portal: &PortalConfig,
    shows_target: bool,
    negotiation: &mut Negotiation,
    text: &[u8],
) -> Result<Vec<u8>, RejectReason> {
    let keys = parse_keys(text).filter(|keys| keys.len() <= MAX_KEYS).ok_or(RejectReason::ProtocolError)?;
    // "NotUnderstood" belongs into a negotiation. When a whole request is strange there is nothing to negotiate, and
    // initiators expect it to fail (libiscsi's SendTargets.Invalid); vendors' keys excepted.
    if !keys.is_empty() && keys.iter().all(|(name, _)| is_strange(name)) {
        return Err(RejectReason::CommandNotSupported);
    }
    let mut answers = Vec::new();
    let mut targets_sent = false;
    for (name, value) in &keys {
        if name == SEND_TARGETS {
            if std::mem::replace(&mut targets_sent, true) {
                return Err(RejectReason::ProtocolError);
            }
            if names_us(value, negotiation.session_type, portal)? && shows_target {
                emit_target(&mut answers, portal);
            }
            continue;
        }
        let answer = negotiation.offer(TextStage::FullFeature, name, value);
        if let Some(answer) = answer.map_err(|_| RejectReason::ProtocolError)? {
            emit_key(&mut answers, name, &answer);
        }
    }
    Ok(answers)
}

fn is_strange(name: &str) -> bool {
    name != SEND_TARGETS && !name.starts_with("X-") && !Negotiation::understands(name)
}

/// Whether a SendTargets asks for the one target that there is (RFC 7143, appendix C). Asking a normal session for all
/// targets is let pass, because initiators do it (libiscsi's SendTargets.Simple) and learn no more than from "".
fn names_us(value: &str, session_type: Option<SessionType>, portal: &PortalConfig) -> Result<bool, RejectReason> {
    match (value, session_type) {
        ("All", _) | ("", Some(SessionType::Normal)) => Ok(true),
        (name, _) if ["iqn.", "eui.", "naa."].iter().any(|kind| name.starts_with(kind)) => {
            Ok(name == portal.target_name)
        }
        _ => Err(RejectReason::InvalidPduField),
    }
}

fn emit_target(answers: &mut Vec<u8>, portal: &PortalConfig) {
    emit_key(answers, "TargetName", &portal.target_name);
    for at in &portal.portals {
        emit_key(answers, "TargetAddress", &format!("{},{}", at.address, at.target_portal_group_tag));
    }
}

#[cfg(test)]
mod tests {
    use super::super::portal::PortalAddress;
    use super::*;
    use crate::pdu::{CmdSn, StatSn};

    fn portal() -> PortalConfig {
        let at = |tag, address: &str| PortalAddress { target_portal_group_tag: tag, address: address.into() };
        PortalConfig {
            target_name: "iqn.us".into(),
            target_alias: String::new(),
            target_portal_group_tag: 1,
            portals: vec![at(1, "10.0.0.1:3260"), at(2, "[fd00::2]:3260")],
        }
    }

    fn request(ttt: Ttt, is_final: bool, text_continues: bool) -> TextRequest {
        let (cmd_sn, exp_stat_sn) = (CmdSn(1), StatSn(1));
        TextRequest { immediate: false, is_final, text_continues, lun: 0, itt: Itt(5), ttt, cmd_sn, exp_stat_sn }
    }

    fn negotiation(session_type: SessionType) -> Negotiation {
        let mut negotiation = Negotiation::default();
        negotiation.session_type = Some(session_type);
        negotiation
    }

    fn ask(session_type: SessionType, text: &[u8]) -> Vec<u8> {
        let whole = request(Ttt::RESERVED, true, false);
        let (response, answer) =
            TextExchange::new(true).handle(&portal(), &mut negotiation(session_type), &whole, text).unwrap();
        assert!(response.is_final && response.ttt == Ttt::RESERVED);
        answer
    }

    const ALL: &[u8] = b"TargetName=iqn.us\0TargetAddress=10.0.0.1:3260,1\0TargetAddress=[fd00::2]:3260,2\0";

    #[test]
    fn send_targets() {
        use SessionType::{Discovery, Normal};
        for (session_type, text, answer) in [
            (Discovery, &b"SendTargets=All\0"[..], ALL),
            (Discovery, b"SendTargets=iqn.us\0", ALL),
            (Discovery, b"SendTargets=iqn.other\0", b""),
            (Normal, b"SendTargets=\0", ALL),
            (Normal, b"SendTargets=iqn.us\0", ALL),
            (Normal, b"SendTargets=All\0", ALL),
            (Normal, b"X-key=1\0", b"X-key=NotUnderstood\0"),
            (Normal, b"MaxBurstLength=512\0", b"MaxBurstLength=Reject\0"),
            (Normal, b"MaxRecvDataSegmentLength=1024\0", b""),
        ] {
            assert_eq!(ask(session_type, text), answer, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn who_may_not_use_the_target_does_not_hear_of_it() {
        let whole = request(Ttt::RESERVED, true, false);
        for text in [&b"SendTargets=All\0"[..], b"SendTargets=iqn.us\0"] {
            let mut exchange = TextExchange::new(false);
            let answer = exchange.handle(&portal(), &mut negotiation(SessionType::Discovery), &whole, text);
            assert_eq!(answer.unwrap().1, b"");
        }
    }

    #[test]
    fn a_long_answer_comes_in_parts() {
        let mut exchange = TextExchange::new(true);
        let mut negotiation = negotiation(SessionType::Discovery);
        negotiation.parameters.max_recv_data_segment_length = 30;
        let mut answer = Vec::new();
        let mut next = request(Ttt::RESERVED, true, false);
        let mut text = &b"SendTargets=All\0"[..];
        loop {
            let (response, part) = exchange.handle(&portal(), &mut negotiation, &next, text).unwrap();
            assert!(part.len() <= 30);
            answer.extend(part);
            assert_eq!(response.is_final, !response.text_continues);
            if response.is_final {
                break;
            }
            (next, text) = (request(response.ttt, true, false), &[]);
        }
        assert_eq!(answer, ALL);
    }

    #[test]
    fn a_long_request_comes_in_parts() {
        let mut exchange = TextExchange::new(true);
        let mut negotiation = negotiation(SessionType::Discovery);
        let (response, part) =
            exchange.handle(&portal(), &mut negotiation, &request(Ttt::RESERVED, false, true), b"SendTar").unwrap();
        assert!(part.is_empty() && !response.is_final && response.ttt != Ttt::RESERVED);
        let last = request(response.ttt, true, false);
        let (_, answer) = exchange.handle(&portal(), &mut negotiation, &last, b"gets=All\0").unwrap();
        assert_eq!(answer, ALL);
        assert_eq!(exchange.handle(&portal(), &mut negotiation, &last, b""), Err(RejectReason::InvalidPduField));
    }

    #[test]
    fn broken_requests_are_refused() {
        let mut negotiation = negotiation(SessionType::Discovery);
        let mut refuse = |request: &TextRequest, text: &[u8]| {
            TextExchange::new(true).handle(&portal(), &mut negotiation, request, text).unwrap_err()
        };
        let whole = request(Ttt::RESERVED, true, false);
        for (text, reason) in [
            (&b"no key"[..], RejectReason::ProtocolError),
            (b"SendTargets=\0", RejectReason::InvalidPduField),
            (b"SendTargets=Alle\0", RejectReason::InvalidPduField),
            (b"SendTargets=All\0SendTargets=All\0", RejectReason::ProtocolError),
            (b"SendTargetsPlease=All\0", RejectReason::CommandNotSupported),
            (b"sENDtARGETS=aLL\0", RejectReason::CommandNotSupported),
        ] {
            assert_eq!(refuse(&whole, text), reason, "{}", text.escape_ascii());
        }
        assert_eq!(refuse(&whole, &vec![0; MAX_TEXT_BYTES + 1]), RejectReason::LongOperationReject);
        assert_eq!(refuse(&request(Ttt::RESERVED, true, true), b""), RejectReason::ProtocolError);
        assert_eq!(refuse(&request(Ttt(77), true, false), b""), RejectReason::InvalidPduField);
    }
}
