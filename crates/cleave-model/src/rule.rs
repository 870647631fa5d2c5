// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules' names, and what a violation says.

use core::fmt;

use super::event::Event;
use cleave::tables::{Descriptor, PhysAddr, VirtAddr};

/// A rule of the machine. Its sentence and its source stand beside the code that checks it: see [`Rule::text`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Rule {
    /// M1: the size of a live mapping changes without break-before-make.
    LiveSizeChange,
    /// M2: the output address or the memory type of a live entry changes without break-before-make.
    LiveTargetChange,
    /// M3: an entry is made valid while an older value may be cached, and no TLBI was executed.
    MakeWithoutTlbi,
    /// M4: a TLBI counts only for stores that a DSB has ordered before it.
    StoreBeforeTlbi,
    /// M5: a TLBI has to cover what is cached: scope, address, level, ASID and VMID.
    TlbiCoverage,
    /// M6: a TLBI is complete only behind a DSB of the CPU that issued it.
    DsbAfterTlbi,
    /// M7: the contents of a table are ordered before the store that links it.
    ChildBeforeParent,
    /// M8: an access finds two cached translations of different size on a level that forbids it.
    MultiHit,
    /// M9: an access may use either of two translations, and they differ.
    AmbiguousTranslation,
    /// M10: an ISB stands between a change and its first use.
    ContextSynchronisation,
    /// M11: the members of a contiguous group agree.
    ContiguousGroup,
    /// M12: a frame is reused only when no walker and no TLB leads to it.
    FrameReuse,
    /// M13: an access goes through an entry that is broken.
    BrokenEntryAccess,
    /// M14: entries that every CPU uses are broken only while all are parked.
    Rendezvous,
    /// M15: in the stop window only reserved frames become tables, and none is allocated or freed.
    Reservation,
    /// M16: cached and uncached accesses to a line have maintenance between them.
    CacheMaintenance,
    /// M17: CPUs that share tables agree on TCR, MAIR and VMID, and begin with a clean TLB.
    CpuContexts,
    /// M18: the walker never has to write a descriptor.
    HardwareUpdate,
}

/// The text of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleText {
    /// The number: `M1` to `M18`.
    pub id: &'static str,
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
        Self::LiveSizeChange,
        Self::LiveTargetChange,
        Self::MakeWithoutTlbi,
        Self::StoreBeforeTlbi,
        Self::TlbiCoverage,
        Self::DsbAfterTlbi,
        Self::ChildBeforeParent,
        Self::MultiHit,
        Self::AmbiguousTranslation,
        Self::ContextSynchronisation,
        Self::ContiguousGroup,
        Self::FrameReuse,
        Self::BrokenEntryAccess,
        Self::Rendezvous,
        Self::Reservation,
        Self::CacheMaintenance,
        Self::CpuContexts,
        Self::HardwareUpdate,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text().id, self.text().name)
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
