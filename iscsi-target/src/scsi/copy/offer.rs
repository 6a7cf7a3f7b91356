//! What there is for copies: RECEIVE COPY OPERATING PARAMETERS, and the third-party copy page of INQUIRY (SPC-4).

use super::list::{BLOCK_TO_BLOCK, IDENTIFICATION};
use super::{
    MAX_COPIES_OF_NEXUS, MAX_COPIES_OF_UNIT, MAX_CSCDS, MAX_DESCRIPTOR_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS,
};
use crate::scsi::config::UnitConfig;
use crate::scsi::opcodes::{THIRD_PARTY_COPY_IN, THIRD_PARTY_COPY_OUT, rows_of};

/// SNLID: a list needs no identifier.
const NO_IDENTIFIER_NEEDED: u8 = 0x01;
/// The descriptor types there are, in ascending order.
const IMPLEMENTED: [u8; 2] = [BLOCK_TO_BLOCK, IDENTIFICATION];

/// THIRD-PARTY COPY DESCRIPTOR TYPE.
#[derive(Clone, Copy)]
enum Type {
    SupportedCommands = 0x0001,
    ParameterData = 0x0004,
    SupportedDescriptors = 0x0008,
    GeneralCopyOperations = 0x8001,
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("a limit that fits its field").to_be_bytes()
}

fn long(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("a limit that fits its field").to_be_bytes()
}

fn max_segment_bytes() -> [u8; 4] {
    u32::try_from(MAX_SEGMENT_BYTES).expect("a limit that fits its field").to_be_bytes()
}

/// DATA SEGMENT GRANULARITY: whole blocks.
fn granularity(config: &UnitConfig) -> u8 {
    u8::try_from(config.block_bytes.ilog2()).expect("9 or 12")
}

/// The parameter data of RECEIVE COPY OPERATING PARAMETERS.
#[must_use]
pub fn operating_parameters(config: &UnitConfig) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, NO_IDENTIFIER_NEEDED, 0, 0, 0];
    bytes.extend(short(MAX_CSCDS));
    bytes.extend(short(MAX_SEGMENTS));
    bytes.extend(long(MAX_DESCRIPTOR_BYTES));
    bytes.extend(max_segment_bytes());
    bytes.resize(34, 0); // no inline data, no held data, no streams
    bytes.extend(short(MAX_COPIES_OF_UNIT));
    bytes.push(u8::try_from(MAX_COPIES_OF_NEXUS).expect("a limit that fits its field"));
    bytes.push(granularity(config));
    bytes.resize(43, 0);
    bytes.push(u8::try_from(IMPLEMENTED.len()).expect("two"));
    bytes.extend(IMPLEMENTED);
    let available = long(bytes.len() - 4);
    bytes[..4].copy_from_slice(&available);
    bytes
}

/// The body of page 8Fh.
#[must_use]
pub fn third_party_copy(config: &UnitConfig) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, Type::SupportedCommands, with_length(&supported_commands()));
    let mut parameters = vec![0; 4];
    parameters.extend(short(MAX_CSCDS));
    parameters.extend(short(MAX_SEGMENTS));
    parameters.extend(long(MAX_DESCRIPTOR_BYTES));
    parameters.resize(28, 0); // no inline data
    push(&mut bytes, Type::ParameterData, parameters);
    push(&mut bytes, Type::SupportedDescriptors, with_length(&IMPLEMENTED));
    let mut general = Vec::from(long(MAX_COPIES_OF_UNIT));
    general.extend(long(MAX_COPIES_OF_NEXUS));
    general.extend(max_segment_bytes());
    general.push(granularity(config));
    general.resize(32, 0);
    push(&mut bytes, Type::GeneralCopyOperations, general);
    bytes
}

/// Operation codes, each with its service actions.
fn supported_commands() -> Vec<u8> {
    let command = |opcode| {
        let actions: Vec<u8> = rows_of(opcode).filter_map(|row| row.service_action).collect();
        [vec![opcode, u8::try_from(actions.len()).expect("at most 32")], actions].concat()
    };
    [THIRD_PARTY_COPY_OUT, THIRD_PARTY_COPY_IN].map(command).concat()
}

fn with_length(list: &[u8]) -> Vec<u8> {
    [&[u8::try_from(list.len()).expect("a few bytes")], list].concat()
}

/// A descriptor, whose length is a multiple of four.
fn push(bytes: &mut Vec<u8>, of: Type, mut body: Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
    bytes.extend((of as u16).to_be_bytes());
    bytes.extend(short(body.len()));
    bytes.extend(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::unit::tests::config;

    #[test]
    fn operating_parameters_golden_bytes() {
        #[rustfmt::skip]
        assert_eq!(operating_parameters(&config()), [
            0, 0, 0, 42,   1, 0, 0, 0,   0, 8, 0, 64,   0, 0, 8, 0,   4, 0, 0, 0,   0, 0, 0, 0,   0, 0, 0, 0,
            0, 0, 0, 0,   0, 0, 0, 64,   16, 9, 0, 0,   0, 0, 0, 2,   0x02, 0xE4,
        ]);
        let config = UnitConfig { block_bytes: 4096, ..config() };
        assert_eq!(operating_parameters(&config)[37], 12);
    }

    #[test]
    fn page_golden_bytes() {
        let mut expected = vec![0x00, 0x01, 0, 12, 8, 0x83, 1, 0x00, 0x84, 3, 0x00, 0x03, 0x04, 0, 0, 0];
        expected.extend([0x00, 0x04, 0, 28, 0, 0, 0, 0, 0, 8, 0, 64, 0, 0, 8, 0]);
        expected.extend([0; 16]);
        expected.extend([0x00, 0x08, 0, 4, 2, 0x02, 0xE4, 0]);
        expected.extend([0x80, 0x01, 0, 32, 0, 0, 0, 64, 0, 0, 0, 16, 4, 0, 0, 0, 9]);
        expected.extend([0; 19]);
        assert_eq!(third_party_copy(&config()), expected);
    }
}
