//! Tags and sequence numbers, and the arithmetic of numbers that wrap (RFC 7143 4.2.2, RFC 1982).

use std::fmt;

/// The tag that stands for "none" in every tag field.
const RESERVED: u32 = 0xffff_ffff;

/// Initiator Task Tag (RFC 7143 11.2.1.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Itt(pub u32);

/// Target Transfer Tag: the target's name for a transfer that it asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ttt(pub u32);

impl Itt {
    /// No task.
    pub const RESERVED: Self = Self(RESERVED);
}

impl Ttt {
    /// No transfer.
    pub const RESERVED: Self = Self(RESERVED);
}

/// Orders the commands of a session (RFC 7143 4.2.2.1). Compared only by the methods below: it wraps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CmdSn(pub u32);

/// Orders the answers of a connection (RFC 7143 4.2.2.2). It wraps like [`CmdSn`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StatSn(pub u32);

macro_rules! serial_number {
    ($name:ident) => {
        impl $name {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                self.plus(1)
            }

            /// The number `count` after this one.
            #[must_use]
            pub fn plus(self, count: u32) -> Self {
                Self(self.0.wrapping_add(count))
            }

            /// The number `count` before this one.
            #[must_use]
            pub fn minus(self, count: u32) -> Self {
                Self(self.0.wrapping_sub(count))
            }

            /// How many steps lead from `earlier` to this one.
            #[must_use]
            pub fn since(self, earlier: Self) -> u32 {
                self.0.wrapping_sub(earlier.0)
            }

            /// Whether this comes before `other` (RFC 1982 3.2). Of two numbers half the circle apart neither does.
            #[must_use]
            pub fn is_before(self, other: Self) -> bool {
                let distance = other.since(self);
                distance != 0 && distance < 1 << 31
            }

            /// Whether this lies in `first..=last` on the circle; an empty window is `last` just before `first`.
            #[must_use]
            pub fn is_within(self, first: Self, last: Self) -> bool {
                !self.is_before(first) && !last.is_before(self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

serial_number!(CmdSn);
serial_number!(StatSn);

impl fmt::Debug for Itt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Itt({:#x})", self.0)
    }
}

impl fmt::Debug for Ttt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ttt({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap() {
        let last = CmdSn(u32::MAX);
        assert_eq!(last.next(), CmdSn(0));
        assert!(last.is_before(CmdSn(0)));
        assert!(last.is_before(CmdSn(5)));
        assert!(!CmdSn(5).is_before(last));
        assert!(!last.is_before(last));
        assert_eq!(CmdSn(3).since(CmdSn(u32::MAX - 1)), 5);
        assert_eq!(CmdSn(0).minus(1), last);
    }

    #[test]
    fn numbers_half_the_circle_apart_have_no_order() {
        assert!(!CmdSn(0).is_before(CmdSn(1 << 31)));
        assert!(!CmdSn(1 << 31).is_before(CmdSn(0)));
    }

    #[test]
    fn a_window_may_wrap_or_be_empty() {
        assert!(CmdSn(1).is_within(CmdSn(u32::MAX), CmdSn(2)));
        assert!(!CmdSn(3).is_within(CmdSn(u32::MAX), CmdSn(2)));
        assert!(!CmdSn(7).is_within(CmdSn(7), CmdSn(6)));
    }
}
