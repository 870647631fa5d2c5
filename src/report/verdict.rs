// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict on a run: its word on the console's last line, and its exit status.

use core::fmt;

/// The end of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Verdict {
    /// Everything that was to be shown was shown.
    Pass,
    /// Something was not.
    #[default]
    Fail,
    /// A broken invariant: the kernel does not know what is true any more.
    Panic,
}

impl Verdict {
    /// Returns the exit status of a runner of the kernel; 2 is the runner's own, for a kernel without a verdict.
    pub(crate) const fn status(self) -> u64 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Panic => 3,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Panic => "PANIC",
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;

    #[test]
    fn verdicts_have_the_words_and_statuses_that_runners_expect() {
        let all = [(Verdict::Pass, "PASS", 0), (Verdict::Fail, "FAIL", 1), (Verdict::Panic, "PANIC", 3)];
        for (verdict, word, status) in all {
            assert_eq!(format!("{verdict}"), word);
            assert_eq!(verdict.status(), status);
        }
    }
}
