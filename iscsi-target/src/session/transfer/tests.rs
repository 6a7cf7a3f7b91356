use super::*;
use crate::pdu::{Itt, StatSn};

fn parameters() -> Parameters {
    Parameters {
        initial_r2t: false,
        first_burst_length: 1024,
        max_burst_length: 2048,
        max_outstanding_r2t: 2,
        ..Parameters::default()
    }
}

fn data_out(ttt: Ttt, data_sn: u32, buffer_offset: u32, is_final: bool) -> DataOut {
    DataOut { is_final, lun: 0, itt: Itt(1), ttt, exp_stat_sn: StatSn(0), data_sn, buffer_offset }
}

/// Play one Data-Out PDU filled with `fill`; whether it was stored, `None` if it was unknown.
fn play(transfer: &mut Transfer, pdu: &DataOut, length: u32, fill: u8) -> Option<bool> {
    let mut place = transfer.on_data_out(&Pool::new(), pdu, length)?;
    let is_stored = store(&mut place, length, fill);
    transfer.on_data(place, true);
    Some(is_stored)
}

fn store(place: &mut Place, length: u32, fill: u8) -> bool {
    match place {
        Place::Buffer { buffer, offset } => {
            buffer[*offset..*offset + bytes(length)].fill(fill);
            true
        }
        _ => false,
    }
}

fn ask(transfer: &mut Transfer, ttt: u32) -> Option<(u32, u32, u32)> {
    let asked = transfer.poll_solicitation(&parameters(), Ttt(ttt))?;
    Some((asked.r2t_sn, asked.buffer_offset, asked.length))
}

#[test]
fn immediate_then_unsolicited_then_solicited() {
    let mut transfer = Transfer::begin(6000, 512, false, &parameters());
    let mut place = transfer.place_immediate(&Pool::new(), 512);
    store(&mut place, 512, 1);
    transfer.on_data(place, true);
    assert_eq!(ask(&mut transfer, 1), None, "unsolicited data comes first");
    assert_eq!(play(&mut transfer, &data_out(Ttt::RESERVED, 0, 512, false), 256, 2), Some(true));
    assert_eq!(play(&mut transfer, &data_out(Ttt::RESERVED, 1, 768, true), 256, 3), Some(true));
    assert_eq!(ask(&mut transfer, 1), Some((0, 1024, 2048)));
    assert_eq!(ask(&mut transfer, 2), Some((1, 3072, 2048)));
    assert_eq!(ask(&mut transfer, 3), None, "MaxOutstandingR2T");
    assert_eq!(play(&mut transfer, &data_out(Ttt(1), 0, 1024, true), 2048, 4), Some(true));
    assert_eq!(ask(&mut transfer, 3), Some((2, 5120, 880)));
    assert_eq!(play(&mut transfer, &data_out(Ttt(2), 0, 3072, false), 1024, 5), Some(true));
    assert_eq!(play(&mut transfer, &data_out(Ttt(2), 1, 4096, true), 1024, 6), Some(true));
    assert!(!transfer.is_over());
    assert_eq!(play(&mut transfer, &data_out(Ttt(3), 0, 5120, true), 880, 7), Some(true));
    assert!(transfer.is_over());
    let payload = transfer.into_payload().unwrap();
    let runs = [(1, 512), (2, 256), (3, 256), (4, 2048), (5, 1024), (6, 1024), (7, 880)];
    let expected: Vec<u8> = runs.iter().flat_map(|&(fill, count)| vec![fill; count]).collect();
    assert_eq!(&*payload, expected);
}

#[test]
fn unsolicited_data_may_end_early() {
    let mut transfer = Transfer::begin(1024, 0, false, &parameters());
    play(&mut transfer, &data_out(Ttt::RESERVED, 0, 0, true), 100, 1);
    assert_eq!(ask(&mut transfer, 1), Some((0, 100, 924)));
}

#[test]
fn a_command_without_data_is_over_at_once() {
    let transfer = Transfer::begin(0, 0, false, &parameters());
    assert!(transfer.is_over());
    assert_eq!(transfer.into_payload(), None);
}

#[test]
fn what_the_parameters_forbid_fails() {
    let strict = Parameters { initial_r2t: true, immediate_data: false, ..parameters() };
    for (expected, immediate, is_final, parameters, failure) in [
        (512, 0, false, &strict, Failure::UnexpectedUnsolicitedData),
        (512, 512, true, &strict, Failure::UnexpectedUnsolicitedData),
        (512, 513, true, &parameters(), Failure::IncorrectAmountOfData),
        (4096, 1025, true, &parameters(), Failure::IncorrectAmountOfData),
        (0, 1, true, &parameters(), Failure::IncorrectAmountOfData),
        (MAX_DATA_OUT_BYTES + 1, 0, true, &parameters(), Failure::TooLong),
    ] {
        let mut transfer = Transfer::begin(expected, immediate, is_final, parameters);
        assert_eq!(transfer.failure(), Some(failure));
        assert!(matches!(transfer.place_immediate(&Pool::new(), immediate), Place::Discard));
        assert_eq!(transfer.is_over(), is_final);
    }
}

#[test]
fn a_wrong_data_sn_fails_after_the_final_bit() {
    for data_sn in [1, 27, u32::MAX] {
        let mut transfer = Transfer::begin(1024, 0, false, &parameters());
        assert_eq!(play(&mut transfer, &data_out(Ttt::RESERVED, data_sn, 0, false), 512, 1), Some(false));
        assert!(!transfer.is_over());
        assert_eq!(play(&mut transfer, &data_out(Ttt::RESERVED, 1, 512, true), 512, 1), Some(false));
        assert!(transfer.is_over());
        assert_eq!(transfer.failure(), Some(Failure::Transport));
    }
}

#[test]
fn wrong_offsets_lengths_and_final_bits_fail() {
    for (offset, length, is_final) in [(1, 512, true), (0, 2049, true), (0, 512, true), (0, 2048, false)] {
        let mut transfer = Transfer::begin(2048, 0, true, &parameters());
        assert_eq!(ask(&mut transfer, 9), Some((0, 0, 2048)));
        assert_eq!(play(&mut transfer, &data_out(Ttt(9), 0, offset, is_final), length, 1), Some(false));
        assert_eq!(transfer.failure(), Some(Failure::IncorrectAmountOfData));
        assert_eq!(transfer.is_over(), is_final);
    }
}

#[test]
fn data_that_nobody_asked_for_is_unknown() {
    let mut transfer = Transfer::begin(2048, 0, true, &parameters());
    assert_eq!(play(&mut transfer, &data_out(Ttt::RESERVED, 0, 0, true), 512, 1), None);
    assert_eq!(play(&mut transfer, &data_out(Ttt(4), 0, 0, true), 512, 1), None);
    assert_eq!(transfer.failure(), None);
}
