// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text of each rule, from the file that checks the rule.

use super::rule::{Rule, Text};
use super::{access, caches, change, context, contiguous, frames, invalidate, order, parking};

impl Rule {
    /// Returns the rule's text.
    #[must_use]
    pub const fn text(self) -> Text {
        match self {
            Self::M1 => change::M1,
            Self::M2 => change::M2,
            Self::M3 => change::M3,
            Self::M4 => invalidate::M4,
            Self::M5 => invalidate::M5,
            Self::M6 => invalidate::M6,
            Self::M7 => order::M7,
            Self::M8 => access::M8,
            Self::M9 => access::M9,
            Self::M10 => order::M10,
            Self::M11 => contiguous::M11,
            Self::M12 => frames::M12,
            Self::M13 => access::M13,
            Self::M14 => parking::M14,
            Self::M15 => frames::M15,
            Self::M16 => caches::M16,
            Self::M17 => context::M17,
            Self::M18 => context::M18,
        }
    }
}
