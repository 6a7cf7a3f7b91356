//! What happened, a line an event.

use std::io::Write;

/// Where the lines go.
#[derive(Debug, Default)]
pub enum Log {
    /// Nowhere, and nobody writes them.
    #[default]
    Off,
    /// They are kept.
    Kept(Vec<String>),
    /// To the standard output, each at once: a run may end in a panic.
    Printed,
}

impl Log {
    pub(super) fn note(&mut self, at_ms: u64, line: impl FnOnce() -> String) {
        let line = || format!("{:>3}.{:03} {}", at_ms / 1000, at_ms % 1000, shortened(&line()));
        match self {
            Self::Off => {}
            Self::Kept(lines) => lines.push(line()),
            // Whoever reads it may have seen enough.
            Self::Printed => writeln!(std::io::stdout(), "{}", line()).unwrap_or_default(),
        }
    }

    /// The lines, if they are kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Kept(lines) => lines,
            Self::Off | Self::Printed => &[],
        }
    }
}

/// Types whose names say nothing that their contents do not.
const WRAPPERS: [&str; 10] =
    ["Some", "Ok", "Epoch", "OpId", "IoId", "OrderId", "Millis", "Written", "Message", "Request"];

/// A line made of what `Debug` says, without most of the names: `lba: 3, blocks: 2` is `3+2`, a process four digits.
fn shortened(line: &str) -> String {
    let mut short = String::with_capacity(line.len());
    let mut rest = line;
    // For each bracket that is open, whether it is to be seen.
    let mut open = Vec::new();
    while let Some(next) = rest.chars().next() {
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let behind = &rest[name.len()..];
        let is_name = next.is_ascii_uppercase();
        if let ("Incarnation", Some((number, after))) = (name, behind.split_once(')')) {
            let number: u64 = number.trim_start_matches('(').parse().unwrap_or_default();
            short.push_str(&format!("{:04x}", number & 0xFFFF));
            rest = after;
        } else if let ("Record", Some((_, after))) = (name, behind.split_once('}')) {
            short.push_str("..");
            rest = after;
        } else if let ("Extent", Some((fields, after))) = (name, behind.split_once('}')) {
            let number = |at| fields.split([':', ',']).nth(at).map_or("", str::trim);
            short.push_str(&format!("{}+{}", number(1), number(3)));
            rest = after;
        } else if is_name && WRAPPERS.contains(&name) && behind.starts_with(['(', ' ']) {
            let is_struct = behind.starts_with(" { ");
            let bracket = if is_struct { 3 } else { usize::from(behind.starts_with('(')) };
            if bracket > 0 {
                open.push(false);
            } else {
                short.push_str(name);
            }
            rest = &behind[bracket..];
        } else if !name.is_empty() {
            short.push_str(name);
            rest = behind;
        } else {
            let seen = match next {
                '(' | '{' => {
                    open.push(true);
                    true
                }
                ')' | '}' => open.pop().unwrap_or(true),
                _ => true,
            };
            if seen {
                short.push(next);
            } else if next == '}' && short.ends_with(' ') {
                short.pop();
            }
            rest = &rest[next.len_utf8()..];
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_what_says_nothing() {
        for (line, short) in [
            ("a <- Disk { id: IoId(111), result: Err(Fenced) }", "a <- Disk { id: 111, result: Err(Fenced) }"),
            (
                "b <- Request(Request { op: OpId(7), operation: Read(Extent { lba: 60, blocks: 4 }) })",
                "b <- op: 7, operation: Read(60+4)",
            ),
            ("owner: Some(Incarnation(65538)), record: Record { kept: 3, bytes: [1, 2] }", "owner: 0002, record: .."),
            ("Write(Extent { lba: 1, blocks: 1 }, [Written([42])])", "Write(1+1, [[42]])"),
        ] {
            assert_eq!(shortened(line), short);
        }
    }
}
