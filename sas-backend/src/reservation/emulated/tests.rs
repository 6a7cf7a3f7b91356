use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::*;
use crate::buffer::{Block, Pool};
use crate::disk::{Disk, DiskError, DiskOp, Token};
use crate::superblock::{Epoch, Incarnation};
use crate::sync::SyncIo;
use crate::testing::Scratch;
use crate::uring::UringDisk;
use HeadId::{A, B};

const SIZE: u64 = 1 << 20;

struct Head {
    file: Arc<DiskFile>,
    io: SyncIo,
    reservations: Emulated,
}

fn open(image: &Path, head: HeadId) -> Head {
    let file = Arc::new(DiskFile::open(image, None).unwrap());
    let io = SyncIo::new(Arc::clone(&file));
    let reservations = Emulated::new(head, Arc::clone(&file)).unwrap();
    Head { file, io, reservations }
}

fn key(head: HeadId, epoch: u64) -> Key {
    Key::new(head, Epoch(epoch), Incarnation::new(77).unwrap())
}

fn wait_until_fenced(head: &Head) {
    let event = head.reservations.fenced_event().unwrap().unwrap();
    let mut fds = [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(10_000u16)), Ok(1));
}

#[test]
fn heads_share_the_disk_until_one_is_fenced() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let (mut a, mut b) = (open(&image, A), open(&image, B));
    a.reservations.register(key(A, 1)).unwrap();
    b.reservations.register(key(B, 1)).unwrap();
    a.reservations.reserve().unwrap();
    assert_eq!(b.reservations.reserve(), Err(ReservationError::HeldByOther));
    assert_eq!(b.reservations.keys().unwrap(), [key(A, 1), key(B, 1)]);
    assert_eq!(b.io.write_block(0, &Block::zeroed(), true), Ok(()));

    b.reservations.preempt_and_abort(key(A, 1)).unwrap();
    assert_eq!(b.reservations.holder().unwrap(), Some(key(B, 1)));
    assert_eq!(a.io.write_block(0, &Block::zeroed(), false), Err(DiskError::Fenced));
    assert_eq!(a.io.read_block(0, &mut Block::zeroed()), Err(DiskError::Fenced));
    wait_until_fenced(&a);
    assert_eq!(a.reservations.preempt_and_abort(key(B, 1)), Err(ReservationError::Fenced));
    assert_eq!(b.io.write_block(0, &Block::zeroed(), false), Ok(()));

    a.reservations.register(key(A, 2)).unwrap();
    assert_eq!(a.io.read_block(0, &mut Block::zeroed()), Ok(()));
    b.reservations.unregister().unwrap();
    assert_eq!((a.reservations.holder(), a.reservations.keys()), (Ok(None), Ok(vec![key(A, 2)])));
}

#[test]
fn a_disk_that_another_head_has_reserved_is_closed() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let mut a = open(&image, A);
    assert_eq!(a.io.write_block(0, &Block::zeroed(), false), Ok(()), "nobody holds a reservation");
    a.reservations.register(key(A, 1)).unwrap();
    a.reservations.reserve().unwrap();
    let mut b = open(&image, B);
    assert_eq!(b.io.read_block(0, &mut Block::zeroed()), Err(DiskError::Fenced));
    assert_eq!(b.reservations.preempt_and_abort(key(A, 1)), Err(ReservationError::Fenced));
    assert_eq!(b.reservations.register(key(A, 5)), Err(ReservationError::WrongKey(key(A, 5))));
    b.reservations.register(key(B, 1)).unwrap();
    assert_eq!(b.io.read_block(0, &mut Block::zeroed()), Ok(()));
}

#[test]
fn a_reservation_survives_its_process() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let mut a = open(&image, A);
    a.reservations.register(key(A, 1)).unwrap();
    a.reservations.reserve().unwrap();
    drop(a);
    let mut b = open(&image, B);
    assert_eq!(b.io.read_block(0, &mut Block::zeroed()), Err(DiskError::Fenced));
    b.reservations.register(key(B, 1)).unwrap();
    b.reservations.preempt_and_abort(key(A, 1)).unwrap();
    assert_eq!(b.reservations.keys().unwrap(), [key(B, 1)]);
}

#[test]
fn a_head_runs_once() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let (mut first, mut second) = (open(&image, A), open(&image, A));
    first.reservations.register(key(A, 1)).unwrap();
    let error = second.reservations.register(key(A, 2)).unwrap_err();
    assert_eq!(error.to_string(), "head a already runs on this disk");
    drop(first);
    assert_eq!(second.reservations.register(key(A, 2)), Ok(()));
}

#[test]
fn fencing_waits_for_what_is_in_flight() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let (mut a, mut b) = (open(&image, A), open(&image, B));
    a.reservations.register(key(A, 1)).unwrap();
    b.reservations.register(key(B, 1)).unwrap();
    let in_flight = a.file.gate.enter().unwrap();
    let observer = std::fs::File::open(&image).unwrap();
    let fencer = std::thread::spawn(move || b.reservations.preempt_and_abort(key(A, 1)));
    wait_until_fenced(&a);
    assert!(LockRange::head(A).is_held_elsewhere(&observer).unwrap(), "the proof is withheld");
    assert!(a.file.gate.enter().is_err());
    drop(in_flight);
    fencer.join().unwrap().unwrap();
    assert!(!LockRange::head(A).is_held_elsewhere(&observer).unwrap());
}

#[test]
fn who_registered_again_had_let_go() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let (mut a, mut b) = (open(&image, A), open(&image, B));
    a.reservations.register(key(A, 1)).unwrap();
    b.reservations.register(key(B, 1)).unwrap();
    let removed = {
        let mut locked = b.reservations.member.sidecar.lock().unwrap();
        let removed = locked.table.preempt(B, key(B, 1), key(A, 1)).unwrap();
        locked.commit().unwrap();
        removed
    };
    a.reservations.register(key(A, 2)).unwrap();
    assert_eq!(b.reservations.member.wait_until_let_go(A, removed), Ok(()));
    assert_eq!(a.io.read_block(0, &mut Block::zeroed()), Ok(()), "the new registration is untouched");
}

#[test]
fn a_head_whose_table_was_removed_stops() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let mut a = open(&image, A);
    a.reservations.register(key(A, 1)).unwrap();
    std::fs::remove_file(scratch.path("disk.reservations")).unwrap();
    wait_until_fenced(&a);
    assert_eq!(a.io.read_block(0, &mut Block::zeroed()), Err(DiskError::Fenced));
    assert!(matches!(a.reservations.register(key(A, 2)), Err(ReservationError::Sidecar(_))));
}

#[test]
fn a_damaged_table_is_not_believed() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    std::fs::write(scratch.path("disk.reservations"), b"something else").unwrap();
    let file = Arc::new(DiskFile::open(&image, None).unwrap());
    let error = Emulated::new(A, Arc::clone(&file)).unwrap_err().to_string();
    assert!(error.ends_with("disk.reservations is damaged; remove it while neither head runs"), "{error}");
    assert!(file.gate.is_closed() && Arc::strong_count(&file) == 1);
}

const IMAGE: &str = "TWINHEAD_TEST_IMAGE";
const ROLE: &str = "TWINHEAD_TEST_ROLE";

/// This test binary once more, as another process in one of the roles of `child`.
fn spawn(role: &str, image: &Path) -> (Child, Pid) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reservation::emulated::tests::child", "--nocapture", "--ignored"])
        .env(IMAGE, image)
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    (child, pid)
}

#[test]
#[ignore = "a role in the tests below, which start it as a process of its own"]
fn child() {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else { return };
    let mut head = open(&image, A);
    head.reservations.register(key(A, 1)).unwrap();
    head.reservations.reserve().unwrap();
    match std::env::var(ROLE).as_deref() {
        Ok("writes") => write_without_end(&head),
        Ok("stops in the middle of a change") => {
            let _locked = head.reservations.member.sidecar.lock().unwrap();
            raise(Signal::SIGSTOP).unwrap();
        }
        role => panic!("{role:?}"),
    }
}

/// Keep 16 writes in flight until fenced.
fn write_without_end(head: &Head) {
    let disk = UringDisk::new(Arc::clone(&head.file)).unwrap();
    let data = vec![Pool::new().copy_of(&[b'A'; 4096])];
    let write = || disk.submit(Token(0), DiskOp::Write { offset: 0, data: data.clone() });
    (0..16).for_each(|_| write());
    let mut done = Vec::new();
    let mut told = false;
    loop {
        disk.kick();
        poll(&mut [PollFd::new(disk.completion_event(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        disk.take_completions(&mut done);
        for completion in done.drain(..) {
            if completion.result.is_err() {
                return;
            }
            write();
        }
        if !told {
            println!("\nwriting");
            std::io::stdout().flush().unwrap();
            told = true;
        }
    }
}

fn wait_until_stopped(pid: Pid) {
    assert_eq!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)));
}

#[test]
fn a_stopped_writer_is_fenced_in_bounded_time_and_writes_no_more() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let (mut child, pid) = spawn("writes", &image);
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "writing"), "the other head writes");
    kill(pid, Signal::SIGSTOP).unwrap();
    wait_until_stopped(pid);

    let mut b = open(&image, B);
    assert_eq!(b.io.write_block(0, &Block::zeroed(), false), Err(DiskError::Fenced));
    b.reservations.register(key(B, 2)).unwrap();
    let waiting = Waiting::new();
    b.reservations.preempt_and_abort(key(A, 1)).unwrap();
    assert!(!waiting.lasts(Duration::from_secs(3)), "bounded");

    let mine = Block::from(&[b'B'; 4096]);
    b.io.write_block(0, &mine, true).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    assert_eq!(waitpid(pid, None), Ok(WaitStatus::Signaled(pid, Signal::SIGKILL, false)));
    assert!(b.reservations.victim_has_ended(), "nothing of it can answer from its memory");
    let mut found = Block::zeroed();
    b.io.read_block(0, &mut found).unwrap();
    assert!(found[..] == mine[..], "no write of the fenced head has landed");
}

#[test]
fn a_process_stopped_in_the_middle_of_a_change_is_ended() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let (_child, pid) = spawn("stops in the middle of a change", &image);
    wait_until_stopped(pid);
    let mut b = open(&image, B);
    b.reservations.register(key(B, 2)).unwrap();
    assert_eq!(waitpid(pid, None), Ok(WaitStatus::Signaled(pid, Signal::SIGKILL, false)));
    b.reservations.preempt_and_abort(key(A, 1)).unwrap();
    assert_eq!(b.reservations.holder().unwrap(), Some(key(B, 2)));
}

#[test]
fn a_fenced_head_does_not_undo_it_by_changing_its_key() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let (mut a, mut b) = (open(&image, A), open(&image, B));
    a.reservations.register(key(A, 1)).unwrap();
    a.reservations.change_key(key(A, 2)).unwrap();
    b.reservations.register(key(B, 1)).unwrap();
    b.reservations.preempt_and_abort(key(A, 2)).unwrap();
    assert_eq!(a.reservations.change_key(key(A, 3)), Err(ReservationError::Fenced));
    assert!(!b.reservations.victim_has_ended(), "it lives, and may still answer from its memory");
    assert_eq!(b.reservations.keys().unwrap(), vec![key(B, 1)]);
}
