//! What each block may hold, and whether it does.
//!
//! Writes are numbered, and no two of them are ever in flight for the same block. So of each block three numbers are
//! kept: the last write *acknowledged*, the last one *seen* by a read, the last one *issued*. A read may return any write from
//! the floor - the higher of the first two at the time when the read was issued - up to the last one issued: what is not
//! acknowledged yet may be there or not, but once a read has shown it, it has to stay.

use std::fmt;
use std::ops::Range;

use super::block::{self, Contents, Stamp};

/// The last writes of one block; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Known {
    /// Acknowledged to us.
    pub acknowledged: u64,
    /// Returned by a read.
    pub seen: u64,
    /// Sent.
    pub issued: u64,
}

/// A block that does not hold what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The block.
    pub lba: u64,
    /// The oldest write that it could hold.
    pub floor: u64,
    /// The last one acknowledged.
    pub acknowledged: u64,
    /// What it holds.
    pub found: Found,
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An earlier write of this run.
    Older(u64),
    /// Zeroes.
    Blank,
    /// The contents of another block.
    Misplaced(u64),
    /// What another run wrote.
    OtherRun,
    /// Nothing that a drill writes.
    Garbage,
    /// Parts of several writes.
    Torn,
    /// A write that was never sent.
    NeverWritten(u64),
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Oracle {
    run: u64,
    offset: u64,
    blocks: Vec<Known>,
    /// The table may be older than the disk: it was saved while writes went on.
    is_outdated: bool,
}

impl Known {
    /// The oldest write that a read issued now may return.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.acknowledged.max(self.seen)
    }
}

impl Oracle {
    /// Nothing is known about `blocks` blocks from `offset` on.
    #[must_use]
    pub fn new(run: u64, offset: u64, blocks: usize) -> Self {
        Self { run, offset, blocks: vec![Known::default(); blocks], is_outdated: false }
    }

    /// Take up what was known earlier; `is_outdated` if more may have been written since.
    #[must_use]
    pub fn restore(run: u64, offset: u64, blocks: Vec<Known>, is_outdated: bool) -> Self {
        Self { run, offset, blocks, is_outdated }
    }

    /// The run that it is about.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.run
    }

    /// The first block.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// All blocks, in order.
    #[must_use]
    pub fn blocks(&self) -> &[Known] {
        &self.blocks
    }

    /// A write of these blocks is sent.
    pub fn issue(&mut self, lbas: Range<u64>, write: u64) {
        for known in self.slice_mut(lbas) {
            known.issued = known.issued.max(write);
        }
    }

    /// A write of these blocks was acknowledged.
    pub fn acknowledge(&mut self, lbas: Range<u64>, write: u64) {
        for known in self.slice_mut(lbas) {
            known.acknowledged = known.acknowledged.max(write);
        }
    }

    /// What a read that is issued now has to return at least.
    #[must_use]
    pub fn floors(&self, lbas: Range<u64>) -> Vec<u64> {
        self.slice(lbas).iter().map(Known::floor).collect()
    }

    /// Judge what a read returned for one block; `floor` is that of the moment when it was issued.
    ///
    /// # Errors
    /// When the block cannot hold that.
    pub fn check(&mut self, lba: u64, floor: u64, bytes: &[u8]) -> Result<(), Violation> {
        let (run, is_outdated) = (self.run, self.is_outdated);
        let Some(known) = self.slice_mut(lba..lba + 1).first_mut() else { return Ok(()) };
        let found = match block::parse(bytes) {
            Contents::Stamped(Stamp { run: found, .. }) if found != run => Found::OtherRun,
            Contents::Stamped(Stamp { lba: found, .. }) if found != lba => Found::Misplaced(found),
            Contents::Stamped(Stamp { write, .. }) if write < floor => Found::Older(write),
            Contents::Stamped(Stamp { write, .. }) if write > known.issued && !is_outdated => {
                Found::NeverWritten(write)
            }
            Contents::Stamped(Stamp { write, .. }) => {
                known.seen = known.seen.max(write);
                known.issued = known.issued.max(write);
                return Ok(());
            }
            Contents::Blank => Found::Blank,
            Contents::Torn => Found::Torn,
            Contents::Other => Found::Garbage,
        };
        // Before our first write is known to be there, a block holds whatever it held before us.
        let is_legacy = floor == 0 && !matches!(found, Found::NeverWritten(_));
        if is_legacy { Ok(()) } else { Err(Violation { lba, floor, acknowledged: known.acknowledged, found }) }
    }

    /// Expect nothing of a block any more until it is written again: its violation is counted once.
    pub fn forget(&mut self, lba: u64) {
        if let Some(known) = self.slice_mut(lba..lba + 1).first_mut() {
            *known = Known { issued: known.issued, ..Known::default() };
        }
    }

    fn slice(&self, lbas: Range<u64>) -> &[Known] {
        self.indices(lbas).map_or(&[], |range| &self.blocks[range])
    }

    fn slice_mut(&mut self, lbas: Range<u64>) -> &mut [Known] {
        match self.indices(lbas) {
            Some(range) => &mut self.blocks[range],
            None => &mut [],
        }
    }

    fn indices(&self, lbas: Range<u64>) -> Option<Range<usize>> {
        let index = |lba: u64| usize::try_from(lba.checked_sub(self.offset)?).ok();
        let range = index(lbas.start)?..index(lbas.end)?;
        (range.start <= range.end && range.end <= self.blocks.len()).then_some(range)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}: write {} was ", self.lba, self.floor)?;
        f.write_str(if self.floor <= self.acknowledged { "acknowledged" } else { "read before" })?;
        match self.found {
            Found::Older(write) => write!(f, ", found write {write}"),
            Found::Blank => f.write_str(", found zeroes"),
            Found::Misplaced(lba) => write!(f, ", found the contents of block {lba}"),
            Found::OtherRun => f.write_str(", found what another run wrote"),
            Found::Garbage => f.write_str(", found garbage"),
            Found::Torn => f.write_str(", found parts of several writes"),
            Found::NeverWritten(write) => write!(f, ", found write {write}, which was never sent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 9;

    fn bytes(run: u64, lba: u64, write: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        block::emit(Stamp { run, lba, write }, 512, &mut bytes);
        bytes
    }

    /// Blocks 100 to 107; block 101 had write 1 and 2 acknowledged, and write 3 is in flight.
    fn oracle() -> Oracle {
        let mut oracle = Oracle::new(RUN, 100, 8);
        for write in 1..=3 {
            oracle.issue(100..104, write);
        }
        oracle.acknowledge(100..104, 2);
        oracle
    }

    fn found(oracle: &mut Oracle, bytes: &[u8]) -> Option<Found> {
        let floor = oracle.floors(101..102)[0];
        oracle.check(101, floor, bytes).err().map(|violation| violation.found)
    }

    #[test]
    fn acknowledged_or_in_flight_is_legal() {
        assert_eq!(found(&mut oracle(), &bytes(RUN, 101, 2)), None);
        assert_eq!(found(&mut oracle(), &bytes(RUN, 101, 3)), None);
    }

    #[test]
    fn a_lost_write_is_found() {
        assert_eq!(found(&mut oracle(), &bytes(RUN, 101, 1)), Some(Found::Older(1)));
        assert_eq!(found(&mut oracle(), &[0; 512]), Some(Found::Blank));
        assert_eq!(found(&mut oracle(), &[7; 512]), Some(Found::Garbage));
        assert_eq!(found(&mut oracle(), &bytes(RUN + 1, 101, 2)), Some(Found::OtherRun));
    }

    #[test]
    fn a_misplaced_block_is_found() {
        assert_eq!(found(&mut oracle(), &bytes(RUN, 102, 2)), Some(Found::Misplaced(102)));
    }

    #[test]
    fn a_torn_block_is_found() {
        let mut torn = bytes(RUN, 101, 2);
        torn[256..].copy_from_slice(&bytes(RUN, 101, 3)[256..]);
        assert_eq!(found(&mut oracle(), &torn), Some(Found::Torn));
    }

    #[test]
    fn a_write_from_nowhere_is_found() {
        assert_eq!(found(&mut oracle(), &bytes(RUN, 101, 4)), Some(Found::NeverWritten(4)));
    }

    #[test]
    fn what_was_seen_has_to_stay() {
        let mut oracle = oracle();
        assert_eq!(found(&mut oracle, &bytes(RUN, 101, 3)), None);
        assert_eq!(found(&mut oracle, &bytes(RUN, 101, 2)), Some(Found::Older(2)));
    }

    #[test]
    fn a_read_issued_earlier_may_return_older_contents() {
        let mut oracle = oracle();
        let floor = oracle.floors(101..102)[0];
        oracle.acknowledge(101..102, 3);
        assert_eq!(oracle.check(101, floor, &bytes(RUN, 101, 2)), Ok(()));
        assert_eq!(found(&mut oracle, &bytes(RUN, 101, 2)), Some(Found::Older(2)));
    }

    #[test]
    fn blocks_not_written_yet_may_hold_anything() {
        let mut oracle = oracle();
        for contents in [vec![0; 512], vec![7; 512], bytes(RUN + 1, 3, 9)] {
            assert_eq!(oracle.check(106, 0, &contents), Ok(()));
        }
        assert!(oracle.check(106, 0, &bytes(RUN, 106, 1)).is_err(), "but not what was never sent");
    }

    #[test]
    fn an_outdated_table_allows_for_later_writes_and_for_no_older_ones() {
        let blocks = oracle().blocks().to_vec();
        let mut oracle = Oracle::restore(RUN, 100, blocks, true);
        assert_eq!(found(&mut oracle, &bytes(RUN, 101, 1)), Some(Found::Older(1)));
        assert_eq!(found(&mut oracle, &bytes(RUN, 101, 40)), None);
        assert_eq!(found(&mut oracle, &bytes(RUN, 101, 39)), Some(Found::Older(39)));
    }

    #[test]
    fn a_forgotten_block_is_not_counted_twice() {
        let mut oracle = oracle();
        oracle.forget(101);
        assert_eq!(found(&mut oracle, &[0; 512]), None);
    }

    #[test]
    fn blocks_elsewhere_are_none_of_our_business() {
        let mut oracle = oracle();
        assert_eq!(oracle.check(99, 1, &[0; 512]), Ok(()));
        assert!(oracle.floors(106..120).is_empty());
    }

    #[test]
    fn violations_in_words() {
        let violation = Violation { lba: 5, floor: 3, acknowledged: 2, found: Found::Older(2) };
        assert_eq!(violation.to_string(), "block 5: write 3 was read before, found write 2");
        let violation = Violation { acknowledged: 3, found: Found::Blank, ..violation };
        assert_eq!(violation.to_string(), "block 5: write 3 was acknowledged, found zeroes");
    }
}
