//! Sense data (SPC-4 4.5): the codes we use, by name, and both formats.

/// SENSE KEY (SPC-4 4.5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to tell.
    NoSense = 0x0,
    /// Not accessible now.
    NotReady = 0x2,
    /// The medium failed.
    MediumError = 0x3,
    /// The target failed at it.
    HardwareError = 0x4,
    /// The command is wrong.
    IllegalRequest = 0x5,
    /// Something happened that the initiator should know first.
    UnitAttention = 0x6,
    /// Protected against it.
    DataProtect = 0x7,
    /// EXTENDED COPY came to an end before it was done.
    CopyAborted = 0xA,
    /// Given up; trying again may help.
    AbortedCommand = 0xB,
    /// The data differs from the medium.
    Miscompare = 0xE,
}

/// A sense key with its additional sense code and qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SenseCode {
    /// SENSE KEY.
    pub key: SenseKey,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $key:ident $asc:literal / $ascq:literal;)*) => {
        impl SenseCode {
            $($(#[$doc])* pub const $name: Self = Self { key: SenseKey::$key, asc: $asc, ascq: $ascq };)*
        }
    };
}

codes! {
    /// No additional sense information.
    NO_SENSE = NoSense 0x00 / 0x00;
    /// Medium not present.
    MEDIUM_NOT_PRESENT = NotReady 0x3A / 0x00;
    /// The target port is in standby state.
    STANDBY = NotReady 0x04 / 0x0B;
    /// Logical unit not ready, sanitize in progress.
    SANITIZE_IN_PROGRESS = NotReady 0x04 / 0x1B;
    /// Write error.
    WRITE_ERROR = MediumError 0x0C / 0x00;
    /// Unrecovered read error.
    UNRECOVERED_READ_ERROR = MediumError 0x11 / 0x00;
    /// SANITIZE command failed.
    SANITIZE_COMMAND_FAILED = MediumError 0x31 / 0x03;
    /// Operation in progress: an EXTENDED COPY with the same list identifier.
    OPERATION_IN_PROGRESS = IllegalRequest 0x00 / 0x16;
    /// Parameter list length error.
    PARAMETER_LIST_LENGTH_ERROR = IllegalRequest 0x1A / 0x00;
    /// Invalid command operation code.
    INVALID_OPERATION_CODE = IllegalRequest 0x20 / 0x00;
    /// Logical block address out of range.
    LBA_OUT_OF_RANGE = IllegalRequest 0x21 / 0x00;
    /// Invalid field in CDB.
    INVALID_FIELD_IN_CDB = IllegalRequest 0x24 / 0x00;
    /// Logical unit not supported.
    LOGICAL_UNIT_NOT_SUPPORTED = IllegalRequest 0x25 / 0x00;
    /// Invalid field in parameter list.
    INVALID_FIELD_IN_PARAMETER_LIST = IllegalRequest 0x26 / 0x00;
    /// Too many target descriptors (CSCD descriptors).
    TOO_MANY_CSCD_DESCRIPTORS = IllegalRequest 0x26 / 0x06;
    /// Unsupported target descriptor type code.
    UNSUPPORTED_CSCD_DESCRIPTOR = IllegalRequest 0x26 / 0x07;
    /// Too many segment descriptors.
    TOO_MANY_SEGMENT_DESCRIPTORS = IllegalRequest 0x26 / 0x08;
    /// Unsupported segment descriptor type code.
    UNSUPPORTED_SEGMENT_DESCRIPTOR = IllegalRequest 0x26 / 0x09;
    /// Inline data length exceeded.
    INLINE_DATA_LENGTH_EXCEEDED = IllegalRequest 0x26 / 0x0B;
    /// Saving parameters not supported.
    SAVING_PARAMETERS_NOT_SUPPORTED = IllegalRequest 0x39 / 0x00;
    /// Medium removal prevented.
    MEDIUM_REMOVAL_PREVENTED = IllegalRequest 0x53 / 0x02;
    /// Invalid field in command information unit: the Data-Out is not what the CDB speaks of.
    INVALID_FIELD_IN_COMMAND_IU = IllegalRequest 0x0E / 0x03;
    /// Invalid release of persistent reservation.
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION = IllegalRequest 0x26 / 0x04;
    /// Insufficient registration resources.
    INSUFFICIENT_REGISTRATION_RESOURCES = IllegalRequest 0x55 / 0x04;
    /// Set target port groups command failed.
    SET_TARGET_PORT_GROUPS_FAILED = HardwareError 0x67 / 0x0A;
    /// No additional sense information: a unit that took part says more.
    COPY_ABORTED = CopyAborted 0x00 / 0x00;
    /// Unreachable copy target: the list has no such CSCD descriptor.
    UNREACHABLE_COPY_TARGET = CopyAborted 0x08 / 0x04;
    /// Copy target device not reachable.
    COPY_TARGET_NOT_REACHABLE = CopyAborted 0x0D / 0x02;
    /// Incorrect copy target device type.
    INCORRECT_COPY_TARGET_TYPE = CopyAborted 0x0D / 0x03;
    /// Invalid field in parameter list, found when its segment's turn came.
    COPY_INVALID_FIELD = CopyAborted 0x26 / 0x00;
    /// Unexpected inexact segment.
    UNEXPECTED_INEXACT_SEGMENT = CopyAborted 0x26 / 0x0A;
    /// Internal target failure.
    INTERNAL_TARGET_FAILURE = AbortedCommand 0x44 / 0x00;
    /// Write protected.
    WRITE_PROTECTED = DataProtect 0x27 / 0x00;
    /// Space allocation failed, write protect.
    SPACE_ALLOCATION_FAILED = DataProtect 0x27 / 0x07;
    /// Miscompare during verify operation.
    MISCOMPARE_DURING_VERIFY = Miscompare 0x1D / 0x00;
}

/// Where in a CDB or parameter list the error is (SPC-4 4.5.2.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPointer {
    /// C/D: the byte is in the CDB, not in the parameter list.
    pub in_cdb: bool,
    /// FIELD POINTER.
    pub byte: u16,
    /// BIT POINTER, the leftmost bit of the field.
    pub bit: Option<u8>,
}

/// What happened, ready to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Key and codes.
    pub code: SenseCode,
    /// INFORMATION: an LBA, or an offset in the Data-Out for MISCOMPARE.
    pub information: Option<u64>,
    /// Which field is wrong.
    pub field: Option<FieldPointer>,
    /// PROGRESS INDICATION, in 65536ths; not for ILLEGAL REQUEST.
    pub progress: Option<u16>,
}

impl From<SenseCode> for Sense {
    fn from(code: SenseCode) -> Self {
        Self { code, information: None, field: None, progress: None }
    }
}

impl Sense {
    /// INVALID FIELD IN CDB at `byte`, and at bit `bit` of it when that is worth telling.
    #[must_use]
    pub fn invalid_cdb(byte: u16, bit: Option<u8>) -> Self {
        let field = Some(FieldPointer { in_cdb: true, byte, bit });
        Self { field, ..SenseCode::INVALID_FIELD_IN_CDB.into() }
    }

    /// INVALID FIELD IN PARAMETER LIST at `byte`.
    #[must_use]
    pub fn invalid_parameter(byte: u16) -> Self {
        Self::from(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST).at_parameter(byte)
    }

    /// The same with a pointer to `byte` of the parameter list.
    #[must_use]
    pub const fn at_parameter(self, byte: u16) -> Self {
        Self { field: Some(FieldPointer { in_cdb: false, byte, bit: None }), ..self }
    }

    /// The same with INFORMATION set.
    #[must_use]
    pub const fn with_information(self, information: u64) -> Self {
        Self { information: Some(information), ..self }
    }

    /// Fixed format, current information (SPC-4 4.5.3), 18 bytes. INFORMATION that does not fit is left out.
    #[must_use]
    pub fn fixed(&self) -> Vec<u8> {
        let mut bytes = vec![0; 18];
        bytes[0] = 0x70;
        if let Some(information) = self.information.and_then(|value| u32::try_from(value).ok()) {
            bytes[0] |= 0x80; // VALID
            bytes[3..7].copy_from_slice(&information.to_be_bytes());
        }
        bytes[2] = self.code.key as u8;
        bytes[7] = 10; // ADDITIONAL SENSE LENGTH
        bytes[12] = self.code.asc;
        bytes[13] = self.code.ascq;
        if let Some(specific) = self.key_specific() {
            bytes[15..18].copy_from_slice(&specific);
        }
        bytes
    }

    /// Descriptor format, current information (SPC-4 4.5.2).
    #[must_use]
    pub fn descriptor(&self) -> Vec<u8> {
        let mut bytes = vec![0x72, self.code.key as u8, self.code.asc, self.code.ascq, 0, 0, 0, 0];
        if let Some(information) = self.information {
            bytes.extend([0x00, 0x0A, 0x80, 0]);
            bytes.extend(information.to_be_bytes());
        }
        if let Some(specific) = self.key_specific() {
            bytes.extend([0x02, 0x06, 0, 0]);
            bytes.extend(specific);
            bytes.push(0);
        }
        bytes[7] = u8::try_from(bytes.len() - 8).expect("two descriptors, 20 bytes");
        bytes
    }

    /// The sense key specific bytes, SKSV set (SPC-4 4.5.2.4).
    fn key_specific(&self) -> Option<[u8; 3]> {
        let progress = |progress: u16| {
            let [high, low] = progress.to_be_bytes();
            [0x80, high, low]
        };
        self.field.map(FieldPointer::encode).or_else(|| self.progress.map(progress))
    }
}

impl FieldPointer {
    fn encode(self) -> [u8; 3] {
        let [high, low] = self.byte.to_be_bytes();
        let command = if self.in_cdb { 0x40 } else { 0 };
        let bit = self.bit.map_or(0, |bit| 0x08 | (bit & 0x07));
        [0x80 | command | bit, high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_golden_bytes() {
        let plain = Sense::from(SenseCode::LBA_OUT_OF_RANGE);
        assert_eq!(plain.fixed(), [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0]);
        let field = Sense::invalid_cdb(1, Some(7));
        assert_eq!(field.fixed(), [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xCF, 0, 1]);
        let medium = Sense::from(SenseCode::UNRECOVERED_READ_ERROR).with_information(0x0102_0304);
        assert_eq!(medium.fixed(), [0xF0, 0, 3, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn information_beyond_32_bits_only_fits_the_descriptor_format() {
        let sense = Sense::from(SenseCode::MISCOMPARE_DURING_VERIFY).with_information(1 << 40);
        assert_eq!(sense.fixed()[..7], [0x70, 0, 0xE, 0, 0, 0, 0]);
        assert_eq!(sense.descriptor(), [0x72, 0xE, 0x1D, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn golden_bytes_of_progress() {
        let sense = Sense { progress: Some(0x1234), ..SenseCode::SANITIZE_IN_PROGRESS.into() };
        assert_eq!(sense.fixed(), [0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1B, 0, 0x80, 0x12, 0x34]);
        assert_eq!(sense.descriptor(), [0x72, 2, 4, 0x1B, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0x12, 0x34, 0]);
    }

    #[test]
    fn descriptor_golden_bytes_of_a_field_pointer() {
        let sense = Sense::invalid_parameter(0x0104);
        assert_eq!(sense.descriptor(), [0x72, 5, 0x26, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 1, 4, 0]);
    }
}
