// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules' names, and what a violation says.

use core::fmt;

use super::event::Event;
use cleave::tables::{Descriptor, PhysAddr, VirtAddr};

/// A rule of the machine. Its sentence and its source stand beside the code that checks it: see [`Rule::text`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[allow(missing_docs, reason = "each has its text")]
pub enum Rule {
    M1,
    M2,
    M3,
    M4,
    M5,
    M6,
    M7,
    M8,
    M9,
    M10,
    M11,
    M12,
    M13,
    M14,
    M15,
    M16,
    M17,
    M18,
}

/// The text of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text {
    /// One or two words.
    pub name: &'static str,
    /// The condition that violates it.
    pub sentence: &'static str,
    /// The sections of the architecture that say so: those of the Arm ARM, DDI 0487, by title.
    pub source: &'static str,
}

impl Rule {
    /// Every rule, in order.
    pub const ALL: [Self; 18] = [
        Self::M1,
        Self::M2,
        Self::M3,
        Self::M4,
        Self::M5,
        Self::M6,
        Self::M7,
        Self::M8,
        Self::M9,
        Self::M10,
        Self::M11,
        Self::M12,
        Self::M13,
        Self::M14,
        Self::M15,
        Self::M16,
        Self::M17,
        Self::M18,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} {}", self.text().name)
    }
}

/// A rule was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// The CPU that did the last step; for what is left at the end of a run, one that may hold it.
    pub cpu: usize,
    /// The virtual address concerned, where there is one.
    pub address: Option<VirtAddr>,
    /// The slot concerned (for caches, the line).
    pub slot: PhysAddr,
    /// The value that the slot held, or a CPU may still hold of it.
    pub old: Descriptor,
    /// The value it holds now.
    pub new: Descriptor,
    /// The exact mistake.
    pub detail: &'static str,
    /// The last events, the offending one at the end: at most [`super::EVENTS_KEPT`].
    pub events: Vec<Event>,
    /// The number of times that this rule was broken with this detail; the other fields are about the first time.
    pub times: u64,
}

impl Violation {
    /// Returns true when both are of one rule and one detail.
    pub(super) fn is_kind_of(&self, other: &Self) -> bool {
        (self.rule, self.detail) == (other.rule, other.detail)
    }

    /// Writes the line that says which rule was broken, where, and how.
    pub(super) fn write_headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on CPU {}", self.rule, self.cpu)?;
        if let Some(address) = self.address {
            write!(f, " at {address}")?;
        }
        match self.times {
            0 | 1 => writeln!(f, ": {}", self.detail),
            times => writeln!(f, ": {} ({times} times)", self.detail),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_headline(f)?;
        writeln!(f, "  slot {}: old {:?}, new {:?}", self.slot, self.old, self.new)?;
        writeln!(f, "  {} ({})", self.rule.text().sentence, self.rule.text().source)?;
        writeln!(f, "  the last {} events:", self.events.len())?;
        self.events.iter().try_for_each(|event| writeln!(f, "    {event}"))
    }
}
