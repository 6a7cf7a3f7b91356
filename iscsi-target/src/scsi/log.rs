//! LOG SENSE (SPC-4 6.8, 7.3). A unit of two heads on somebody else's disk counts little: the pages are there for tools
//! that ask every disk for them, and say what is so.

use crate::scsi::Response;
use crate::scsi::sense::Sense;

/// SUBPAGE CODE of the list that names subpages, too.
const ALL_SUBPAGES: u8 = 0xFF;
/// PC 00b and 10b: thresholds, of which there are none. 01b and 11b, values and their defaults, are the same here.
const THRESHOLDS: [u8; 2] = [0b00, 0b10];
/// A TEMPERATURE that nobody measures.
const NO_TEMPERATURE: u8 = 0xFF;
/// FORMAT AND LINKING 11b: a list in binary.
const BINARY_LIST: u8 = 0x03;

/// A log page: PAGE CODE, and its parameters in the order of their codes.
type Page = (u8, &'static [Parameter]);
/// PARAMETER CODE and value.
type Parameter = (u16, &'static [u8]);

/// All pages in the order of their codes. Page 00h lists the others.
const PAGES: [Page; 4] = [
    (0x00, &[]),
    // Temperature: TEMPERATURE.
    (0x0D, &[(0x0000, &[0, NO_TEMPERATURE])]),
    // Start-stop cycle counter: SPECIFIED and ACCUMULATED START-STOP CYCLES.
    (0x0E, &[(0x0003, &[0; 4]), (0x0004, &[0; 4])]),
    // Informational exceptions: ASC, ASCQ, MOST RECENT TEMPERATURE READING, and what tools take for a threshold of it.
    (0x2F, &[(0x0000, &[0, 0, NO_TEMPERATURE, NO_TEMPERATURE])]),
];

/// Answer LOG SENSE; `pointer` is the first PARAMETER CODE that is wanted.
#[must_use]
pub fn sense(page_control: u8, page: u8, subpage: u8, pointer: u16, allocation: u32) -> Response {
    let Some((_, parameters)) = PAGES.iter().find(|(code, _)| *code == page) else {
        return Response::check(Sense::invalid_cdb(2, Some(5)));
    };
    if subpage != 0 && !(page == 0 && subpage == ALL_SUBPAGES) {
        return Response::check(Sense::invalid_cdb(3, Some(7)));
    }
    let last = parameters.last().map_or(0, |(code, _)| *code);
    if pointer > last {
        return Response::check(Sense::invalid_cdb(5, Some(7)));
    }
    if page != 0 && THRESHOLDS.contains(&page_control) {
        return Response::check(Sense::invalid_cdb(2, Some(7)));
    }
    let list: Vec<u8> = match (page, subpage) {
        (0, 0) => PAGES.iter().map(|(code, _)| *code).collect(),
        (0, _) => supported_subpages(),
        _ => parameters.iter().filter(|(code, _)| *code >= pointer).flat_map(parameter).collect(),
    };
    let spf = if subpage == 0 { 0 } else { 0x40 };
    let mut bytes = vec![spf | page, subpage];
    bytes.extend(u16::try_from(list.len()).expect("a few parameters").to_be_bytes());
    bytes.extend(list);
    Response::parameters(bytes, allocation)
}

/// Page 00h/FFh: every page, itself included.
fn supported_subpages() -> Vec<u8> {
    let mut list: Vec<u8> = PAGES.iter().flat_map(|(code, _)| [*code, 0]).collect();
    list.splice(2..2, [0x00, ALL_SUBPAGES]);
    list
}

/// A log parameter (SPC-4 7.3.2).
fn parameter((code, value): &Parameter) -> Vec<u8> {
    let mut bytes = code.to_be_bytes().to_vec();
    bytes.extend([BINARY_LIST, u8::try_from(value.len()).expect("some bytes")]);
    bytes.extend(*value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::Status;
    use crate::scsi::unit::tests::data;

    #[test]
    fn golden_bytes() {
        let current = |page, subpage| data(sense(1, page, subpage, 0, 255));
        assert_eq!(current(0x00, 0), [0x00, 0, 0, 4, 0x00, 0x0D, 0x0E, 0x2F]);
        #[rustfmt::skip]
        assert_eq!(current(0x00, 0xFF), [0x40, 0xFF, 0, 10, 0x00, 0, 0x00, 0xFF, 0x0D, 0, 0x0E, 0, 0x2F, 0]);
        assert_eq!(current(0x0D, 0), [0x0D, 0, 0, 6, 0, 0, 3, 2, 0, 0xFF]);
        assert_eq!(current(0x0E, 0), [0x0E, 0, 0, 16, 0, 3, 3, 4, 0, 0, 0, 0, 0, 4, 3, 4, 0, 0, 0, 0]);
        assert_eq!(current(0x2F, 0), [0x2F, 0, 0, 8, 0, 0, 3, 4, 0, 0, 0xFF, 0xFF]);
        assert_eq!(data(sense(1, 0x2F, 0, 0, 5)).len(), 5);
        assert_eq!(data(sense(3, 0x0E, 0, 4, 255)), [0x0E, 0, 0, 8, 0, 4, 3, 4, 0, 0, 0, 0]);
    }

    #[test]
    fn every_listed_page_is_there_and_nothing_else() {
        for page in 0..0x40 {
            let listed = PAGES.iter().any(|(code, _)| *code == page);
            assert_eq!(sense(1, page, 0, 0, 255).status == Status::Good, listed, "{page:02x}");
        }
        assert!(PAGES.is_sorted_by_key(|(code, _)| *code));
    }

    #[test]
    fn what_is_not_there_is_refused_where_it_stands() {
        for (page_control, page, subpage, pointer, byte, bit) in [
            (1, 0x15, 0, 0, 2, 5),
            (1, 0x2F, 1, 0, 3, 7),
            (1, 0x00, 1, 0, 3, 7),
            (1, 0x0E, 0, 5, 5, 7),
            (0, 0x0D, 0, 0, 2, 7),
            (2, 0x0D, 0, 0, 2, 7),
        ] {
            let refused = Response::check(Sense::invalid_cdb(byte, Some(bit)));
            assert_eq!(sense(page_control, page, subpage, pointer, 255), refused, "{page:02x}/{subpage:02x}");
        }
    }
}
