use super::*;
use crate::probe::{OpenOptions, open_disk};
use crate::reservation::Key;
use crate::superblock::pick::check;
use crate::superblock::{Epoch, HeadId, Incarnation};
use crate::testing::Scratch;

const SIZE: u64 = 16 << 20;

fn new() -> NewDisk {
    NewDisk { iqn: "iqn.2025-01.example:pair".to_owned(), lun_name: "vm-store".to_owned(), block_bytes: None }
}

fn write(path: &Path, offset: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn a_blank_disk_is_initialised_once() {
    for scratch in [Scratch::new(), Scratch::in_memory()] {
        let image = scratch.image("disk", SIZE);
        assert_eq!(inspect(&image).unwrap(), Contents::Blank);
        let superblock = initialise(&image, &new(), Existing::OnlyIfBlank).unwrap();
        assert_eq!(inspect(&image).unwrap(), Contents::HasSuperblock(Box::new(superblock.clone())));
        assert_eq!(check(&superblock, &new().iqn, SIZE), Ok(()));
        assert_eq!(superblock.identity.data_bytes, SIZE - (4 << 20));
        for existing in [Existing::OnlyIfBlank, Existing::Keep] {
            let error = initialise(&image, &new(), existing).unwrap_err().to_string();
            assert_eq!(error, "the disk is not blank: it is \"vm-store\" of the target iqn.2025-01.example:pair");
        }
        let again = initialise(&image, &new(), Existing::Wipe).unwrap();
        assert_ne!(again.identity.uuid, superblock.identity.uuid);
    }
}

#[test]
fn data_is_kept_if_there_is_room_for_it() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    write(&image, 1024 + 56, b"\x53\xef");
    let error = initialise(&image, &new(), Existing::OnlyIfBlank).unwrap_err().to_string();
    assert_eq!(error, "the disk is not blank: an ext2, ext3 or ext4 file system");
    write(&image, SIZE - 100, b"x");
    assert!(matches!(initialise(&image, &new(), Existing::Keep), Err(InitError::NoRoom)));
    write(&image, SIZE - 100, b"\0");
    initialise(&image, &new(), Existing::Keep).unwrap();
    let mut kept = [0; 2];
    File::open(&image).unwrap().read_exact_at(&mut kept, 1024 + 56).unwrap();
    assert_eq!(&kept, b"\x53\xef");
}

#[test]
fn wiping_leaves_nothing_to_be_mistaken() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE + 512);
    write(&image, 0, b"XFSB");
    write(&image, SIZE, b"EFI PART");
    std::fs::write(scratch.path("disk.reservations"), b"old").unwrap();
    let superblock = initialise(&image, &new(), Existing::Wipe).unwrap();
    let mut bytes = std::fs::read(&image).unwrap();
    let region = Region::of(SIZE + 512).unwrap();
    for copy in SuperblockCopy::BOTH {
        let at = usize::try_from(region.superblock(copy)).unwrap();
        assert_eq!(bytes[at..at + 4096], superblock.emit());
        bytes[at..at + 4096].fill(0);
    }
    assert!(bytes.iter().all(|&byte| byte == 0));
    assert!(!scratch.path("disk.reservations").exists());
}

#[test]
fn a_disk_that_has_grown_is_not_a_blank_one() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let superblock = initialise(&image, &new(), Existing::OnlyIfBlank).unwrap();
    File::options().write(true).open(&image).unwrap().set_len(4 * SIZE).unwrap();
    assert_eq!(inspect(&image).unwrap(), Contents::HasSuperblock(Box::new(superblock)));
    assert!(matches!(initialise(&image, &new(), Existing::Keep), Err(InitError::NotBlank(_))));
}

#[test]
fn contents_are_named() {
    let with = |at: usize, bytes: &[u8]| {
        let mut start = vec![0; START_BYTES];
        start[at..at + bytes.len()].copy_from_slice(bytes);
        judge(&start)
    };
    assert_eq!(judge(&[0; START_BYTES]), None);
    for (at, signature, what) in SIGNATURES {
        assert_eq!(with(at, signature).as_deref(), Some(what));
    }
    assert_eq!(with(700, b"abc").as_deref(), Some("unknown data at byte 700: 61 62 63 00 00 00 00 00"));
}

#[test]
fn a_disk_in_use_is_left_alone() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", SIZE);
    let key = Key::new(HeadId::A, Epoch(1), Incarnation::new(5).unwrap());
    let options = OpenOptions { head: HeadId::A, shared: true, block_bytes: Some(4096), key };
    let open = open_disk(&image, options).unwrap();
    assert_eq!(open.geometry.block_bytes, 4096);
    let error = initialise(&image, &new(), Existing::Wipe).unwrap_err().to_string();
    assert!(error.contains("already in use"), "{error}");
    assert_eq!(inspect(&image).unwrap(), Contents::Blank);
    let long = NewDisk { lun_name: "x".repeat(65), ..new() };
    drop(open);
    assert!(matches!(initialise(&image, &long, Existing::Wipe), Err(InitError::Identity(_))));
}
