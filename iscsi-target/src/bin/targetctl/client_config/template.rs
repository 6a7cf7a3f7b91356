//! Texts with gaps: `@IQN@` and the like. A line with a gap that has several values is repeated for each of them.

use iscsi_target::daemon::config::Config;
use iscsi_target::scsi::inquiry::{PRODUCT, VENDOR};

/// The values of one line, gap by gap.
pub(super) type Row<'a> = Vec<(&'static str, &'a str)>;

/// `template`, filled in with what `config` says.
pub(super) fn fill(template: &str, config: &Config) -> String {
    let portals: Vec<Row<'_>> = portals(config)
        .map(|portal| {
            let (host, port) = host_and_port(portal);
            vec![("@PORTAL@", portal), ("@HOST@", host), ("@PORT@", port)]
        })
        .collect();
    let (vendor, product) = (ascii(&VENDOR), ascii(&PRODUCT));
    let names = [("@IQN@", config.iqn.as_str()), ("@VENDOR@", &vendor), ("@PRODUCT@", &product)];
    let once = replace(template, &[names.as_slice(), &[("@MODEL@", product.trim_end())]].concat());
    repeat(&once, &portals)
}

/// `text` with each line that has a gap of `rows` once for each of them.
pub(super) fn repeat(text: &str, rows: &[Row<'_>]) -> String {
    let gaps: Vec<&str> = rows.iter().flatten().map(|(gap, _)| *gap).collect();
    text.split_inclusive('\n')
        .flat_map(|line| {
            if gaps.iter().any(|gap| line.contains(gap)) {
                rows.iter().map(|row| replace(line, row)).collect()
            } else {
                vec![line.to_owned()]
            }
        })
        .collect()
}

/// `text` with its gaps filled.
pub(super) fn replace(text: &str, values: &[(&'static str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (gap, value)| text.replace(gap, value))
}

/// What clients connect to: head a's portals, then head b's.
pub(super) fn portals(config: &Config) -> impl Iterator<Item = &str> {
    config.heads.values().flat_map(|head| &head.portals).map(|portal| portal.advertise.as_str())
}

/// An IPv6 address without its brackets, which only keep it apart from the port.
fn host_and_port(portal: &str) -> (&str, &str) {
    let (host, port) = portal.rsplit_once(':').unwrap_or((portal, "3260"));
    (host.trim_matches(['[', ']']), port)
}

fn ascii(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_repeated_for_each_row() {
        let rows = [vec![("@A@", "1"), ("@B@", "x")], vec![("@A@", "2"), ("@B@", "y")]];
        assert_eq!(repeat("once\n@A@ and @B@\nend", &rows), "once\n1 and x\n2 and y\nend");
        assert_eq!(repeat("@A@\n", &[]), "@A@\n");
    }

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(host_and_port("192.0.2.1:3260"), ("192.0.2.1", "3260"));
        assert_eq!(host_and_port("[2001:db8::1]:3261"), ("2001:db8::1", "3261"));
        assert_eq!(host_and_port("san.example.com:3260"), ("san.example.com", "3260"));
    }
}
