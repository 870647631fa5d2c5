// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state that monitor commands share, and the console as they write to it.

extern crate alloc;

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

use crate::io::console;
use crate::mm::secret::SecretFrame;
use crate::report::verdict::Verdict;

/// The state that the commands share.
pub(crate) struct Session {
    /// The verdict of the run so far.
    pub(crate) verdict: Verdict,
    /// The secret frames that were taken.
    pub(super) secrets: Vec<SecretFrame>,
    /// Set by `off`.
    pub(super) over: bool,
}

/// The console as the commands write to it.
#[derive(Clone, Copy)]
pub(super) struct Screen;

impl fmt::Write for Screen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::print(format_args!("{text}"));
        Ok(())
    }
}

impl embedded_io::ErrorType for Screen {
    type Error = Infallible;
}

impl embedded_io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // The editor writes text that was read here, which is ASCII, and escape sequences.
        console::print(format_args!("{}", core::str::from_utf8(bytes).unwrap_or("?")));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
