use sas_backend::buffer::Pool;

use super::*;

const READ: Announced = Announced { read: true, write: false, data_in: 1000, data_out: 0 };

fn good(data_in: DataIn) -> scsi::Response {
    scsi::Response { status: Status::Good, sense: Vec::new(), data_in, data_out_wanted: None, data_in_wanted: None }
}

fn parameters() -> Parameters {
    Parameters { max_burst_length: 700, max_recv_data_segment_length: 512, ..Parameters::default() }
}

fn all(announced: Announced, response: scsi::Response) -> Vec<(Response, Vec<u8>)> {
    let mut answer = CommandAnswer::new(Itt(7), announced, 3, response, &parameters());
    let mut pdus = Vec::new();
    while !answer.is_finished() {
        let (pdu, data) = answer.next_pdu();
        pdus.push((pdu, data.iter().flat_map(|segment| segment.to_vec()).collect()));
    }
    pdus
}

/// DataSN, offset, length, F bit, status of each Data-In.
fn shape(pdus: &[(Response, Vec<u8>)]) -> Vec<(u32, u32, usize, bool, bool)> {
    let data_in = pdus.iter().filter_map(|(pdu, data)| match pdu {
        Response::DataIn(pdu) => Some((pdu.data_sn, pdu.buffer_offset, data.len(), pdu.is_final, pdu.status.is_some())),
        _ => None,
    });
    data_in.collect()
}

fn scsi_response(pdus: &[(Response, Vec<u8>)]) -> &ScsiResponse {
    match pdus {
        [.., (Response::ScsiResponse(response), _)] => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn data_in_follows_both_limits_and_ends_with_the_status() {
    let pool = Pool::new();
    let bytes: Vec<u8> = (0..1000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let blocks = vec![pool.copy_of(&bytes[..600]), pool.copy_of(&[]), pool.copy_of(&bytes[600..])];
    let pdus = all(READ, good(DataIn::Blocks(blocks)));
    let expected = [(0, 0, 512, false, false), (1, 512, 188, true, false), (2, 700, 300, true, true)];
    assert_eq!(shape(&pdus), expected);
    assert_eq!(pdus.len(), 3);
    let sent: Vec<u8> = pdus.into_iter().flat_map(|(_, data)| data).collect();
    assert_eq!(sent, bytes);
}

#[test]
fn too_little_and_too_much_data_in_leave_a_residual() {
    let short = all(READ, good(DataIn::Parameters(vec![1; 36])));
    assert!(matches!(&short[0].0, Response::DataIn(pdu) if pdu.status == Some((0, Residual::Underflow(964)))));
    let long = all(READ, good(DataIn::Parameters(vec![1; 1536])));
    assert_eq!(shape(&long).iter().map(|pdu| pdu.2).sum::<usize>(), 1000);
    assert!(matches!(&long[2].0, Response::DataIn(pdu) if pdu.status == Some((0, Residual::Overflow(536)))));
    let nothing = all(Announced { data_in: 0, ..READ }, good(DataIn::Parameters(vec![1; 512])));
    assert_eq!(scsi_response(&nothing).residual, Residual::Overflow(512));
    assert_eq!(nothing.len(), 1);
    let unread = scsi::Response { data_in_wanted: Some(512), ..good(DataIn::None) };
    assert_eq!(scsi_response(&all(Announced { data_in: 0, ..READ }, unread)).residual, Residual::Overflow(512));
}

#[test]
fn data_out_residuals_count_what_the_command_wanted() {
    let write = Announced { read: false, write: true, data_in: 0, data_out: 1024 };
    for (wanted, residual) in [
        (None, Residual::None),
        (Some(1024), Residual::None),
        (Some(512), Residual::Underflow(512)),
        (Some(2048), Residual::Overflow(1024)),
    ] {
        let response = scsi::Response { data_out_wanted: wanted, ..good(DataIn::None) };
        let pdus = all(write, response);
        assert_eq!(scsi_response(&pdus).residual, residual);
        assert_eq!(scsi_response(&pdus).exp_data_sn, 3);
    }
    let neither = Announced { read: false, write: false, data_in: 0, data_out: 0 };
    let response = scsi::Response { data_out_wanted: Some(512), ..good(DataIn::None) };
    assert_eq!(scsi_response(&all(neither, response)).residual, Residual::Overflow(512));
    assert_eq!(scsi_response(&all(neither, good(DataIn::Parameters(vec![0; 8])))).residual, Residual::Overflow(8));
}

#[test]
fn a_bidirectional_command_counts_both_ways_in_a_response() {
    let both = Announced { read: true, write: true, data_in: 100, data_out: 200 };
    let response = scsi::Response { data_out_wanted: Some(150), ..good(DataIn::Parameters(vec![0; 60])) };
    let pdus = all(both, response);
    assert_eq!(shape(&pdus), [(0, 0, 60, true, false)]);
    assert_eq!(scsi_response(&pdus).residual, Residual::Underflow(50));
    assert_eq!(scsi_response(&pdus).bidirectional_read_residual, Residual::Underflow(40));
}

#[test]
fn sense_comes_in_a_response_behind_the_data() {
    let response = scsi::Response {
        status: Status::CheckCondition,
        sense: vec![0x70, 0, 3],
        data_in: DataIn::Parameters(vec![9; 512]),
        data_out_wanted: None,
        data_in_wanted: None,
    };
    let pdus = all(READ, response);
    assert_eq!(shape(&pdus), [(0, 0, 512, true, false)]);
    assert_eq!(pdus[1].1, [0, 3, 0x70, 0, 3]);
    let end = scsi_response(&pdus);
    assert_eq!((end.status, end.residual, end.exp_data_sn), (2, Residual::Underflow(488), 4));
}
