//! How things may be called.

use std::path::{Component, Path, PathBuf};

/// Longest iSCSI name in bytes (RFC 7143 4.2.7.1).
const ISCSI_NAME_BYTES_MAX: usize = 223;
const LUN_NAME_BYTES_MAX: usize = 32;
/// Room for a path in `sockaddr_un`, its final zero not counted.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Whether `name` is an iqn in its normal form (RFC 7143 4.2.7.3 to 4.2.7.4): what is wrong with it otherwise.
pub(super) fn check_iqn(name: &str) -> Result<(), String> {
    if name.len() > ISCSI_NAME_BYTES_MAX {
        return Err(format!("{} bytes long, more than the {ISCSI_NAME_BYTES_MAX} an iSCSI name may have", name.len()));
    }
    if name.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("iSCSI names are compared in lower case; write \"{}\"", name.to_ascii_lowercase()));
    }
    if let Some(bad) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | ':')) {
        return Err(format!("{bad:?} cannot stand in an iSCSI name; a-z, 0-9, . - and : can"));
    }
    let Some(rest) = name.strip_prefix("iqn.") else {
        return Err("does not begin with iqn.".to_owned());
    };
    let (authority, own) = rest.split_once(':').map_or((rest, None), |(authority, own)| (authority, Some(own)));
    let (date, domain) = authority.split_once('.').unwrap_or((authority, ""));
    if !is_year_and_month(date) {
        return Err(format!("\"{date}\" is not a year and month, such as 2026-11"));
    }
    if !domain.split('.').all(is_dns_label) {
        return Err(format!("\"{domain}\" is not a domain name written backwards"));
    }
    if own == Some("") {
        return Err("ends with a colon that nothing follows".to_owned());
    }
    Ok(())
}

/// Whether `name`, in lower case, can be that of an initiator (RFC 7143 4.2.7): what is wrong with it otherwise. Less
/// strict than [`check_iqn`]: what initiators call themselves is not ours to correct.
pub(super) fn check_initiator(name: &str) -> Result<(), String> {
    let hex = |digits: &str, lengths: &[usize]| {
        lengths.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if name.len() > ISCSI_NAME_BYTES_MAX {
        return Err(format!("{} bytes long, more than the {ISCSI_NAME_BYTES_MAX} an iSCSI name may have", name.len()));
    }
    if let Some(bad) = name.chars().find(|c| !c.is_alphanumeric() && !matches!(c, '.' | '-' | ':' | '_')) {
        return Err(format!("{bad:?} cannot stand in an iSCSI name"));
    }
    let wrong = if let Some(rest) = name.strip_prefix("iqn.") {
        let (date, domain) = rest.split_once('.').unwrap_or((rest, ""));
        let domain = domain.split(':').next().unwrap_or_default();
        match () {
            () if !is_year_and_month(date) => format!("\"{date}\" is not a year and month, such as 1993-08"),
            () if domain.is_empty() => "has no domain name after the month".to_owned(),
            () => return Ok(()),
        }
    } else if let Some(digits) = name.strip_prefix("eui.") {
        if hex(digits, &[16]) {
            return Ok(());
        }
        "eui. is followed by 16 hexadecimal digits".to_owned()
    } else if let Some(digits) = name.strip_prefix("naa.") {
        if hex(digits, &[16, 32]) {
            return Ok(());
        }
        "naa. is followed by 16 or 32 hexadecimal digits".to_owned()
    } else {
        "not an iSCSI name: it begins with none of iqn., eui. and naa.".to_owned()
    };
    Err(wrong)
}

fn is_year_and_month(date: &str) -> bool {
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    date.split_once('-')
        .is_some_and(|(year, month)| digits(year, 4) && digits(month, 2) && matches!(month.parse::<u8>(), Ok(1..=12)))
}

/// One part of a domain name (RFC 1123 2.1), in lower or upper case.
pub(super) fn is_dns_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

pub(super) fn is_lun_name(name: &str) -> bool {
    name.len() <= LUN_NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        && name != "all"
}

/// An absolute path in which no two spellings name the same thing; `None` otherwise.
pub(super) fn absolute(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let named = path.file_name().is_some() && !path.as_os_str().as_encoded_bytes().contains(&0);
    (path.is_absolute() && plain && named).then(|| path.components().collect())
}

pub(super) fn socket_path(path: &str) -> Option<PathBuf> {
    absolute(path).filter(|path| path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_targets() {
        for good in ["iqn.2026-11.com.example:pair1", "iqn.1992-01.com.x-y", "iqn.2001-04.a.b.c:d:e.f-g"] {
            assert_eq!(check_iqn(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "iqn.",
            "eui.02004567A425678D",
            "iqn.2026-13.com.example",
            "iqn.2026-00.com.example",
            "iqn.26-11.com",
            "iqn.2026-11",
            "iqn.2026-11.",
            "iqn.2026-11.com..example",
            "iqn.2026-11.-com",
            "iqn.2026-11.com.example:",
            "iqn.2026-11.com.example:Pair",
            "iqn.2026-11.com.example:pair_1",
            "iqn.2026-11.com.example:p\u{e4}r",
        ] {
            assert!(check_iqn(bad).is_err(), "{bad}");
        }
        assert!(check_iqn(&format!("iqn.2026-11.com.example:{}", "x".repeat(199))).is_ok());
        assert!(check_iqn(&format!("iqn.2026-11.com.example:{}", "x".repeat(200))).is_err());
    }

    #[test]
    fn names_of_initiators() {
        for good in [
            "iqn.1993-08.org.debian:01:abc",
            "iqn.1991-05.com.microsoft:win_1.example.com",
            "iqn.2026-11.example",
            "eui.02004567a425678d",
            "naa.52004567ba64678d",
            "naa.62004567ba64678d0123456789abcdef",
            "iqn.2026-11.com.example:\u{e4}",
        ] {
            assert_eq!(check_initiator(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "abc",
            "iqn.",
            "iqn.1993-13.org",
            "iqn.1993-08",
            "iqn.1993-08.:x",
            "eui.0200",
            "naa.1",
            "iqn.1993-08.org a",
        ] {
            assert!(check_initiator(bad).is_err(), "{bad}");
        }
        assert!(check_initiator(&format!("iqn.2026-11.com.example:{}", "x".repeat(200))).is_err());
    }

    #[test]
    fn names_of_luns() {
        assert!(["db", "a", "vm-1_x.y"].into_iter().all(is_lun_name));
        assert!(!["", "0", "1db", "DB", "all", "a b", "-a", "\u{e4}"].into_iter().any(is_lun_name));
        assert!(is_lun_name(&"x".repeat(32)) && !is_lun_name(&"x".repeat(33)));
    }

    #[test]
    fn paths() {
        assert_eq!(absolute("/dev//disk/./by-id/x/"), Some(PathBuf::from("/dev/disk/by-id/x")));
        assert!(["", "/", "dev/x", "/dev/../x", "/a\0b"].into_iter().all(|path| absolute(path).is_none()));
    }
}
