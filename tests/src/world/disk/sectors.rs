//! The disk as the production code sees it that keeps the superblock. That code asks for one thing after the other and
//! waits for each; here time goes by in between. So it is run again from its beginning whenever the disk has done one more
//! thing, with the answers that there were, until it comes to its end.

use std::cell::{Cell, RefCell};

use sas_backend::buffer::Block;
use sas_backend::disk::DiskError;
use sas_backend::superblock::sectors::Sectors;

use super::media::Sector;

/// Something that the disk is to do.
#[derive(Clone, Debug)]
pub(in crate::world) enum Job {
    Measure,
    Read { offset: u64 },
    Write { offset: u64, sector: Box<Sector>, durable: bool },
    Zeroes { offset: u64, len: u64 },
    Flush,
}

/// What it has answered.
#[derive(PartialEq, Eq)]
pub(super) enum Done {
    Size(u64),
    Sector(Box<Sector>),
    Nothing,
}

/// The answers so far, and what is asked beyond them.
pub(super) struct Script<'a> {
    answers: &'a [Result<Done, DiskError>],
    at: Cell<usize>,
    next: RefCell<Option<Job>>,
}

impl<'a> Script<'a> {
    pub(super) fn new(answers: &'a [Result<Done, DiskError>]) -> Self {
        Self { answers, at: Cell::new(0), next: RefCell::new(None) }
    }

    /// What the disk has to do before it goes on; `None`: it has come to its end.
    pub(super) fn into_next(self) -> Option<Job> {
        self.next.into_inner()
    }

    fn answer(&self, job: Job) -> Result<&Done, DiskError> {
        let at = self.at.replace(self.at.get() + 1);
        match self.answers.get(at) {
            Some(answer) => answer.as_ref().map_err(Clone::clone),
            None => {
                self.next.borrow_mut().get_or_insert(job);
                Err(DiskError::Path("not done yet".to_owned()))
            }
        }
    }
}

impl Sectors for Script<'_> {
    fn measure(&self) -> Result<u64, DiskError> {
        match self.answer(Job::Measure)? {
            Done::Size(size) => Ok(*size),
            Done::Sector(_) | Done::Nothing => unreachable!("the same run asks the same"),
        }
    }

    fn read_block(&self, offset: u64, into: &mut Block) -> Result<(), DiskError> {
        if let Done::Sector(sector) = self.answer(Job::Read { offset })? {
            into.copy_from_slice(&sector[..]);
        }
        Ok(())
    }

    fn write_block(&self, offset: u64, from: &Block, durable: bool) -> Result<(), DiskError> {
        let mut sector = Box::new([0; 4096]);
        sector.copy_from_slice(&from[..]);
        self.answer(Job::Write { offset, sector, durable }).map(|_| ())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.answer(Job::Zeroes { offset, len }).map(|_| ())
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.answer(Job::Flush).map(|_| ())
    }
}
