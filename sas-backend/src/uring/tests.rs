//! Every operation on both file systems, through the ring and through the threads.

use std::os::unix::fs::{FileExt, MetadataExt};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::buffer::Payload;
use crate::disk::{Answer, Stretch};
use crate::testing::Scratch;

const SIZE: u64 = 8 << 20;

fn each_disk(test: impl Fn(&dyn Disk, &Arc<DiskFile>)) {
    for scratch in [Scratch::new(), Scratch::in_memory()] {
        let file = || Arc::new(DiskFile::open(&scratch.image("disk", SIZE), None).unwrap());
        let through_ring = file();
        test(&UringDisk::new(Arc::clone(&through_ring)).unwrap(), &through_ring);
        let through_threads = file();
        test(&ThreadDisk::new(Arc::clone(&through_threads)).unwrap(), &through_threads);
    }
}

fn wait_for(disk: &dyn Disk, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    while out.len() < count {
        let mut fds = [PollFd::new(disk.completion_event(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000u16)).unwrap(), 1, "{} of {count} completions", out.len());
        disk.take_completions(&mut out);
    }
    out
}

fn run(disk: &dyn Disk, op: DiskOp) -> Result<Option<Vec<u8>>, DiskError> {
    disk.submit(Token(1), op);
    disk.kick();
    let completion = wait_for(disk, 1).pop().unwrap();
    completion.result.map(|answer| match answer {
        Answer::Read(buffer) => Some(buffer.to_vec()),
        Answer::Done | Answer::Map(_) => None,
    })
}

fn map(disk: &dyn Disk, offset: u64, len: u64) -> Stretch {
    disk.submit(Token(1), DiskOp::Map { offset, len });
    disk.kick();
    match wait_for(disk, 1).pop().unwrap().result {
        Ok(Answer::Map(stretch)) => stretch,
        other => panic!("{other:?}"),
    }
}

fn read(disk: &dyn Disk, offset: u64, len: usize) -> Vec<u8> {
    let into = Pool::new().take(len);
    run(disk, DiskOp::Read { offset, into }).unwrap().unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at / 7 + at) % 251).unwrap()).collect()
}

#[test]
fn what_is_written_is_read_and_zeroes_are_zeroes() {
    each_disk(|disk, _| {
        let bytes = pattern(3 << 20);
        let whole = Pool::new().copy_of(&bytes);
        // Pieces that suit O_DIRECT, pieces that do not, and more of them than one call takes.
        let mut cuts = vec![0, 4096, 5000, 5100, 70_000, 77_824];
        cuts.extend((0..3000).map(|piece| 77_824 + piece * 512));
        cuts.push(bytes.len());
        let data: Vec<Payload> = cuts.windows(2).map(|cut| whole.slice(cut[0]..cut[1])).collect();
        assert_eq!(run(disk, DiskOp::Write { offset: 1 << 20, data }), Ok(None));
        assert_eq!(run(disk, DiskOp::Flush), Ok(None));
        assert!(read(disk, 1 << 20, bytes.len()) == bytes);

        assert_eq!(run(disk, DiskOp::WriteZeroes { offset: 1 << 20, len: 1 << 20 }), Ok(None));
        assert_eq!(run(disk, DiskOp::Deallocate { offset: 2 << 20, len: 4096 }), Ok(None));
        assert!(read(disk, 1 << 20, (1 << 20) + 4096).iter().all(|&byte| byte == 0));
        assert!(read(disk, (2 << 20) + 4096, 4096) == bytes[(1 << 20) + 4096..(1 << 20) + 8192]);
    });
}

#[test]
fn what_is_deallocated_becomes_a_hole() {
    each_disk(|disk, file| {
        let len = 2 << 20;
        let data = vec![Pool::new().copy_of(&pattern(2 << 20))];
        assert_eq!(run(disk, DiskOp::Write { offset: 1 << 20, data }), Ok(None));
        assert_eq!(map(disk, 0, SIZE), Stretch { len: 1 << 20, allocated: false });
        assert_eq!(map(disk, 1 << 20, SIZE - (1 << 20)), Stretch { len, allocated: true });
        let used = || file.file.metadata().unwrap().blocks() * 512;
        assert!(used() >= len, "{}", used());
        assert_eq!(run(disk, DiskOp::Deallocate { offset: 1 << 20, len }), Ok(None));
        assert_eq!(map(disk, 0, SIZE), Stretch { len: SIZE, allocated: false });
        assert!(used() < len, "{}", used());
        assert!(read(disk, 1 << 20, 2 << 20).iter().all(|&byte| byte == 0));
    });
}

#[test]
fn the_page_cache_is_bypassed_where_possible() {
    let (on_disk, in_memory) = (Scratch::new(), Scratch::in_memory());
    let direct = DiskFile::open(&on_disk.image("disk", SIZE), None).unwrap();
    let buffered = DiskFile::open(&in_memory.image("disk", SIZE), None).unwrap();
    // Both file systems can change: what must hold is that either way works, which the other tests show.
    println!("direct: {} and {}", direct.is_direct(), buffered.is_direct());
    assert_eq!(direct.geometry(), Geometry { block_bytes: 512, size_bytes: SIZE, volatile_cache: true });
}

#[test]
fn more_operations_than_the_ring_has_room_for_all_end() {
    each_disk(|disk, _| {
        let count = 3 * usize::try_from(IN_FLIGHT_MAX).unwrap();
        let payload = Pool::new().copy_of(&[7; 512]);
        for number in 0..u64::try_from(count).unwrap() {
            disk.submit(Token(number), DiskOp::Write { offset: number * 512, data: vec![payload.clone()] });
        }
        disk.kick();
        let mut tokens: Vec<Token> = wait_for(disk, count).iter().map(|done| done.token).collect();
        tokens.sort_unstable();
        assert!(tokens.iter().enumerate().all(|(at, token)| token.0 == u64::try_from(at).unwrap()));
        assert!(read(disk, 0, count * 512).iter().all(|&byte| byte == 7));
    });
}

#[test]
fn what_does_not_fit_the_disk_is_refused() {
    each_disk(|disk, file| {
        let block = || Pool::new().take(512);
        for op in [
            DiskOp::Read { offset: SIZE, into: block() },
            DiskOp::Read { offset: 100, into: block() },
            DiskOp::Read { offset: u64::MAX - 511, into: block() },
            DiskOp::Write { offset: SIZE - 512, data: vec![block().freeze(), block().freeze()] },
            DiskOp::Deallocate { offset: 512, len: SIZE },
            DiskOp::Map { offset: 512, len: SIZE },
            DiskOp::WriteZeroes { offset: 0, len: 100 },
        ] {
            assert!(matches!(run(disk, op), Err(DiskError::Path(_))));
        }
        assert_eq!(run(disk, DiskOp::Write { offset: 0, data: Vec::new() }), Ok(None));
        file.file.set_len(SIZE / 2).unwrap();
        let shrunk = run(disk, DiskOp::Read { offset: SIZE / 2, into: block() });
        assert!(matches!(shrunk, Err(DiskError::Path(_))));
    });
}

#[test]
fn a_closed_gate_fences_everything() {
    each_disk(|disk, file| {
        file.gate.close();
        assert_eq!(run(disk, DiskOp::Flush), Err(DiskError::Fenced));
        let into = Pool::new().take(512);
        assert_eq!(run(disk, DiskOp::Read { offset: 0, into }), Err(DiskError::Fenced));
        file.gate.wait_until_empty();
        file.gate.open();
        assert_eq!(run(disk, DiskOp::Flush), Ok(None));
    });
}

#[test]
fn dropping_waits_for_what_is_in_flight() {
    let scratch = Scratch::new();
    let path = scratch.image("disk", SIZE);
    let file = Arc::new(DiskFile::open(&path, None).unwrap());
    let pool = Pool::new();
    let disk = UringDisk::new(Arc::clone(&file)).unwrap();
    let data = vec![pool.copy_of(&pattern(1 << 20))];
    disk.submit(Token(1), DiskOp::Write { offset: 0, data });
    disk.kick();
    drop(disk);
    assert_eq!(pool.in_use_bytes(), 0);
    let mut written = vec![0; 1 << 20];
    file.file.read_exact_at(&mut crate::buffer::Block::zeroed()[..], 0).unwrap();
    std::fs::File::open(&path).unwrap().read_exact_at(&mut written, 0).unwrap();
    assert!(written == pattern(1 << 20));
}
