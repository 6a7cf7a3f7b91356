//! MODE SENSE and MODE SELECT (SPC-4 6.11 to 6.14, 7.5). One bit can be changed, the software write protection; nothing
//! else: a write cache that says one thing on one head and another on the other would be a lie on one of them.

use nom::bytes::complete::take;
use nom::combinator::{map, map_opt};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16};
use nom::sequence::pair;
use nom::{IResult, Parser};

use crate::scsi::Response;
use crate::scsi::config::UnitConfig;
use crate::scsi::decode::ModeSense;
use crate::scsi::sense::{Sense, SenseCode};

/// PAGE CODE "all pages".
const ALL_PAGES: u8 = 0x3F;
/// SUBPAGE CODE "all subpages".
const ALL_SUBPAGES: u8 = 0xFF;

/// Caching (SBC-3 6.5.5): WCE. The cache is there even while writes go through to the disk; SYNCHRONIZE CACHE and FUA
/// are honoured always.
const CACHING: &[u8] = &[0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Control (SPC-4 7.5.8): GLTSD, unrestricted reordering, fixed format sense data, one task set; SWP by default not set.
const CONTROL: &[u8] = &[0x0A, 0x0A, 0x02, 0x10, 0, 0, 0, 0, 0, 0, 0, 0];
/// Informational exceptions control (SPC-4 7.5.12): DEXCPT, there are none.
const EXCEPTIONS: &[u8] = &[0x1C, 0x0A, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// All pages in the order of their codes, as current and default values.
const PAGES: [&[u8]; 3] = [CACHING, CONTROL, EXCEPTIONS];

/// Where SWP is: byte and bit of the control page.
const SWP: (usize, u8) = (4, 0x08);

/// Device-specific parameter (SBC-3 6.5.1): DPOFUA.
const DPOFUA: u8 = 0x10;
/// Device-specific parameter: WP.
const WRITE_PROTECTED: u8 = 0x80;

/// Which values of the pages a question is about (PC, SPC-4 6.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    Current,
    Changeable,
    Default,
}

/// `page` as it is now, or where it can be changed, or by default; `swp` is the current SWP.
fn values(page: &[u8], which: Values, swp: bool) -> Vec<u8> {
    let mut bytes = page.to_vec();
    if which == Values::Changeable {
        bytes[2..].fill(0);
    }
    if page[0] == CONTROL[0] && (which == Values::Changeable || (which == Values::Current && swp)) {
        bytes[SWP.0] |= SWP.1;
    }
    bytes
}

/// Answer MODE SENSE. `protected`: whether whoever asks may only read; `swp`: the current SWP.
#[must_use]
pub fn sense(config: &UnitConfig, protected: bool, swp: bool, request: &ModeSense) -> Response {
    let which = match request.page_control {
        0 => Values::Current,
        1 => Values::Changeable,
        2 => Values::Default,
        _ => return Response::check(SenseCode::SAVING_PARAMETERS_NOT_SUPPORTED),
    };
    if request.subpage != 0 && !(request.subpage == ALL_SUBPAGES && request.page == ALL_PAGES) {
        return Response::check(Sense::invalid_cdb(3, Some(7)));
    }
    let mut pages = Vec::new();
    for page in PAGES.iter().filter(|page| request.page == ALL_PAGES || request.page == page[0]) {
        pages.extend(values(page, which, swp));
    }
    if pages.is_empty() {
        return Response::check(Sense::invalid_cdb(2, Some(5)));
    }
    let descriptor = match (request.disable_block_descriptors, request.long_lba_accepted) {
        (true, _) => Vec::new(),
        (false, false) => short_descriptor(config),
        (false, true) => long_descriptor(config),
    };
    let mut bytes = header(protected, request, descriptor.len(), pages.len());
    bytes.extend(descriptor);
    bytes.extend(pages);
    Response::parameters(bytes, request.allocation)
}

fn header(protected: bool, request: &ModeSense, descriptor: usize, pages: usize) -> Vec<u8> {
    let specific = DPOFUA | if protected { WRITE_PROTECTED } else { 0 };
    let small = |length: usize| u8::try_from(length).expect("three pages and a descriptor");
    if request.ten {
        let long_lba = u8::from(descriptor == 16);
        vec![0, small(6 + descriptor + pages), 0, specific, long_lba, 0, 0, small(descriptor)]
    } else {
        vec![small(3 + descriptor + pages), 0, specific, small(descriptor)]
    }
}

/// The short LBA block descriptor (SBC-3 6.5.2.2).
fn short_descriptor(config: &UnitConfig) -> Vec<u8> {
    let blocks = u32::try_from(config.blocks).unwrap_or(u32::MAX);
    [blocks.to_be_bytes(), config.block_bytes.to_be_bytes()].concat()
}

/// The long LBA block descriptor (SBC-3 6.5.2.3).
fn long_descriptor(config: &UnitConfig) -> Vec<u8> {
    let mut bytes = config.blocks.to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(config.block_bytes.to_be_bytes());
    bytes
}

/// Check the list of a MODE SELECT, and return what SWP is after it; anything else must equal the current values.
///
/// # Errors
/// PARAMETER LIST LENGTH ERROR or INVALID FIELD IN PARAMETER LIST; nothing is changed then.
pub fn select(config: &UnitConfig, swp: bool, ten: bool, length: u32, data: Option<&[u8]>) -> Result<bool, Sense> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(swp);
    }
    let list = data.unwrap_or_default().get(..length).ok_or(SenseCode::PARAMETER_LIST_LENGTH_ERROR)?;
    let (pages, descriptor) = list_header(ten, list).map_err(|_| SenseCode::PARAMETER_LIST_LENGTH_ERROR)?;
    let header_bytes = list.len() - pages.len() - descriptor.len();
    let descriptors = [vec![], short_descriptor(config), long_descriptor(config)];
    if !descriptors.iter().any(|known| known == descriptor) {
        return Err(Sense::invalid_parameter(u16::try_from(header_bytes).unwrap_or(u16::MAX)));
    }
    check_pages(pages, swp).map_err(|error| match error {
        PageError::Truncated => SenseCode::PARAMETER_LIST_LENGTH_ERROR.into(),
        PageError::Changed { offset } => {
            let byte = list.len() - pages.len() + offset;
            Sense::invalid_parameter(u16::try_from(byte).unwrap_or(u16::MAX))
        }
    })
}

/// The block descriptors after the mode parameter header (SPC-4 7.5.5); the rest are pages.
fn list_header(ten: bool, list: &[u8]) -> IResult<&[u8], &[u8]> {
    if ten {
        length_data(map((take(6_usize), be_u16), |(_, length)| length)).parse(list)
    } else {
        length_data(map((take(3_usize), be_u8), |(_, length)| length)).parse(list)
    }
}

enum PageError {
    Truncated,
    Changed { offset: usize },
}

fn check_pages(all: &[u8], swp: bool) -> Result<bool, PageError> {
    let mut rest = all;
    let mut new_swp = swp;
    while !rest.is_empty() {
        let offset = all.len() - rest.len();
        let (after, (known, value)) = page(rest).map_err(|error| match error {
            nom::Err::Error(error) if error.code == nom::error::ErrorKind::MapOpt => PageError::Changed { offset },
            _ => PageError::Truncated,
        })?;
        let (current, changeable) = (values(known, Values::Current, swp), values(known, Values::Changeable, swp));
        let fixed = current.iter().zip(&changeable).skip(2);
        if let Some(differs) = fixed.zip(value).position(|((is, may), to)| (is ^ to) & !may != 0) {
            return Err(PageError::Changed { offset: offset + 2 + differs });
        }
        if known.len() != value.len() + 2 {
            return Err(PageError::Changed { offset: offset + 1 });
        }
        if known[0] == CONTROL[0] {
            new_swp = value[SWP.0 - 2] & SWP.1 != 0;
        }
        rest = after;
    }
    Ok(new_swp)
}

/// One mode page: ours with that code, and the value sent. PS (bit 7) is reserved in MODE SELECT, yet many send it back.
fn page(input: &[u8]) -> IResult<&[u8], (&'static [u8], &[u8])> {
    let known = map_opt(be_u8, |code: u8| PAGES.into_iter().find(|page| page[0] == code & 0x7F));
    pair(known, length_data(be_u8)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::unit::tests::config;
    use crate::scsi::{DataIn, Status};

    fn request() -> ModeSense {
        ModeSense {
            ten: false,
            disable_block_descriptors: false,
            long_lba_accepted: false,
            page_control: 0,
            page: ALL_PAGES,
            subpage: 0,
            allocation: 255,
        }
    }

    fn sensed(config: &UnitConfig, request: &ModeSense) -> Vec<u8> {
        bytes_of(sense(config, false, false, request))
    }

    fn bytes_of(response: Response) -> Vec<u8> {
        match response {
            Response { status: Status::Good, data_in: DataIn::Parameters(bytes), .. } => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_pages_golden_bytes() {
        let mut expected = vec![55, 0, 0x10, 8, 0, 1, 0, 0, 0, 0, 2, 0];
        expected.extend([0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0x0A, 0x0A, 0x02, 0x10, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0x1C, 0x0A, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sensed(&config(), &request()), expected);
        assert_eq!(sensed(&config(), &ModeSense { page_control: 2, ..request() }), expected);
        assert_eq!(sensed(&config(), &ModeSense { subpage: 0xFF, ..request() }), expected);
        assert_eq!(sensed(&config(), &ModeSense { allocation: 4, ..request() }), expected[..4]);
    }

    #[test]
    fn ten_byte_header_with_a_long_descriptor() {
        let ten = ModeSense { ten: true, long_lba_accepted: true, page: 0x0A, ..request() };
        let bytes = sensed(&config(), &ten);
        assert_eq!(bytes[..8], [0, 34, 0, 0x10, 1, 0, 0, 16]);
        assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(bytes[24..], *CONTROL);
    }

    #[test]
    fn the_cache_is_not_changeable_and_write_protection_shows() {
        let changeable = ModeSense { page_control: 1, disable_block_descriptors: true, page: 0x08, ..request() };
        let mut expected = vec![23, 0, 0x90, 0, 0x08, 0x12];
        expected.resize(24, 0);
        assert_eq!(bytes_of(sense(&config(), true, false, &changeable)), expected);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (request, expected) in [
            (ModeSense { page_control: 3, ..request() }, SenseCode::SAVING_PARAMETERS_NOT_SUPPORTED.into()),
            (ModeSense { page: 0x01, ..request() }, Sense::invalid_cdb(2, Some(5))),
            (ModeSense { page: 0x0A, subpage: 1, ..request() }, Sense::invalid_cdb(3, Some(7))),
        ] {
            assert_eq!(sense(&config(), false, false, &request), Response::check(expected));
        }
    }

    #[test]
    fn select_accepts_what_sense_returned() {
        for ten in [false, true] {
            for long_lba_accepted in [false, true] {
                let list = sensed(&config(), &ModeSense { ten, long_lba_accepted, ..request() });
                let length = u32::try_from(list.len()).unwrap();
                assert_eq!(select(&config(), false, ten, length, Some(&list)), Ok(false));
            }
        }
        assert_eq!(select(&config(), true, false, 0, None), Ok(true), "as it was");
    }

    #[test]
    fn select_refuses_changes_and_fragments() {
        let list = [&[0, 0, 0, 0][..], CACHING].concat();
        let refused = |list: &[u8], length| select(&config(), false, false, length, Some(list)).unwrap_err();
        let mut off = list.clone();
        off[6] = 0;
        assert_eq!(refused(&off, 24), Sense::invalid_parameter(6));
        let mut longer = list.clone();
        longer[5] = 0x0A;
        longer.truncate(16);
        assert_eq!(refused(&longer, 16), Sense::invalid_parameter(5));
        assert_eq!(refused(&[0, 0, 0, 0, 0x2F, 0], 6), Sense::invalid_parameter(4));
        assert_eq!(refused(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 4, 0], 12), Sense::invalid_parameter(4));
        for (list, length) in [(&list[..], 25), (&list[..23], 23), (&list[..3], 3), (&[0, 0, 0, 9][..], 4)] {
            assert_eq!(refused(list, length), SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
        }
    }

    #[test]
    fn software_write_protection_goes_on_and_off() {
        let control =
            |page_control| ModeSense { page: 0x0A, disable_block_descriptors: true, page_control, ..request() };
        let flags = |swp, page_control| bytes_of(sense(&config(), swp, swp, &control(page_control)))[4 + 4];
        assert_eq!([0, 1, 2].map(|which| flags(false, which)), [0, 0x08, 0], "current, changeable, default");
        assert_eq!([0, 1, 2].map(|which| flags(true, which)), [0x08, 0x08, 0]);
        let mut list = [&[0, 0, 0, 0][..], CONTROL].concat();
        let selected = |swp, list: &[u8]| select(&config(), swp, false, 16, Some(list));
        assert_eq!(selected(true, &list), Ok(false));
        list[4 + 4] |= 0x08;
        assert_eq!([false, true].map(|swp| selected(swp, &list)), [Ok(true); 2]);
        list[4 + 4] |= 0x10;
        assert_eq!(selected(false, &list), Err(Sense::invalid_parameter(8)), "UA_INTLCK_CTRL");
        let other = [&[0, 0, 0, 0][..], CACHING].concat();
        assert_eq!(select(&config(), true, false, 24, Some(&other)), Ok(true), "another page leaves it as it is");
    }
}
