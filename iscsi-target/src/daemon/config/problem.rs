//! What is wrong with a configuration, and where.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// More problems than anybody reads at once; what comes after them is not looked for.
const PROBLEMS_MAX: usize = 50;
/// Characters of the file that are quoted.
const QUOTE_MAX: usize = 60;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The setting, as in `luns[1].disk`; empty when it concerns the file as a whole.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

/// All that is wrong with a file, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// Collects problems while a file is checked.
pub(super) struct Findings<'t> {
    text: &'t str,
    problems: Vec<Problem>,
    reported: BTreeSet<String>,
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new(), reported: BTreeSet::new() }
    }

    /// Note a problem with what stands at `span`.
    pub(super) fn add(&mut self, span: &Range<usize>, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        if self.is_full() {
            return;
        }
        let start = self.text.floor_char_boundary(span.start.min(self.text.len()));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.problems.push(Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key: key.to_owned(),
            found: quote(&self.text[start..self.text.ceil_char_boundary(span.end.clamp(start, self.text.len()))]),
            wrong: wrong.into(),
            right: right.into(),
        });
        self.reported.insert(key.to_owned());
    }

    /// Note that `key` is missing from the table at `parent`, unless it is missing only because it was reported and
    /// left out.
    pub(super) fn missing(&mut self, parent: &Range<usize>, key: &str, right: impl Into<String>) {
        if !self.reported(key) {
            self.add(parent, key, "missing", right);
        }
    }

    /// Whether there is a problem with `key` already.
    pub(super) fn reported(&self, key: &str) -> bool {
        self.reported.contains(key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    pub(super) fn into_invalid(mut self) -> Option<Invalid> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        (!self.problems.is_empty()).then_some(Invalid { problems: self.problems })
    }
}

/// The first line of `text`, shortened.
fn quote(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim_end();
    if line.chars().count() > QUOTE_MAX {
        return line.chars().take(QUOTE_MAX).chain("...".chars()).collect();
    }
    line.to_owned()
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("1 problem")?,
            PROBLEMS_MAX => write!(f, "{PROBLEMS_MAX} problems or more")?,
            count => write!(f, "{count} problems")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.wrong)?;
        if !self.found.is_empty() {
            write!(f, "\n  found: {}", self.found)?;
        }
        write!(f, "\n  right: {}", self.right)
    }
}

impl std::error::Error for Invalid {}
