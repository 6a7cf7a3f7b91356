//! Copies, as far as the units have a say in them.

use super::*;
use crate::scsi::block::IoError;
use crate::scsi::copy::failure::Failed;
use crate::scsi::copy::list::Cscd;
use crate::scsi::copy::list::tests::{blocks, list_of, naa};
use crate::scsi::copy::plan::{Side, failed};

fn extended_copy(list: &[u8]) -> Command {
    let mut cdb = vec![0x83; 1];
    cdb.resize(16, 0);
    cdb[10..14].copy_from_slice(&u32::try_from(list.len()).unwrap().to_be_bytes());
    command_with(&cdb, list)
}

/// The CSCD descriptor of a list that names a unit like this.
fn cscd(descriptor: [u8; 32]) -> Cscd {
    match serving(config()).handle(&extended_copy(&list_of(0, 1, &[descriptor], &[]))) {
        Verdict::Copy(list) => list.cscds[0].clone(),
        other => panic!("{other:?}"),
    }
}

fn ours() -> [u8; 32] {
    naa(config().naa.bytes(), 512)
}

fn receive(unit: &mut LogicalUnit, action: u8, identifier: u8) -> Result<Vec<u8>, String> {
    let verdict = unit.handle(&command(&[0x84, action, identifier, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]));
    match verdict {
        Verdict::Done(Response { status: Status::Good, data_in: DataIn::Parameters(bytes), .. }) => Ok(bytes),
        refused => Err(cell(&refused)),
    }
}

#[test]
fn a_list_is_copied_and_a_wrong_one_is_not() {
    let mut unit = serving(config());
    let list = list_of(0, 1, &[ours()], &[blocks((0, 0), (0, 8), 8)]);
    assert_eq!(cell(&unit.handle(&extended_copy(&list))), "copy");
    assert_eq!(cell(&unit.handle(&extended_copy(&[]))), "good");
    assert_eq!(cell(&unit.handle(&extended_copy(&list[..40]))), "05/1A/00");
    assert_eq!(cell(&unit.handle(&Command { data_out: None, ..extended_copy(&list) })), "05/1A/00");
    assert_eq!(cell(&unit.handle(&command(&[0x83, 0x01]))), "05/24/00", "EXTENDED COPY(LID4)");
}

#[test]
fn a_unit_has_no_name_for_whom_it_is_not_there() {
    let unit = serving(config());
    assert!(unit.is_named(NEXUS, &cscd(ours())));
    assert!(!unit.is_named(NexusId(99), &cscd(ours())), "hidden from this one");
    let changed = |at: usize, value| {
        let mut descriptor = ours();
        descriptor[at] = value;
        unit.is_named(NEXUS, &cscd(descriptor))
    };
    assert!(!changed(8, 0x61) && !changed(23, 0) && !changed(7, 15), "another name");
    assert!(!changed(4, 0x02) && !changed(5, 0x02) && !changed(5, 0x13), "another kind of name");
    assert!(changed(1, 0xC0) && changed(3, 9), "what is obsolete or for other transports");
}

#[test]
fn each_end_is_treated_as_if_it_were_read_or_written() {
    let refused = |unit: &LogicalUnit, side| match unit.admit_copy(NEXUS, side) {
        Ok(()) => "yes".to_owned(),
        Err(Failed::Unit { side: of, response, moved: false }) if of == side => cell(&response.into()),
        Err(other) => format!("{other:?}"),
    };
    let both = |unit: &LogicalUnit| [Side::Source, Side::Destination].map(|side| refused(unit, side));
    assert_eq!(both(&serving(config())), ["yes", "yes"]);
    assert_eq!(both(&serving(UnitConfig { protection: writers("iqn.b"), ..config() })), ["yes", "07/27/00"]);
    let mut reserved = serving(config());
    reserve(&mut reserved, OTHER);
    assert_eq!(both(&reserved), ["conflict", "conflict"]);
    let mut ejected = serving(UnitConfig { removable: true, ..config() });
    assert_eq!(changed(&mut ejected, &command(&EJECT)), "io");
    assert_eq!(both(&ejected), ["02/3A/00", "02/3A/00"]);
    let mut unit = serving(config());
    unit.raise(Attention::CapacityChanged);
    assert_eq!(both(&unit), ["yes", "yes"], "it is told with the next command");
    unit.set_access(Access::Forwarding, Some(GroupId(2)));
    assert_eq!(both(&unit), ["yes", "yes"]);
    unit.set_access(Access::Changing, None);
    assert_eq!(unit.admit_copy(NEXUS, Side::Source), Err(failed(Side::Source, IoError::Moved)));
    for access in [Access::Standby, Access::Unavailable] {
        unit.set_access(access, None);
        assert_eq!(both(&unit), ["NotReachable", "NotReachable"]);
    }
}

#[test]
fn what_became_of_a_copy_is_told_to_whoever_sent_it() {
    let mut unit = serving(config());
    assert_eq!(receive(&mut unit, 0x00, 7), Err("05/24/00".to_owned()));
    let id = unit.begin_copy(NEXUS, Some(7)).unwrap();
    unit.copied(NEXUS, id, 4096);
    assert_eq!(receive(&mut unit, 0x00, 7).unwrap()[4..], [0x80, 0, 0, 0, 0, 0, 0x10, 0]);
    unit.copied_segment(NEXUS, id);
    unit.end_copy(NEXUS, id, &Failed::NotReachable.answer(1, true));
    let from_another = Command { nexus: OTHER, ..command(&[0x84, 0, 7]) };
    assert_eq!(cell(&unit.handle(&from_another)), "05/24/00");
    assert_eq!(receive(&mut unit, 0x00, 7).unwrap()[4..], [0x82, 0, 1, 0, 0, 0, 0x10, 0]);
    assert_eq!(receive(&mut unit, 0x04, 7).unwrap()[56..60], [2, 0, 0, 18]);
    assert_eq!(receive(&mut unit, 0x04, 7), Err("05/24/00".to_owned()));
    assert_eq!(receive(&mut unit, 0x03, 7).unwrap().len(), 46);
}

#[test]
fn a_reset_and_the_end_of_the_nexus_forget_copies() {
    let mut unit = serving(config());
    let id = unit.begin_copy(NEXUS, Some(7)).unwrap();
    unit.reset();
    calm(&mut unit);
    unit.end_copy(NEXUS, id, &Response::good());
    assert_eq!(receive(&mut unit, 0x00, 7), Err("05/24/00".to_owned()));
    unit.remove_nexus(NEXUS);
    assert_eq!(unit.begin_copy(NEXUS, Some(7)), Err(Response::status(Status::Busy)));
}

#[test]
fn a_unit_has_so_many_copies_at_a_time_whoever_sends_them() {
    let mut unit = serving(config());
    for number in 0..5 {
        unit.add_nexus(NexusId(10 + number), initiator("iqn.c"), 1);
    }
    let busy = Err(Response::status(Status::Busy));
    for number in 0..4 {
        for _ in 0..copy::MAX_COPIES_OF_NEXUS {
            unit.begin_copy(NexusId(10 + number), None).unwrap();
        }
        assert_eq!(unit.begin_copy(NexusId(10 + number), None), busy);
    }
    assert_eq!(unit.begin_copy(NexusId(14), None), busy, "64 in all");
}
