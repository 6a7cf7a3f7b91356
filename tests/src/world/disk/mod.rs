//! The simulated disk, and each head's way to it.
//!
//! * [`media`]: what it holds, and its volatile cache.
//! * [`commands`]: reads and writes of a head's data path.
//! * [`sectors`]: what the production code that keeps the superblock does to it.
//! * [`arbiter`]: one head's superblock and reservation commands.
//! * [`heartbeat`]: signs of life, and looking at the other head's.
//! * [`trouble`]: commands that fail, and power that is lost.

mod arbiter;
pub(super) mod commands;
mod heartbeat;
pub(super) mod media;
mod sectors;
mod trouble;

use std::collections::BTreeMap;

use replication::head::{Capacity, Ownership};
use sas_backend::buffer::Block;
use sas_backend::superblock::region::{Region, SuperblockCopy};
use sas_backend::superblock::{Identity, Record, Superblock};
use sas_backend::{Epoch, HeadId, Incarnation};

use super::{BLOCKS, index, slot_of};
pub(super) use arbiter::Arbiter;
use commands::Command;
use media::{BLOCK_BYTES, Media};
pub(super) use trouble::Trouble;

/// Blocks at the end of the disk that belong to the heads.
pub(super) const RESERVED: u64 = 4;
/// Blocks of the unit as the superblock says it, to a block of the simulator.
const SCALE: u64 = BLOCK_BYTES / 512;
/// Whose disk it is.
pub(super) const IQN: &str = "iqn.2026-11.com.example:simulated";

/// The disk.
pub(super) struct SimDisk {
    pub(super) media: Media,
    /// The newest superblock that was written whole.
    pub(super) ownership: Ownership,
    /// The newest epoch of which its owner knows that it was written.
    written: Epoch,
    /// How large each head's path shows the disk, in blocks.
    pub(super) paths: [u64; 2],
    /// The life that is registered for each head.
    registered: [Option<Incarnation>; 2],
    pub(super) commands: BTreeMap<u64, Command>,
    serial: u64,
    pub(super) trouble: [Trouble; 2],
    /// It is thin, and has no room for blocks that have none yet.
    pub(super) full: bool,
}

impl SimDisk {
    pub(super) fn new() -> Self {
        let ownership = Ownership {
            record: Record { kept: 0, bytes: [].into() },
            epoch: Epoch(0),
            owner: None,
            owner_incarnation: None,
            mirror: None,
            draining: false,
            dirty: false,
            losses: 0,
            capacity: Capacity::of(BLOCKS),
        };
        let mut media = Media::new(BLOCKS + RESERVED);
        let identity = Identity {
            iqn: IQN.to_owned(),
            lun_name: "db".to_owned(),
            uuid: *b"simulated-unit-0",
            block_bytes: 512,
            data_bytes: BLOCKS * BLOCK_BYTES,
            device_bytes: (BLOCKS + RESERVED) * BLOCK_BYTES,
        };
        let region = Region::behind(BLOCKS * BLOCK_BYTES).expect("there is room");
        let block = Block::from(&Superblock::new(identity).emit());
        media.write_sector(region.superblock(SuperblockCopy::First), &block, true);
        Self {
            media,
            ownership,
            written: Epoch(0),
            paths: [BLOCKS + RESERVED; 2],
            registered: [None; 2],
            commands: BTreeMap::new(),
            serial: 0,
            trouble: [Trouble::default(); 2],
            full: false,
        }
    }

    /// Both paths work, and show all of the disk.
    pub(super) fn mend_paths(&mut self) {
        self.paths = [self.media.blocks(); 2];
        self.trouble = [Trouble::default(); 2];
    }

    /// Bytes that a head's path shows.
    fn size_bytes(&self, of: HeadId) -> u64 {
        self.paths[slot_of(of)] * BLOCK_BYTES
    }
}

/// What the superblock says in blocks of the disk, in blocks of the simulator.
fn from_disk(ownership: Ownership) -> Ownership {
    let Capacity { blocks, growing_to } = ownership.capacity;
    let capacity = Capacity { blocks: blocks / SCALE, growing_to: growing_to.map(|blocks| blocks / SCALE) };
    Ownership { capacity, ..ownership }
}

/// The other way round.
fn to_disk(ownership: Ownership) -> Ownership {
    let Capacity { blocks, growing_to } = ownership.capacity;
    let capacity = Capacity { blocks: blocks * SCALE, growing_to: growing_to.map(|blocks| blocks * SCALE) };
    Ownership { capacity, ..ownership }
}
