//! Header and data digests (RFC 7143 13.1): CRC32C. On the wire its least significant byte comes first.

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 4;

/// Which digests a connection uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Digests {
    /// Behind the header segments.
    pub header: bool,
    /// Behind the padded data segment.
    pub data: bool,
}

/// The digest of `parts`, one after the other.
#[must_use]
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; DIGEST_BYTES] {
    parts.into_iter().fold(0, crc32c::crc32c_append).to_le_bytes()
}

/// Zero bytes that fill a segment of `len` bytes up to whole words.
#[must_use]
pub fn padding(len: usize) -> usize {
    len.next_multiple_of(4) - len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720 B.4.
    #[test]
    fn examples_of_the_standard() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        assert_eq!(digest([&[0; 32][..]]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(digest([&[0xff; 32][..]]), [0x43, 0xab, 0xa8, 0x62]);
        assert_eq!(digest([ascending.as_slice()]), [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(digest([descending.as_slice()]), [0x5c, 0xdb, 0x3f, 0x11]);
    }

    /// The SCSI Read (10) command PDU of RFC 3720 B.4.
    #[test]
    fn example_of_a_command() {
        let mut bhs = [0u8; 48];
        bhs[0] = 0x01;
        bhs[1] = 0xc0;
        bhs[16] = 0x14;
        bhs[22] = 0x04;
        bhs[27] = 0x14;
        bhs[31] = 0x18;
        bhs[32] = 0x28;
        bhs[40] = 0x02;
        assert_eq!(digest([&bhs[..]]), [0x56, 0x3a, 0x96, 0xd9]);
    }

    #[test]
    fn parts_are_one_text() {
        assert_eq!(digest([&[0; 12][..], &[], &[0; 20]]), digest([&[0; 32][..]]));
        assert_eq!([0, 1, 2, 3, 4].map(padding), [0, 3, 2, 1, 0]);
    }
}
