// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer of strict JSON for the members of a report, which does not allocate.
//!
//! Integers are below 2^53, the largest a JavaScript number holds exactly: a larger one, which no address of 52 bits and
//! no sane count is, is written as 2^53 - 1, so that it is still seen to be out of range.
//! Everything in a string outside printable ASCII is escaped: the line survives any serial terminal.

use alloc::{borrow::Cow, vec::Vec};
use core::fmt::{self, Write};

use cleave::tables::PhysRange;

/// The largest integer written.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The destination of JSON. A trait object, so that the writers are compiled once.
pub(super) type Out<'a> = &'a mut dyn Write;

/// A value that has a JSON form.
pub(super) trait Json {
    /// Writes the value.
    fn json(&self, out: Out) -> fmt::Result;
}

/// Returns the members of an object, in order.
pub(super) fn object(out: Out, members: &[(&str, &dyn Json)]) -> fmt::Result {
    let mut separator = '{';
    for (key, value) in members {
        out.write_char(separator)?;
        key.json(out)?;
        out.write_char(':')?;
        value.json(out)?;
        separator = ',';
    }
    out.write_char('}')
}

/// An object made of members where it stands.
pub(super) struct Object<'a>(pub(super) &'a [(&'a str, &'a dyn Json)]);

impl Json for Object<'_> {
    fn json(&self, out: Out) -> fmt::Result {
        object(out, self.0)
    }
}

/// An object of numbers, null where one is not known.
pub(super) struct Numbers<const N: usize>(pub(super) [(&'static str, Option<u64>); N]);

impl<const N: usize> Json for Numbers<N> {
    fn json(&self, out: Out) -> fmt::Result {
        object(out, &self.0.each_ref().map(|(key, value)| (*key, value as &dyn Json)))
    }
}

impl Json for u64 {
    fn json(&self, out: Out) -> fmt::Result {
        write!(out, "{}", (*self).min(INTEGER_MAX))
    }
}

impl Json for u32 {
    fn json(&self, out: Out) -> fmt::Result {
        u64::from(*self).json(out)
    }
}

impl Json for u8 {
    fn json(&self, out: Out) -> fmt::Result {
        u64::from(*self).json(out)
    }
}

impl Json for bool {
    fn json(&self, out: Out) -> fmt::Result {
        out.write_str(if *self { "true" } else { "false" })
    }
}

/// A value as the string that it is shown as.
pub(super) struct Shown<T>(pub(super) T);

impl<T: fmt::Display> Json for Shown<T> {
    fn json(&self, out: Out) -> fmt::Result {
        out.write_char('"')?;
        write!(Escaped(out), "{}", self.0)?;
        out.write_char('"')
    }
}

/// The inside of a string.
struct Escaped<'a>(Out<'a>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '"' => self.0.write_str("\\\"")?,
                '\\' => self.0.write_str("\\\\")?,
                ' '..='~' => self.0.write_char(character)?,
                _ => {
                    // Beyond the basic plane a character is two UTF-16 units, escaped one by one (RFC 8259, section 7).
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(self.0, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Json for &str {
    fn json(&self, out: Out) -> fmt::Result {
        Shown(self).json(out)
    }
}

impl Json for Cow<'_, str> {
    fn json(&self, out: Out) -> fmt::Result {
        self.as_ref().json(out)
    }
}

impl<T: Json> Json for Option<T> {
    fn json(&self, out: Out) -> fmt::Result {
        match self {
            Some(value) => value.json(out),
            None => out.write_str("null"),
        }
    }
}

impl<T: Json> Json for Vec<T> {
    fn json(&self, out: Out) -> fmt::Result {
        out.write_char('[')?;
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                out.write_char(',')?;
            }
            value.json(out)?;
        }
        out.write_char(']')
    }
}

/// Half-open, as a pair.
impl Json for PhysRange {
    fn json(&self, out: Out) -> fmt::Result {
        write!(out, "[{},{}]", self.start.0.min(INTEGER_MAX), self.end.0.min(INTEGER_MAX))
    }
}
