// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text for a console 80 columns wide: wrapped words, grouped digits, durations. Nothing here allocates.

use crate::options::ClockKind;
use core::fmt::{self, Write};

/// Columns a line may have.
pub(super) const COLUMNS: usize = 80;

/// Columns before the text: the label's.
pub(super) const INDENT: usize = 12;

/// Writes `label` and then `text`, broken at spaces and indented so that only labels stand at the left edge.
///
/// A word longer than a line is broken where the line ends, no word at all is a `-`. A control character is shown as
/// `?`: it could move the cursor.
pub(super) fn wrapped(out: &mut dyn Write, label: &str, text: &str) -> fmt::Result {
    let width = COLUMNS - INDENT;
    write!(out, "{label:<INDENT$}")?;
    if text.trim().is_empty() {
        return out.write_str("-\n");
    }
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 {
            if column + 1 + length > width {
                write!(out, "\n{:INDENT$}", "")?;
                column = 0;
            } else {
                out.write_char(' ')?;
                column += 1;
            }
        }
        for character in word.chars() {
            if column == width {
                write!(out, "\n{:INDENT$}", "")?;
                column = 0;
            }
            out.write_char(if character.is_control() { '?' } else { character })?;
            column += 1;
        }
    }
    out.write_char('\n')
}

/// A number with its digits in groups of three; pads like a string.
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line::default();
        let mut divisor = 1;
        while self.0 / divisor >= 1000 {
            divisor *= 1000;
        }
        write!(line, "{}", self.0 / divisor)?;
        while divisor > 1 {
            divisor /= 1000;
            write!(line, ",{:03}", self.0 / divisor % 1000)?;
        }
        f.pad(line.as_str())
    }
}

/// A value, or `-` where there is none; pads like a string.
pub(super) struct Maybe<T>(pub(super) Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.pad("-"),
        }
    }
}

/// A value of at most a line, which pads like a string.
pub(super) struct Padded<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Padded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line::default();
        write!(line, "{}", self.0)?;
        f.pad(line.as_str())
    }
}

/// A duration: of a real clock in microseconds with one digit behind the point, of a counted one in ticks. Pads like a
/// string.
pub(super) struct Elapsed {
    /// The duration.
    pub(super) ticks: Option<u64>,
    /// Ticks in a second.
    pub(super) frequency: Option<u64>,
    /// The unit of the ticks.
    pub(super) clock: ClockKind,
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.clock == ClockKind::Counted {
            return Maybe(self.ticks.map(Grouped)).fmt(f);
        }
        let (Some(ticks), Some(frequency @ 1..)) = (self.ticks, self.frequency) else { return f.pad("-") };
        let tenths = u128::from(ticks) * 10_000_000 / u128::from(frequency);
        let whole = u64::try_from(tenths / 10).unwrap_or(u64::MAX);
        let mut line = Line::default();
        write!(line, "{}.{}", Grouped(whole), tenths % 10)?;
        f.pad(line.as_str())
    }
}

/// A short text composed on the stack, so that it can be padded. What does not fit is an error.
pub(super) struct Line {
    bytes: [u8; COLUMNS],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; COLUMNS], length: 0 }
    }
}

impl Line {
    /// Returns the text that was written.
    pub(super) fn as_str(&self) -> &str {
        // Only whole strings are appended, so this cannot fail.
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
