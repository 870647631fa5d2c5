// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit of the MMU's translations of the linear map and of the kernel's own sections, of all tables under TTBR1,
//! and of every CPU's translation registers.
//!
//! The expectations come from the memory regions, from the linker's sections and from the Arm ARM, never from earlier
//! tables: a map that was painted wrongly and split faithfully is wrong.

mod expected;
#[cfg(target_os = "none")]
mod linear;
#[cfg(target_os = "none")]
mod plant;
mod registers;
#[cfg(target_os = "none")]
mod sections;

use alloc::string::String;
use alloc::vec::Vec;

use cleave::tables::LeafCounts;

#[cfg(target_os = "none")]
pub(crate) use linear::audit;

/// The findings of the audit; zero is good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Leaves that are writable and executable.
    pub(crate) wx: u64,
    /// Writable leaves of memory that another leaf makes executable.
    pub(crate) aliases: u64,
    /// Addresses that translate otherwise than the regions say.
    pub(crate) translation_mismatches: u64,
    /// Counts that the walk contradicts.
    pub(crate) census_mismatches: u64,
    /// Pages of the kernel's sections, stacks and guard pages with other permissions, or elsewhere in memory.
    pub(crate) sections: u64,
    /// Fields of a CPU's registers with another value.
    pub(crate) registers: u64,
    /// The first findings, each with its address, count or CPU.
    pub(crate) named: Vec<String>,
    /// The leaves that the walk counted in the linear map.
    pub(crate) leaves: LeafCounts,
}

/// Findings that are named; the rest is counted.
const NAMED: usize = 24;

impl core::fmt::Display for Findings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { wx, aliases, translation_mismatches, census_mismatches, sections, registers, .. } = self;
        write!(f, "writable and executable {wx}, by two aliases {aliases}, ")?;
        write!(f, "translations wrong {translation_mismatches}, census wrong {census_mismatches}, ")?;
        write!(f, "sections wrong {sections}, registers wrong {registers}")
    }
}

impl Findings {
    /// Returns true when nothing was found.
    pub(crate) const fn is_clean(&self) -> bool {
        self.wx == 0
            && self.aliases == 0
            && self.translation_mismatches == 0
            && self.census_mismatches == 0
            && self.sections == 0
            && self.registers == 0
    }

    /// Keeps the text of a finding, unless there are many already.
    fn name(&mut self, text: impl FnOnce() -> String) {
        if self.named.len() < NAMED {
            self.named.push(text());
        }
    }
}
