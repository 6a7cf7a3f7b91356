//! What a head's configuration says about one unit, as part of a UnitOpen.
//!
//! | bytes | field |
//! | --- | --- |
//! | 2 | bytes of the fixed settings |
//! | | the fixed settings: per setting length (2), key, length (2), value; ascending by key |
//! | | the online settings, likewise |

use std::collections::BTreeMap;

use nom::multi::length_data;
use nom::number::complete::le_u16;
use nom::{IResult, Parser};

use super::control::{settings, whole};

/// The most bytes of the settings of a unit, with the two that separate them.
pub const MAX_SETTINGS_BYTES: usize = 2 + 2 * MAX_KIND_BYTES;
/// The most bytes of the fixed settings, and of the online ones.
const MAX_KIND_BYTES: usize = 24 << 10;

/// What a head's configuration says about one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitSettings {
    fixed: BTreeMap<String, String>,
    online: BTreeMap<String, String>,
}

impl UnitSettings {
    /// `fixed` must be the same on both heads before anything of the unit goes over the link; `online` may differ while
    /// an operator changes one head after the other. What is too long for the link is left out from the first such
    /// setting on.
    #[must_use]
    pub fn new(fixed: BTreeMap<String, String>, online: BTreeMap<String, String>) -> Self {
        Self { fixed: fitting(fixed), online: fitting(online) }
    }

    /// Those that must be the same on both heads.
    #[must_use]
    pub fn fixed(&self) -> &BTreeMap<String, String> {
        &self.fixed
    }

    /// Those that may differ for a while.
    #[must_use]
    pub fn online(&self) -> &BTreeMap<String, String> {
        &self.online
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 2]);
        emit_all(&self.fixed, out);
        out.splice(start..start + 2, length(out.len() - start - 2));
        emit_all(&self.online, out);
    }

    pub(super) fn parse(input: &[u8]) -> IResult<&[u8], Self> {
        let (rest, fixed) = length_data(le_u16).parse_complete(input)?;
        let bad = || nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::Verify));
        let of = |bytes| {
            let bounded: Option<&[u8]> = Some(bytes).filter(|bytes: &&[u8]| bytes.len() <= MAX_KIND_BYTES);
            bounded.and_then(|bytes| whole(settings, bytes)).ok_or_else(bad)
        };
        Ok((&rest[rest.len()..], Self { fixed: of(fixed)?, online: of(rest)? }))
    }
}

fn fitting(settings: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut room = MAX_KIND_BYTES;
    let fits = |(key, value): &(String, String)| {
        room.checked_sub(4 + key.len() + value.len()).is_some_and(|left| {
            room = left;
            true
        })
    };
    settings.into_iter().take_while(fits).collect()
}

fn emit_all(settings: &BTreeMap<String, String>, out: &mut Vec<u8>) {
    for text in settings.iter().flat_map(|(key, value)| [key, value]) {
        out.extend(length(text.len()));
        out.extend(text.as_bytes());
    }
}

fn length(bytes: usize) -> [u8; 2] {
    #[expect(clippy::expect_used, reason = "a checked constant below, and nothing is longer than all of them")]
    u16::try_from(bytes).expect("settings are short").to_le_bytes()
}

const _: () = assert!(MAX_KIND_BYTES <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let long = "x".repeat(MAX_KIND_BYTES - 5);
        let settings = UnitSettings::new(map(&[("a", &long), ("b", "")]), map(&[("a", "1"), ("b", &long), ("c", "")]));
        assert_eq!(settings, UnitSettings { fixed: map(&[("a", &long)]), online: map(&[("a", "1")]) });
        let mut bytes = Vec::new();
        settings.emit(&mut bytes);
        assert!(bytes.len() <= MAX_SETTINGS_BYTES);
        assert_eq!(whole(UnitSettings::parse, &bytes), Some(settings));
    }

    #[test]
    fn one_list_does_not_run_into_the_other() {
        for bytes in [&[][..], &[0], &[1, 0], &[4, 0, 1, 0, b'k'], &[2, 0, 0, 0], &[0, 0, 0, 0], &[0, 0, 1, 0, b'k']] {
            assert_eq!(whole(UnitSettings::parse, bytes), None, "{bytes:?}");
        }
        let twice = [0, 0, 1, 0, b'k', 0, 0, 1, 0, b'k', 0, 0];
        assert_eq!(whole(UnitSettings::parse, &twice), None);
    }
}
