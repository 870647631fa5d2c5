// SPDX-License-Identifier: MIT OR Apache-2.0
//! The type of a command, and functions that commands share.

extern crate alloc;

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use cleave::linear_map::ChangeError;
use cleave::tables::VirtAddr;

use super::session::Session;
use crate::mm::image;
use crate::mm::layout::LINEAR_BASE;
use crate::mm::memory;

/// The most words a command takes.
pub(super) const MOST_WORDS: usize = 4;

/// An error that kept a command from doing anything.
pub(super) enum Wrong {
    /// Its words make no sense.
    Usage,
    /// Something else.
    Because(Cow<'static, str>),
}

impl From<&'static str> for Wrong {
    fn from(why: &'static str) -> Self {
        Self::Because(Cow::Borrowed(why))
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Because(Cow::Owned(why))
    }
}

impl From<ChangeError> for Wrong {
    fn from(error: ChangeError) -> Self {
        Self::Because(Cow::Owned(alloc::format!("{error}")))
    }
}

impl From<fmt::Error> for Wrong {
    fn from(_: fmt::Error) -> Self {
        Self::Because(Cow::Borrowed("the console does not take it"))
    }
}

pub(super) type Done = Result<(), Wrong>;

/// One command.
pub(super) struct Command {
    /// Its name, as it is typed.
    pub(super) name: &'static str,
    /// Its words.
    pub(super) usage: &'static str,
    /// Its description, in a line.
    pub(super) about: &'static str,
    /// A line to try.
    pub(super) example: &'static str,
    /// Does it.
    pub(super) run: fn(&mut Session, &[&str]) -> Done,
}

/// Writes the usage of a command on one line.
pub(super) struct Usage<'a>(pub(super) &'a Command);

impl fmt::Display for Usage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(command) = self;
        let space = if command.usage.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}", command.name, command.usage)
    }
}

/// Returns an error if a command that takes no words got some.
pub(super) fn needs_none(words: &[&str]) -> Done {
    if words.is_empty() { Ok(()) } else { Err(Wrong::Usage) }
}

/// Parses an address: a number, a symbol of the image, or `p:` and a physical address, for its place in the linear map.
pub(super) fn address(text: &str) -> Result<VirtAddr, Wrong> {
    match (text.strip_prefix("p:"), image::symbol(text)) {
        (Some(physical), _) => Ok(VirtAddr(LINEAR_BASE.wrapping_add(number(physical)?))),
        (None, Some(symbol)) => Ok(symbol),
        (None, None) => Ok(VirtAddr(number(text)?)),
    }
}

/// Parses an address of the linear map. A symbol of the image stands for its place there.
pub(super) fn linear_address(text: &str) -> Result<VirtAddr, Wrong> {
    match image::symbol(text) {
        Some(symbol) => Ok(memory::linear(image::physical(symbol))),
        None => address(text),
    }
}

/// Parses a number of bytes, with K, M or G behind it for units of 1024.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let units = [("K", 10), ("M", 20), ("G", 30)];
    let unit = units.into_iter().find_map(|(name, shift)| Some((text.strip_suffix(name)?, shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    let bytes = number(digits).ok().and_then(|count| count.checked_mul(1 << shift));
    bytes.ok_or_else(|| Wrong::from(alloc::format!("{text} is no size")))
}

/// Parses a number: hexadecimal with `0x`, decimal without; `_` anywhere.
pub(super) fn number(text: &str) -> Result<u64, Wrong> {
    let clean: String = text.chars().filter(|&character| character != '_').collect();
    let parsed = match clean.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => clean.parse(),
    };
    parsed.map_err(|_| Wrong::Because(Cow::Owned(alloc::format!("{text} is no address"))))
}
