//! The oracle's table in a file, so that a later run can check what this one was promised.
//!
//! JSON lines: a header, then `[lba, acknowledged, seen, issued]` for each block that was written.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::oracle::{Known, Oracle};

const VERSION: u32 = 1;
/// Blocks that a table may have: far more than a drill writes, and little enough to allocate.
pub const MAX_BLOCKS: u64 = 1 << 26;

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    run: u64,
    lun: u64,
    offset_blocks: u64,
    blocks: u64,
    block_bytes: u32,
    /// False while the run goes on: what is on the disk may be newer than the table.
    complete: bool,
}

/// What was known when the file was written.
#[derive(Clone, Debug)]
pub struct State {
    /// The logical unit.
    pub lun: u64,
    /// Its block size.
    pub block_bytes: u32,
    /// Whether the run had ended.
    pub is_complete: bool,
    /// The table.
    pub oracle: Oracle,
}

impl State {
    /// Write it down.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn save(&self, mut out: impl Write) -> io::Result<()> {
        let header = Header {
            version: VERSION,
            run: self.oracle.run(),
            lun: self.lun,
            offset_blocks: self.oracle.offset(),
            blocks: u64::try_from(self.oracle.blocks().len()).unwrap_or(u64::MAX),
            block_bytes: self.block_bytes,
            complete: self.is_complete,
        };
        serde_json::to_writer(&mut out, &header)?;
        for (lba, known) in (self.oracle.offset()..).zip(self.oracle.blocks()) {
            if *known != Known::default() {
                write!(out, "\n[{lba},{},{},{}]", known.acknowledged, known.seen, known.issued)?;
            }
        }
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Read it back.
    ///
    /// # Errors
    /// When `input` fails or holds something else.
    pub fn load(input: impl BufRead) -> io::Result<Self> {
        let invalid =
            |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not the state of a drill: {what}"));
        let mut lines = input.lines();
        let first = lines.next().ok_or_else(|| invalid("it is empty"))??;
        let header: Header = serde_json::from_str(&first).map_err(|_| invalid("the header"))?;
        if header.version != VERSION || header.blocks > MAX_BLOCKS {
            return Err(invalid("its version or size"));
        }
        let mut blocks = vec![Known::default(); usize::try_from(header.blocks).map_err(|_| invalid("its size"))?];
        for line in lines {
            let row: (u64, u64, u64, u64) = serde_json::from_str(&line?).map_err(|_| invalid("a row"))?;
            let (lba, acknowledged, seen, issued) = row;
            let index = lba.checked_sub(header.offset_blocks).and_then(|index| usize::try_from(index).ok());
            let known = index.and_then(|index| blocks.get_mut(index)).ok_or_else(|| invalid("a row outside"))?;
            *known = Known { acknowledged, seen, issued };
        }
        let oracle = Oracle::restore(header.run, header.offset_blocks, blocks, !header.complete);
        Ok(Self { lun: header.lun, block_bytes: header.block_bytes, is_complete: header.complete, oracle })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let mut oracle = Oracle::new(u64::MAX, 100, 8);
        oracle.issue(101..103, 7);
        oracle.acknowledge(101..102, 7);
        State { lun: 3, block_bytes: 512, is_complete: true, oracle }
    }

    #[test]
    fn golden_bytes() {
        let mut file = Vec::new();
        state().save(&mut file).unwrap();
        let header = r#"{"version":1,"run":18446744073709551615,"lun":3,"offset_blocks":100,"blocks":8,"block_bytes":512,"complete":true}"#;
        assert_eq!(String::from_utf8(file).unwrap(), format!("{header}\n[101,7,0,7]\n[102,0,0,7]\n"));
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let mut file = Vec::new();
        state().save(&mut file).unwrap();
        let loaded = State::load(file.as_slice()).unwrap();
        assert_eq!(loaded.oracle.blocks(), state().oracle.blocks());
        assert_eq!((loaded.lun, loaded.block_bytes, loaded.is_complete), (3, 512, true));
        assert_eq!((loaded.oracle.run(), loaded.oracle.offset()), (u64::MAX, 100));
    }

    #[test]
    fn other_files_are_refused() {
        let mut file = Vec::new();
        state().save(&mut file).unwrap();
        let text = String::from_utf8(file).unwrap();
        for broken in
            ["", "{}", "hello", &format!("{text}[99,1,1,1]\n"), &format!("{text}[101]"), &text.replace(":8", ":1")]
        {
            assert!(State::load(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
