//! What a disk is called; drawn up once, when it is initialised.

use std::fmt::Write;

/// Longest iSCSI name (RFC 7143 4.2.7.1).
pub const IQN_MAX_BYTES: usize = 223;
/// Longest name of a LUN.
pub const LUN_NAME_MAX_BYTES: usize = 64;

/// What a LUN is, to clients and to both heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The iSCSI name of the target, which is the name of the pair.
    pub iqn: String,
    /// The name of the LUN in the configuration; the only part that can change.
    pub lun_name: String,
    /// Random; serial number and NAA designators derive from it.
    pub uuid: [u8; 16],
    /// Bytes of a logical block: 512 or 4096.
    pub block_bytes: u32,
    /// Bytes before the reserved region: what clients see, or will when the LUN has grown.
    pub data_bytes: u64,
    /// Bytes of the whole disk as it is used.
    pub device_bytes: u64,
}

/// Why an identity cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// iSCSI names have 1 to 223 bytes.
    #[error("the target's name must have 1 to {IQN_MAX_BYTES} bytes")]
    IqnLength,
    /// LUN names have 1 to 64 bytes.
    #[error("the LUN's name must have 1 to {LUN_NAME_MAX_BYTES} bytes")]
    LunNameLength,
    /// Only two block sizes exist.
    #[error("the block size must be 512 or 4096 bytes, not {0}")]
    BlockBytes(u32),
    /// The data must be whole blocks and leave room on the device.
    #[error("{data_bytes} bytes of data do not fit a device of {device_bytes} bytes")]
    DataBytes {
        /// Bytes that clients would see.
        data_bytes: u64,
        /// Bytes of the device.
        device_bytes: u64,
    },
}

impl Identity {
    /// Whether the fields fit their bounds and each other.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check(&self) -> Result<(), IdentityError> {
        if !(1..=IQN_MAX_BYTES).contains(&self.iqn.len()) {
            return Err(IdentityError::IqnLength);
        }
        if !(1..=LUN_NAME_MAX_BYTES).contains(&self.lun_name.len()) {
            return Err(IdentityError::LunNameLength);
        }
        if !matches!(self.block_bytes, 512 | 4096) {
            return Err(IdentityError::BlockBytes(self.block_bytes));
        }
        let whole_blocks = self.data_bytes.is_multiple_of(u64::from(self.block_bytes));
        if self.data_bytes == 0 || !whole_blocks || self.data_bytes >= self.device_bytes {
            let Self { data_bytes, device_bytes, .. } = *self;
            return Err(IdentityError::DataBytes { data_bytes, device_bytes });
        }
        Ok(())
    }

    /// Whether it is that of the same LUN, which may have been renamed or have grown.
    #[must_use]
    pub fn is_of_same_lun(&self, other: &Self) -> bool {
        let Self { lun_name, data_bytes, device_bytes, .. } = self.clone();
        *self == Self { lun_name, data_bytes, device_bytes, ..other.clone() }
    }

    /// The unit serial number: the uuid in 32 hexadecimal digits.
    #[must_use]
    pub fn serial(&self) -> String {
        self.uuid.iter().fold(String::with_capacity(32), |mut text, byte| {
            #[expect(clippy::expect_used, reason = "writing to a String cannot fail")]
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        })
    }

    /// An NAA Locally Assigned designator, NAA 3h (SPC-4 7.8.6.6.3).
    #[must_use]
    pub fn naa3(&self) -> [u8; 8] {
        let mut naa = [0; 8];
        naa.copy_from_slice(&self.uuid[..8]);
        naa[0] = 0x30 | naa[0] & 0x0f;
        naa
    }

    /// An NAA IEEE Registered Extended designator, NAA 6h (SPC-4 7.8.6.6.5). We have no company id, so all 24 bits of
    /// it come from the uuid, with the bit set that marks an EUI-48 as locally administered: no vendor's id has it.
    #[must_use]
    pub fn naa6(&self) -> [u8; 16] {
        let mut naa = self.uuid;
        naa[0] = 0x60 | naa[0] & 0x0f;
        // The company id starts in the low half of byte 0; its second lowest bit of the first octet is bit 5 of byte 1.
        naa[1] |= 0x20;
        naa
    }
}

#[cfg(test)]
pub(super) fn example() -> Identity {
    Identity {
        iqn: "iqn.2025-01.example:pair".to_owned(),
        lun_name: "vm-store".to_owned(),
        uuid: *b"\x12\x34\x56\x78\x9a\xbc\xde\xf0\x0f\xed\xcb\xa9\x87\x65\x43\x21",
        block_bytes: 4096,
        data_bytes: 60 << 20,
        device_bytes: 64 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_and_designators_derive_from_the_uuid() {
        let identity = example();
        assert_eq!(identity.serial(), "123456789abcdef00fedcba987654321");
        assert_eq!(identity.naa3(), *b"\x32\x34\x56\x78\x9a\xbc\xde\xf0");
        assert_eq!(identity.naa6(), *b"\x62\x34\x56\x78\x9a\xbc\xde\xf0\x0f\xed\xcb\xa9\x87\x65\x43\x21");
    }

    #[test]
    fn bounds_are_checked() {
        assert_eq!(example().check(), Ok(()));
        assert!(example().is_of_same_lun(&Identity { lun_name: "mail".to_owned(), ..example() }));
        assert!(!example().is_of_same_lun(&Identity { uuid: [7; 16], ..example() }));
        let check = |change: fn(&mut Identity)| {
            let mut identity = example();
            change(&mut identity);
            identity.check()
        };
        assert_eq!(check(|i| i.iqn.clear()), Err(IdentityError::IqnLength));
        assert_eq!(check(|i| i.iqn = "x".repeat(224)), Err(IdentityError::IqnLength));
        assert_eq!(check(|i| i.lun_name = "x".repeat(65)), Err(IdentityError::LunNameLength));
        assert_eq!(check(|i| i.block_bytes = 1024), Err(IdentityError::BlockBytes(1024)));
        assert!(check(|i| i.data_bytes += 512).is_err());
        assert!(check(|i| i.data_bytes = i.device_bytes).is_err());
    }
}
