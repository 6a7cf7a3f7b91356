//! Bytes as the value of a text key: hexadecimal or Base64 (RFC 7143 6.1).

/// The bytes that `value` stands for, if it is a binary-value of at most `max` bytes. Half a byte, half a Base64 group and
/// bits that belong to no byte are refused: nobody could tell what was meant.
#[must_use]
pub fn parse(value: &str, max: usize) -> Option<Vec<u8>> {
    let (prefix, digits) = value.split_at_checked(2)?;
    let bytes = match prefix {
        "0x" | "0X" => hexadecimal(digits),
        "0b" | "0B" => base64(digits),
        _ => None,
    };
    bytes.filter(|bytes| !bytes.is_empty() && bytes.len() <= max)
}

/// `bytes` in hexadecimal, which every initiator reads.
#[must_use]
pub fn emit(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("four bits are a hexadecimal digit");
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0F)]);
    "0x".chars().chain(digits).collect()
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks();
    let bytes = pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

/// RFC 4648 4, with its padding.
fn base64(digits: &str) -> Option<Vec<u8>> {
    let (groups, rest) = digits.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (index, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|digit| **digit == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 < groups.len()) {
            return None;
        }
        let sextets = group[..4 - padding].iter().try_fold(0, |bits: u32, digit| Some(bits << 6 | sextet(*digit)?))?;
        let [_, all @ ..] = (sextets << (6 * padding)).to_be_bytes();
        let (whole, left_over) = all.split_at(3 - padding);
        if left_over.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend(whole);
    }
    Some(bytes)
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings() {
        for (value, bytes) in [
            ("0x00", &[0][..]),
            ("0XfF01", &[0xFF, 1]),
            ("0bAA==", &[0]),
            ("0BZm8=", b"fo"),
            ("0bZm9v", b"foo"),
            ("0bZm9vYg==", b"foob"),
            ("0b+/+/", &[0xFB, 0xFF, 0xBF]),
        ] {
            assert_eq!(parse(value, 4).as_deref(), Some(bytes), "{value}");
        }
        assert_eq!(emit(&[0, 0x1F, 0xA0]), "0x001fa0");
        assert_eq!(parse(&emit(b"any bytes"), 9).unwrap(), b"any bytes");
    }

    #[test]
    fn what_is_neither_is_refused() {
        for value in [
            "",
            "0",
            "12",
            "0x",
            "0b",
            "0x1",
            "0x0g",
            "0x+1",
            "00ff",
            "0bA",
            "0bAA=",
            "0bAA",
            "0bA===",
            "0b====",
            "0bAA==AA==",
            "0bAB==",
            "0bAAE=AAAA",
            "0bA-AA",
            "0b\u{e4}AA",
            "\u{e4}\u{e4}",
            "0x0102030405",
        ] {
            assert_eq!(parse(value, 4), None, "{value}");
        }
    }
}
