//! What a client wants as a command, and what blocks hold as bytes: a block of 512 bytes has its mark 64 times.

use bytes::Bytes;
use iscsi_target::initiator::command::{Answer, Command, Data};
use replication::head::{IoError, Outcome};
use replication::{Data as _, Extent, Stretch};
use sas_backend::buffer::{Payload, Pool};

use crate::world::client::{By, Want};
use crate::world::{Marks, index};

const BLOCK_BYTES: u32 = 512;
const FUA: u8 = 0x08;

pub(super) fn to_bytes(marks: &Marks) -> Vec<u8> {
    marks.to_vec().iter().flat_map(|mark| mark.to_le_bytes().repeat(64)).collect()
}

/// A block of which only a part is another one's has no mark.
pub(super) fn to_marks(bytes: &[u8]) -> Result<Marks, String> {
    let mut marks = Vec::new();
    for block in bytes.chunks(index(BLOCK_BYTES.into())) {
        let mark: [u8; 8] = block[..8].try_into().map_err(|_| "not whole blocks".to_owned())?;
        if block.chunks(8).any(|part| part != mark) {
            return Err(format!("a torn block: {:02x?}", &block[..32]));
        }
        marks.push(u64::from_le_bytes(mark));
    }
    Ok(Marks::Written(marks))
}

pub(super) fn to_payload(pool: &Pool, marks: &Marks) -> Payload {
    pool.copy_of(&to_bytes(marks))
}

/// With `there` in the blocks; `None` for what no command says.
pub(super) fn to_command(want: &Want, there: Option<Vec<u64>>) -> Option<Command> {
    Some(match want {
        Want::Read { extent, .. } => Command::read(extent.lba, blocks(*extent), BLOCK_BYTES),
        Want::Write { extent, mark, fua, by } => {
            let marks = vec![*mark; index(extent.blocks)];
            match (by, there) {
                (By::Hole, _) => unmap(*extent),
                (By::Compare(over), _) => compare_and_write(*extent, over, &marks, *fua),
                (By::Or, Some(there)) => {
                    let bits = there.into_iter().map(|there| mark & !there).collect();
                    let data = to_bytes(&Marks::Written(bits));
                    let write = Command::write(extent.lba, blocks(*extent), data.into(), *fua);
                    Command { cdb: [&[0x8B], &write.cdb[1..]].concat(), ..write }
                }
                (By::Or | By::Write, _) => {
                    let data = to_bytes(&Marks::Written(marks));
                    Command::write(extent.lba, blocks(*extent), data.into(), *fua)
                }
            }
        }
        Want::Flush { .. } => Command::synchronize_cache(),
        Want::Map { extent, .. } => {
            let mut cdb = vec![0; 16];
            cdb[..2].copy_from_slice(&[0x9E, 0x12]);
            cdb[2..10].copy_from_slice(&extent.lba.to_be_bytes());
            cdb[13] = 24;
            Command { cdb, data: Data::In(24) }
        }
        Want::Raise(_) => return None,
    })
}

fn blocks(extent: Extent) -> u32 {
    u32::try_from(extent.blocks).expect("a simulated unit is small")
}

fn compare_and_write(extent: Extent, over: &[u64], marks: &[u64], fua: bool) -> Command {
    let mut cdb = vec![0; 16];
    cdb[..2].copy_from_slice(&[0x89, if fua { FUA } else { 0 }]);
    cdb[2..10].copy_from_slice(&extent.lba.to_be_bytes());
    cdb[13] = u8::try_from(extent.blocks).expect("a few");
    Command { cdb, data: Data::Out(to_bytes(&Marks::Written([over, marks].concat())).into()) }
}

fn unmap(extent: Extent) -> Command {
    let mut cdb = vec![0; 10];
    cdb[0] = 0x42;
    cdb[8] = 24;
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(extent.lba.to_be_bytes());
    list.extend(blocks(extent).to_be_bytes());
    list.extend([0; 4]);
    Command { cdb, data: Data::Out(Bytes::from(list)) }
}

/// What an answer says to `want`.
pub(super) fn to_outcome(want: &Want, answer: &Answer) -> Result<Outcome<Marks>, String> {
    if !answer.is_good() {
        return match answer.sense.map(|sense| (sense.key, sense.asc)) {
            Some((0x0E, _)) => Ok(Outcome::Miscompare(0)),
            Some((0x03, _)) => Ok(Outcome::Failed(IoError::Medium)),
            Some((0x07, 0x27)) => Ok(Outcome::Failed(IoError::NoSpace)),
            _ => Err(format!("{answer} does not answer {want:?}")),
        };
    }
    match want {
        Want::Read { .. } => to_marks(&answer.data).map(|marks| Outcome::Data(vec![marks])),
        Want::Map { extent, .. } => lba_status(*extent, &answer.data),
        Want::Write { .. } | Want::Flush { .. } | Want::Raise(_) => Ok(Outcome::Done),
    }
}

/// The first descriptor of GET LBA STATUS parameter data (SBC-3 5.5.2), as far as it was asked for.
fn lba_status(extent: Extent, data: &[u8]) -> Result<Outcome<Marks>, String> {
    let Some(descriptor) = data.get(8..24) else { return Err(format!("an LBA status of {} bytes", data.len())) };
    let lba = u64::from_be_bytes(descriptor[..8].try_into().map_err(|_| "short")?);
    let blocks = u32::from_be_bytes(descriptor[8..12].try_into().map_err(|_| "short")?);
    if lba != extent.lba {
        return Err(format!("the LBA status of {lba}, and {extent:?} was asked for"));
    }
    let mapped = descriptor[12] & 0x0F == 0;
    Ok(Outcome::Map(Stretch { blocks: u64::from(blocks).min(extent.blocks), mapped }))
}

/// What a command that the unit lets in has for the blocks.
pub(super) fn written(data: &[u8]) -> Result<Marks, String> {
    let marks = to_marks(data)?;
    debug_assert!(marks.blocks() > 0 && !marks.to_vec().contains(&u64::MAX));
    Ok(marks)
}
