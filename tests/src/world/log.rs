//! What happened, a line an event.

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
        let time = || format!("{:>3}.{:03}", at_ms / 1000, at_ms % 1000);
        match self {
            Self::Off => {}
            Self::Kept(lines) => lines.push(format!("{} {}", time(), line())),
            Self::Printed => println!("{} {}", time(), line()),
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
